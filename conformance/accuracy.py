#!/usr/bin/env python3
"""What repair is worth: how near int8 files of trained models come to the float models, with --repair none, default, auto.

    cargo build --release && conformance/.venv/bin/python conformance/accuracy.py [--models mobilenet-v1] [--peer] [--write]

Each model of `crops.py` is calibrated on seeded inputs and judged on others; LiteRT runs the files, and the float model's
own answers (by Keras, or by LiteRT for TFLite files) are the truth. `--peer` adds TensorFlow's converter, for Keras
models. `--write` puts the table into docs/quantization.md. Exit status 1 when repair does harm, or the two ImageNet
classifiers are further from the float model than they must be.
"""

import argparse
import datetime
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import command
import crops
import data
import observers
import peers
import tensorflow_convert

REPAIRS = ["none", "default", "auto"]
CALIBRATION, HELD_OUT = 60, 60

# The ImageNet classifiers: more and smaller crops, and the least signal-to-noise ratio and agreement that they must have.
IMAGENET_CALIBRATION, IMAGENET_HELD_OUT = 100, 200
IMAGENET_SIDES = (0.25, 1.0)
LEAST = {"efficientnet-lite0": (19.5, 0.91), "mobilenet-v1": (17.0, 0.87)}

# What repair may lose on one model by chance, as the mean over its outputs.
TOLERANCE_DB = 1.0

PAGE = command.REPOSITORY / "docs/quantization.md"
START, END = "<!-- accuracy: start -->", "<!-- accuracy: end -->"


def imagenet(name, count, purpose):
    """Crops of the photographs, preprocessed as the network wants it."""
    pixels = data.crops(count, 224, purpose, IMAGENET_SIDES).astype(np.float32)
    return pixels / np.float32(127.5) - 1 if name == "mobilenet-v1" else (pixels - 127) / 128


def inputs_of(model):
    """(calibration, held out)."""
    if model.name in LEAST:
        counts = [(IMAGENET_CALIBRATION, crops.CALIBRATION), (IMAGENET_HELD_OUT, crops.HELD_OUT)]
        return [imagenet(model.name, count, purpose) for count, purpose in counts]
    return [model.inputs(CALIBRATION, crops.CALIBRATION), model.inputs(HELD_OUT, crops.HELD_OUT)]


def row_of(model, peer):
    """Column to cell."""
    cells = {}
    calibration, held_out = inputs_of(model)
    if (held_out[:, None, :1] == calibration[None, :, :1]).all(axis=tuple(range(2, held_out.ndim + 1))).any():
        raise AssertionError(f"{model.name}: an input is in both sets")
    truth = observers.truth_of(model, held_out)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file, samples = folder / "model.tflite", folder / "calibration.npz"
        info = command.succeed("inspect", model.path)["inputs"][0]
        np.savez(samples, **{info["name"]: calibration})
        for repair in REPAIRS:
            arguments = ["--quantize", "int8", "--calibration", samples, "--repair", repair]
            command.succeed("convert", model.path, "-o", file, *arguments)
            cells[repair] = judge(model, file, held_out, truth)
        if peer and model.path.suffix != ".tflite":
            loaded = peers.loaded(model.path)
            given = tensorflow_convert.one_by_one({loaded.inputs[0].name: calibration})
            file.write_bytes(tensorflow_convert.convert(loaded, "int8", given))
            cells["TensorFlow"] = judge(model, file, held_out, truth)
    return cells


@dataclass
class Cell:
    """Signal-to-noise ratio in dB of the first output and as the mean over all, and the share of equal classes."""

    snr: float
    mean: float
    same: float | None

    def __str__(self):
        return observers.shown(self.snr, self.same)


def judge(model, file, inputs, truth):
    outputs = observers.run_in_order(file, inputs)
    ratios = [peers.signal_to_noise(*pair) for pair in zip(truth, outputs, strict=True)]
    same = float(np.mean(truth[0].argmax(-1) == outputs[0].argmax(-1))) if model.classifier else None
    return Cell(ratios[0], float(np.mean(ratios)), same)


def failures_of(name, cells):
    """What is worse than it must be."""
    for repair in REPAIRS[1:]:
        cell = cells[repair]
        for other in ("none", "TensorFlow"):
            if other in cells and cell.mean < cells[other].mean - TOLERANCE_DB:
                yield f"{name}: {cell.mean:.1f} dB with --repair {repair}, {cells[other].mean:.1f} dB with {other}"
        snr, same = LEAST.get(name, (0, 0))
        if name in LEAST and (cell.snr < snr or cell.same < same):
            yield f"{name}: {cell} with --repair {repair}, must be {observers.shown(snr, same)}"


def table(rows, columns):
    lines = ["| model | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for name, cells in rows.items():
        texts = [str(cells.get(column, "")) for column in columns]
        lines.append(f"| {name} | " + " | ".join(texts) + " |")
    return "\n".join(lines) + "\n"


def write(text, machine):
    head = (
        f"Made by `conformance/accuracy.py` on {datetime.date.today()} on {machine}: the ImageNet classifiers with "
        f"{IMAGENET_CALIBRATION} crops of photographs for calibration and {IMAGENET_HELD_OUT} others to judge, the rest with "
        f"{CALIBRATION} and {HELD_OUT} inputs.\n\n"
    )
    page = PAGE.read_text()
    before, rest = page.split(START)
    PAGE.write_text(before + START + "\n" + head + text + END + rest.split(END)[1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="", help="comma-separated; all where left out")
    parser.add_argument("--peer", action="store_true", help="also ask TensorFlow's converter, for Keras models")
    parser.add_argument("--machine", default="this machine", help="what --write calls the machine")
    parser.add_argument("--write", action="store_true", help="put the table into docs/quantization.md")
    options = parser.parse_args()
    command.require_binary()
    rows, failures = {}, []
    for model in crops.present(options.models.split(",") if options.models else None):
        try:
            rows[model.name] = row_of(model, options.peer)
        except command.Failed as failure:
            failures.append(f"{model.name}: {failure}")
            continue
        failures += failures_of(model.name, rows[model.name])
        print(f"{model.name}: " + "; ".join(f"{column} {cell}" for column, cell in rows[model.name].items()), flush=True)
    if not rows and not failures:
        print("skipped: no trained model is here")
        return 0
    text = table(rows, REPAIRS + (["TensorFlow"] if options.peer else []))
    print("\n" + text)
    if options.write:
        write(text, options.machine)
    for failure in failures:
        print(f"accuracy: {failure}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
