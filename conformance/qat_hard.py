#!/usr/bin/env python3
"""A case made hard: MobileNet of width 0.25 on Fashion-MNIST with weights of 4 bits and one scale for each tensor.

    cargo build --release && conformance/.venv/bin/python conformance/qat_hard.py DATA [--seeds 5] [--epochs 4]

DATA is the folder with the four gzipped IDX files of Fashion-MNIST. Weights are random at first, by seed; litesmith trains
them (float), quantizes (PTQ), and goes on with simulated integers (QAT). Printed are the accuracies on the test images, of
the float model and of the int8-only files in LiteRT.
"""

import argparse
import gzip
import os
import statistics
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import keras
import numpy as np

import command
from peers import TfliteRunner

RECIPE = '[[rule]]\ngranularity = "per-tensor"\nbits = 4\n'
TRAINING_IMAGES, TEST_IMAGES = 12_000, 2_000


def read_idx(path):
    content = gzip.decompress(path.read_bytes())
    rank = content[3]
    shape = np.frombuffer(content, ">u4", rank, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * rank).reshape(shape)


def images(folder, which, count):
    x, y = (read_idx(folder / f"{which}-{kind}-ubyte.gz")[:count] for kind in ("images-idx3", "labels-idx1"))
    return (x[..., None] / np.float32(127.5) - 1).astype(np.float32).repeat(3, -1), y.astype(np.int64)


def model():
    image = keras.Input((28, 28, 3), name="image")
    # 28 pixels are few for a network that halves five times.
    x = keras.layers.UpSampling2D(2)(image)
    network = keras.applications.MobileNet(alpha=0.25, weights=None, input_tensor=x, classes=10, dropout=1e-3)
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.9
    return network


def in_litert(path, x, y):
    runner = TfliteRunner(path)
    (name,) = runner.input_names
    (outputs,) = runner({name: x}, batch=50).values()
    return float(np.mean(np.argmax(outputs, -1) == y))


def run(seed, test, folder, epochs):
    """Accuracies of the float model, after quantization, after quantization-aware training."""
    keras.utils.set_random_seed(seed)
    source, trained, aware = folder / "model.keras", folder / f"float-{seed}.keras", folder / f"aware-{seed}.keras"
    keras.models.clone_model(model()).save(source)
    common = ["--data", folder / "train.npz", "--batch-size", 64, "--seed", seed]
    command.succeed("train", source, "-o", trained, *common, "--epochs", epochs, "--optimizer", "adam", "--learning-rate", 0.003)
    exact = command.succeed("evaluate", trained, "--data", folder / "test.npz")["accuracy"]
    recipe = ["--recipe", folder / "recipe.toml"]
    after, integer = folder / "after.tflite", folder / "aware.tflite"
    calibration = ["--calibration", folder / "train.npz", "--samples", 500]
    command.succeed("convert", trained, "-o", after, "--quantize", "int8-only", *recipe, *calibration)
    more = ["--epochs", epochs, "--optimizer", "adam", "--learning-rate", 0.001, "--quantize-aware", *recipe]
    command.succeed("train", trained, "-o", aware, *common, *more)
    command.succeed("convert", aware, "-o", integer, "--quantize", "int8-only")
    return exact, in_litert(after, *test), in_litert(integer, *test)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=4)
    options = parser.parse_args()
    train, test = images(options.data, "train", TRAINING_IMAGES), images(options.data, "t10k", TEST_IMAGES)
    rows = []
    print("| seed | float | PTQ, 4-bit weights per tensor | QAT, 4-bit weights per tensor |")
    print("|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        np.savez(folder / "train.npz", x=train[0], y=train[1])
        np.savez(folder / "test.npz", x=test[0], y=test[1])
        (folder / "recipe.toml").write_text(RECIPE)
        for seed in range(1, options.seeds + 1):
            rows.append(run(seed, test, folder, options.epochs))
            print(f"| {seed} | {' | '.join(f'{100 * value:.1f} %' for value in rows[-1])} |", flush=True)
    exact, after, aware = (statistics.mean(column) for column in zip(*rows))
    closed = (aware - after) / max(exact - after, 1e-9)
    print(f"| mean | **{100 * exact:.2f} %** | **{100 * after:.2f} %** | **{100 * aware:.2f} %** |")
    print(f"\nQAT closes {closed:.0%} of the gap.")
    return 0 if closed >= 2 / 3 else 1


if __name__ == "__main__":
    sys.exit(main())
