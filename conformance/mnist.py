#!/usr/bin/env python3
"""MNIST from scratch: litesmith beside Keras, float and with simulated integers, over five seeds.

    cargo build --release && conformance/.venv/bin/python conformance/mnist.py DATA [--seeds 5] [--epochs 8]

DATA is a CSV file, perhaps gzipped, of 784 pixels in 0..255 and the digit in each row (5,000 images of MNIST, say; rows
are shuffled first, always in the same way). The last fifth validates. A seed decides the
initial weights, which both sides get, and the order of samples of each. Printed are the accuracies on the validation
images: Keras, ours, ours quantized after training (int8-only in LiteRT), ours trained with simulated integers for two more
epochs, then int8-only in LiteRT, without data.
"""

import argparse
import os
import statistics
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import keras
import numpy as np
from keras import layers

import command
from peers import TfliteRunner

BATCH = 64


def model():
    return keras.Sequential(
        [
            keras.Input((28, 28, 1), name="image"),
            layers.Conv2D(16, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(32, 3, use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(30, activation="relu"),
            layers.Dense(10, activation="softmax"),
        ]
    )


def images(path):
    rows = np.loadtxt(path, delimiter=",", dtype=np.float32)
    rows = rows[np.random.default_rng(0).permutation(len(rows))]
    return (rows[:, :-1] / 255).reshape(-1, 28, 28, 1), rows[:, -1].astype(np.int64)


def in_litert(path, x, y):
    runner = TfliteRunner(path)
    (name,) = runner.input_names
    (outputs,) = runner({name: x}, batch=50).values()
    return float(np.mean(np.argmax(outputs, -1) == y))


def run(seed, train, held_out, epochs, folder):
    """Accuracies: Keras, ours, after training quantized, quantization-aware; how often its integers give the simulated class."""
    keras.utils.set_random_seed(seed)
    network = model()
    network.compile(keras.optimizers.Adam(0.002), "sparse_categorical_crossentropy", metrics=["accuracy"])
    source, trained, aware = folder / "model.keras", folder / "trained.keras", folder / "aware.keras"
    network.save(source)
    np.savez(folder / "train.npz", x=train[0], y=train[1])
    np.savez(folder / "test.npz", x=held_out[0], y=held_out[1])
    network.fit(*train, batch_size=BATCH, epochs=epochs, verbose=0)
    theirs = network.evaluate(*held_out, verbose=0)[1]

    common = ["--data", folder / "train.npz", "--batch-size", BATCH, "--seed", seed]
    command.succeed("train", source, "-o", trained, *common, "--epochs", epochs)
    ours = command.succeed("evaluate", trained, "--data", folder / "test.npz")["accuracy"]
    after = folder / "after.tflite"
    command.succeed("convert", trained, "-o", after, "--quantize", "int8-only", "--calibration", folder / "train.npz", "--samples", 200)
    settings = ["--epochs", 2, "--quantize-aware", "--learning-rate", 0.0002, "--validation", folder / "test.npz"]
    agreement = command.succeed("train", trained, "-o", aware, *common, *settings)["integer_agreement"]
    integer = folder / "aware.tflite"
    command.succeed("convert", aware, "-o", integer, "--quantize", "int8-only")
    return theirs, ours, in_litert(after, *held_out), in_litert(integer, *held_out), agreement


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=8)
    options = parser.parse_args()
    x, y = images(options.data)
    kept = len(x) * 4 // 5
    rows = []
    print("| seed | Keras | litesmith | int8-only, LiteRT | QAT int8-only, LiteRT | simulation and integers agree |")
    print("|---|---|---|---|---|---|")
    for seed in range(1, options.seeds + 1):
        with tempfile.TemporaryDirectory() as folder:
            rows.append(run(seed, (x[:kept], y[:kept]), (x[kept:], y[kept:]), options.epochs, Path(folder)))
        print(f"| {seed} | {' | '.join(f'{100 * value:.1f} %' for value in rows[-1])} |", flush=True)
    means = [statistics.mean(column) for column in zip(*rows)]
    print(f"| mean | {' | '.join(f'**{100 * value:.2f} %**' for value in means)} |")
    keras_mean, ours, _, aware, agreement = means
    return 0 if ours >= keras_mean - 0.005 and aware >= ours - 0.003 and agreement >= 0.995 else 1


if __name__ == "__main__":
    sys.exit(main())
