#!/usr/bin/env python3
"""MNIST pruned while it is trained: accuracy beside the float model, and the size behind gzip, over five seeds.

    cargo build --release && conformance/.venv/bin/python conformance/mnist_pruned.py DATA [--seeds 5] [--epochs 8]

DATA and the model are those of mnist.py. A seed decides the initial weights and the order of samples. The float model is
trained first; four more epochs prune it from 50 to 80 % by polynomial decay, without and with simulated integers. Weights are
ranked among those of all layers: the first layer has nine weights a filter, and cannot spare four fifths of them.
Accuracies are on the validation images: float in our runtime, int8-only in LiteRT. Exit status 1 when the means are not
met: at least the float accuracy less one point, and the pruned int8 file at least 2.2 times smaller behind gzip than the
dense one.
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
from mnist import BATCH, images, in_litert, model

LOST = 0.010
SMALLER = 2.2


def compressed(path):
    return len(gzip.compress(path.read_bytes()))


def run(seed, train, held_out, epochs, folder):
    """Accuracies float, pruned, pruned int8 and pruned with simulated integers int8; how many times smaller the int8
    files are behind gzip."""
    keras.utils.set_random_seed(seed)
    source, dense = folder / "model.keras", folder / "dense.keras"
    model().save(source)
    np.savez(folder / "train.npz", x=train[0], y=train[1])
    np.savez(folder / "test.npz", x=held_out[0], y=held_out[1])
    common = ["--data", folder / "train.npz", "--batch-size", BATCH, "--seed", seed]
    command.succeed("train", source, "-o", dense, *common, "--epochs", epochs, "--optimizer", "adam", "--learning-rate", 0.002)
    pruning = ["--epochs", 4, "--prune", "0.50:0.80", "--prune-global", "--optimizer", "adam", "--learning-rate", 0.001]
    files = {"pruned": [], "aware": ["--quantize-aware"]}
    for name, more in files.items():
        result = command.succeed("train", dense, "-o", folder / f"{name}.keras", *common, *pruning, *more)
        if abs(result["epochs"][-1]["sparsity"] - 0.8) > 0.001:
            raise SystemExit(f"seed {seed}, {name}: pruned to {result['epochs'][-1]['sparsity']}")
    calibration = ["--calibration", folder / "train.npz", "--samples", 200]
    for name, more in {"dense": calibration, "pruned": calibration, "aware": []}.items():
        path = folder / f"{name}.tflite"
        command.succeed("convert", folder / f"{name}.keras", "-o", path, "--quantize", "int8-only", *more)
    accuracy = lambda name: command.succeed("evaluate", folder / f"{name}.keras", "--data", folder / "test.npz")["accuracy"]
    ratio = lambda name: compressed(folder / "dense.tflite") / compressed(folder / f"{name}.tflite")
    integer = lambda name: in_litert(folder / f"{name}.tflite", *held_out)
    return [accuracy("dense"), accuracy("pruned"), integer("pruned"), integer("aware"), ratio("pruned"), ratio("aware")]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=8)
    options = parser.parse_args()
    x, y = images(options.data)
    kept = len(x) * 4 // 5
    shown = lambda row: " | ".join([*(f"{100 * value:.1f} %" for value in row[:4]), *(f"{value:.2f} x" for value in row[4:])])
    print("| seed | float | pruned | pruned, int8-only | pruned with QAT, int8-only | gzip, pruned | gzip, with QAT |")
    print("|---|---|---|---|---|---|---|")
    rows = []
    for seed in range(1, options.seeds + 1):
        with tempfile.TemporaryDirectory() as folder:
            rows.append(run(seed, (x[:kept], y[:kept]), (x[kept:], y[kept:]), options.epochs, Path(folder)))
        print(f"| {seed} | {shown(rows[-1])} |", flush=True)
    means = [statistics.mean(column) for column in zip(*rows)]
    print(f"| mean | {shown(means)} |")
    dense, *accuracies = means[:4]
    met = all(value >= dense - LOST for value in accuracies) and all(value >= SMALLER for value in means[4:])
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
