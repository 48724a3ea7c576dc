#!/usr/bin/env python3
"""What zeros and missing channels are worth: a model as it is, pruned, and pruned and quantized, here and in LiteRT.

    cargo build --release && conformance/.venv/bin/python conformance/prune_speed.py --models ResNet50

Weights are random, so it is about time and size alone. Both run the same file, in turns, as in speed.py; every ratio is to
the same runtime's time of the whole model in float32, or in int8 where the row says so. Sizes are those of the file that is
run, and of the file with sparse encoding behind gzip. Worth something only on a machine that does nothing else.
"""

import argparse
import gzip
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import command
import speed

HERE = Path(__file__).resolve().parent


@dataclass
class Variant:
    """A way to make a model smaller: arguments of `prune` (none: left whole), the mode it is converted in."""

    title: str
    prune: list
    mode: str
    base: str = ""


VARIANTS = [
    Variant("float32", [], "none"),
    Variant("float32, 80 % single weights", ["--sparsity", 0.8, "--policy", "latency"], "none", "float32"),
    Variant("float32, 80 % in 16x1", ["--sparsity", 0.8, "--structure", "block:16x1"], "none", "float32"),
    Variant("float32, half the channels", ["--sparsity", 0.5, "--structure", "channels"], "none", "float32"),
    Variant("int8", [], "int8", "float32"),
    Variant("int8, 80 % in 16x4", ["--sparsity", 0.8, "--structure", "block:16x4"], "int8", "float32"),
    Variant("int8, 90 % in 16x4", ["--sparsity", 0.9, "--structure", "block:16x4"], "int8", "float32"),
    Variant("int8, half the channels", ["--sparsity", 0.5, "--structure", "channels"], "int8", "int8"),
]


class File:
    """One variant of one model as speed.race takes it."""

    def __init__(self, options, whole, variant, number):
        self.input, self.variant = whole.input, variant
        folder = whole.tflite.parent
        self.tflite = folder / f"prune-speed-{number}.tflite"
        sparse = folder / f"prune-speed-{number}-sparse.tflite"
        if not sparse.is_file() or sparse.stat().st_mtime < command.BINARY.stat().st_mtime:
            self.make(folder, variant, sparse)
        self.bytes = self.tflite.stat().st_size
        self.packed = len(gzip.compress(sparse.read_bytes()))

    def make(self, folder, variant, sparse):
        calibration = ["--calibration", folder / "calibration.npz"] if variant.mode == "int8" else []
        source = folder / "model.keras"
        if variant.prune:
            # A .keras file cannot say that channels are missing.
            extension = "tflite" if "channels" in variant.prune else "keras"
            source = folder / f"prune-speed-source.{extension}"
            command.succeed("prune", folder / "model.keras", "-o", source, *variant.prune)
        command.succeed("convert", source, "-o", self.tflite, "--quantize", variant.mode, *calibration)
        command.succeed("convert", source, "-o", sparse, "--quantize", variant.mode, *calibration, "--sparse")


def table(options, name):
    whole = speed.Files(options, name, "none")
    files = [File(options, whole, variant, number) for number, variant in enumerate(VARIANTS)]
    print(f"\n{name}:\n\n| | bytes | ratio | sparse, gzip | ratio | threads | litesmith, ms | ratio | LiteRT, ms | ratio |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for threads in options.threads:
        times = {}
        for file in files:
            runners = speed.race(options, file, threads)
            times[file.variant.title] = [time for _, time in runners]
            base = times[file.variant.base or file.variant.title]
            cells = " | ".join(f"{time:.2f} | {time / of:.3f}" for time, of in zip(times[file.variant.title], base))
            sizes = f"{file.bytes:,} | {file.bytes / files[0].bytes:.3f} | {file.packed:,} | {file.packed / files[0].packed:.3f}"
            print(f"| {file.variant.title} | {sizes} | {threads} | {cells} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=lambda text: text.split(","), default=["ResNet50", "MobileNetV2"])
    parser.add_argument("--threads", type=lambda text: [int(n) for n in text.split(",")], default=[1, 2])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--cache", type=Path, default=os.environ.get("LITESMITH_CONFORMANCE_CACHE", HERE / "cache"))
    options = parser.parse_args()
    options.peers, options.isa = ["LiteRT"], None
    command.require_binary()
    options.first = speed.Files(options, options.models[0], "none").tflite
    speed.heading(options)
    for name in options.models:
        table(options, name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
