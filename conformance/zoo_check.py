#!/usr/bin/env python3
"""The networks that litesmith knows: what `zoo check` finds, and what LiteRT and ONNX Runtime make of the same files.

    cargo build --release && conformance/.venv/bin/python conformance/zoo_check.py [--models NAME,...] [--size 96] [--write]

`litesmith zoo check` fills one row after the other and keeps its files. On the images on which it compares them itself,
    LiteRT runs both int8 TFLite files, the calibrated and the trained one: steps off from our runtime
    ONNX Runtime runs the float ONNX file: difference from our runtime on the float model, as a share of the largest output
    ONNX Runtime runs the quantized ONNX file: steps off from our runtime on the int8 TFLite file
`--write` puts the table that `zoo check --markdown` writes into docs/support.md. Exit status 1 when a cell is not true, or
a peer does not agree.
"""

import argparse
import datetime
import sys
import tempfile
import traceback
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx

import command
import peers
import support_page
from convert import STEPS
from onnx_operators import onnx_runtime

TITLE = "Models"
FLOAT_ERROR = 1e-3  # of the largest output
FLOAT, INT8, TRAINED = "float.onnx", "int8.tflite", "trained.tflite"


def litert(path, images):
    """(steps between LiteRT and our runtime, those that are allowed, what the file takes, what we make of it)"""
    runner = peers.TfliteRunner(path)
    name = runner.input_names[0]
    given = runner.quantized(name, images)
    (ours,), theirs = command.infer(path, {name: given}), next(iter(runner({name: given}).values()))
    return off(ours, theirs), allowed(path, given), given, ours


def allowed(path, given):
    """LiteRT's own kernels may be apart by half of that."""
    return max(STEPS, 2 * round(peers.kernel_difference(path, given)))


def off(ours, theirs):
    if ours.shape != theirs.shape or ours.dtype != theirs.dtype:
        raise ValueError(f"{theirs.dtype} {theirs.shape} instead of {ours.dtype} {ours.shape}")
    return int(np.abs(ours.astype(np.int64) - theirs).max())


def in_onnx_runtime(path, images):
    onnx.checker.check_model(str(path), full_check=True)
    name = onnx.load(str(path)).graph.input[0].name
    return onnx_runtime(path, {name: images}, optimized=True)[0]


def judge(folder):
    """What the peers make of a network's files: (text, whether it is good) by column."""
    images = np.load(folder / "images.npz")["image"]
    steps, bound, given, ours = litert(folder / INT8, images)
    found = {"int8 in LiteRT": (f"{steps} steps", steps <= bound)}
    trained, trained_bound, _, _ = litert(folder / TRAINED, images)
    found["QAT in LiteRT"] = (f"{trained} steps", trained <= trained_bound)
    (truth,) = command.infer(folder / "model.keras", {"image": images})
    error = float(np.abs(truth - in_onnx_runtime(folder / FLOAT, images)).max() / np.abs(truth).max())
    found["float in ONNX Runtime"] = (f"{error:.1e}", error <= FLOAT_ERROR)
    steps = off(ours, in_onnx_runtime(folder / "int8.onnx", given))
    found["quantized in ONNX Runtime"] = (f"{steps} steps", steps <= bound)
    return found


def check(name, size, folder):
    """(lines of the table of `zoo check` with what the peers say behind, whether all is good)"""
    table = folder / "table.md"
    done = command.run("zoo", "check", name, "--size", size, "--keep", folder, "--markdown", table)
    if done.code not in (0, 4):
        raise command.Failed(f"zoo check {name} exits with {done.code}: {done.stderr.strip()[-300:]}")
    head, rule, row = table.read_text().splitlines()
    if done.code == 4:
        print(done.stderr, file=sys.stderr)
        return [head, rule, row], False
    found = judge(folder / name)
    head += "".join(f" {column} |" for column in found)
    row += "".join(f" {text if good else f'**{text}**'} |" for text, good in found.values())
    return [head, rule + "---|" * len(found), row], all(good for _, good in found.values())


def known():
    """The names of the networks that `zoo check` checks by itself."""
    families = ("ResNet", "DenseNet", "EfficientNet", "MobileNet")
    names = [network["name"] for network in command.succeed("zoo")["networks"]]
    return [name for name in names if name.startswith(families)]


def section(lines, size):
    yield (
        f"Made on {datetime.date.today()} by `conformance/zoo_check.py --write`: what `litesmith zoo check --size {size}` finds "
        f"by doing it with each network, and what LiteRT {version('ai-edge-litert')} and ONNX Runtime "
        f"{version('onnxruntime')} make of the same files. {EXPLAINED}"
    )
    yield ""
    yield from lines


EXPLAINED = (
    "Random weights, and the batch statistics that these give on 16 images of noise; files are compared on 8 other images. "
    "*int8 PTQ*: calibrated on the 16 images, no float operator, signal-to-noise (SNR) against the float model at least 20 dB. "
    "*QAT*: two steps of training with simulated integers, converted without data, no float operator, SNR against what was "
    "simulated at least 20 dB. *float ONNX*: written, read back and run, equal to the model within 1e-4 of its largest output. "
    "*quantized ONNX*: written, read back and run, within 4 steps of the int8 TFLite file's output, or, in deep networks, twice "
    "the steps by which that file's own output moves when every 61st number of its input moves by one. Peers: steps between "
    "our runtime and LiteRT on the same file, the difference of the float file in ONNX Runtime as a share of the largest "
    "output, and steps between the quantized file there and our int8 TFLite file."
)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="", help="names, comma-separated; left out: those that `zoo check` checks")
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--write", action="store_true", help=f"write the section {TITLE} of docs/support.md")
    options = parser.parse_args()
    command.require_binary()
    names = options.models.split(",") if options.models else known()
    lines, bad = [], 0
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            try:
                rows, good = check(name, options.size, Path(folder))
            except Exception as error:  # one network must not hide the state of the others
                traceback.print_exc()
                rows, good = ["", "", f"| {name} | {type(error).__name__}: {' '.join(str(error).split())[:200]} |"], False
        bad += not good
        lines += rows if not lines else rows[2:]
        print(f"{'ok  ' if good else 'FAIL'} {rows[2]}", file=sys.stderr, flush=True)
    print("\n".join(lines))
    if options.write and not bad:
        support_page.put(TITLE, list(section(lines, options.size)))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
