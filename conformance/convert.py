#!/usr/bin/env python3
"""Converts Keras models with litesmith and with TensorFlow, and compares the files and what they compute.

    cargo build --release && conformance/.venv/bin/python conformance/convert.py --models MobileNetV2 --size 96

For every model and mode: LiteRT runs our file at batch 1 and resized to 7; it is hardly larger than TensorFlow's; its
logits on held-out photographs are as near to Keras's as TensorFlow's; our runtime agrees with LiteRT. The modes
`int8-tensorflow` and `int16x8-tensorflow` have `--ranges tensorflow`; their scales, zero points and integers are compared
one by one. Where TensorFlow refuses a model, ours must be as near to Keras as 16 bits usually are.
Exit status 1 when a check fails.
"""

import argparse
import sys
import traceback
from dataclasses import dataclass, field

import numpy as np

import command
import models
import peers
import tflite_file

ARGUMENTS = {
    "none": ["--quantize", "none"],
    "dynamic": ["--quantize", "dynamic"],
    "float16": ["--quantize", "float16"],
    "int8": ["--quantize", "int8"],
    "int8-only": ["--quantize", "int8-only", "--input-type", "int8", "--output-type", "int8"],
    "int8-tensorflow": ["--quantize", "int8", "--ranges", "tensorflow"],
    "int16x8": ["--quantize", "int16x8"],
    "int16x8-tensorflow": ["--quantize", "int16x8", "--ranges", "tensorflow"],
}

BATCH = 7
FLOAT_ERROR = 1e-4  # of the largest output
LARGER = 1.03
SNR_LOSS_DB = 0.5
SNR_ALONE_DB = 30
STEPS = 4  # of the integer output, that two sets of kernels may differ by
WEIGHT_SCALE_ERROR = 4e-7  # relative: the folding of batch norm differs by the last bits of a square root
# Steps of a bias that the same last bits can make: with 16 bits a step is 257 times smaller.
BIAS_STEPS = {"int8-tensorflow": 1, "int16x8-tensorflow": 16}
WEIGHTS_DIFFERING = 1e-4  # share of weights on a rounding edge


@dataclass
class Row:
    """The checks of one model in one mode; shown text and whether it passed."""

    label: str
    mode: str
    cells: dict = field(default_factory=dict)
    failures: list = field(default_factory=list)

    def check(self, column, passed, shown):
        self.cells[column] = shown if passed else f"**{shown}**"
        if not passed:
            self.failures.append(f"{column}: {shown}")

    @property
    def verdict(self):
        return "FAIL" if self.failures else "pass"


def convert(prepared, mode):
    """Our file of the model, made anew."""
    path = prepared.folder / f"litesmith-{mode}.tflite"
    arguments = ["convert", prepared.keras, "-o", path, *ARGUMENTS[mode]]
    if is_integer(mode):
        arguments += ["--calibration", prepared.calibration, "--samples", models.SAMPLES]
    command.succeed(*arguments)
    return path


def is_integer(mode):
    return mode.startswith("int")


def step_of_output(path):
    """The scale behind the first output: its own, or that of the integers which a last DEQUANTIZE takes."""
    file = tflite_file.TfliteFile(path)
    index = file.outputs()[0]
    producer = file.producers.get(index)
    if producer is not None and producer.name == "DEQUANTIZE":
        index = producer.inputs[0]
    scales = file.scales(index)
    return float(scales[0]) if len(scales) == 1 else None


def check_model(prepared, mode, row):
    their_path, theirs = peers.reference(prepared, mode.removesuffix("-tensorflow"))
    if theirs["refused"] and mode.endswith("-tensorflow"):
        return
    path = convert(prepared, mode)
    truth, images = prepared.logits(), prepared.images("held_out")

    runner = peers.TfliteRunner(path)
    inputs = {runner.input_names[0]: images}
    raw = runner(inputs)
    real = first(runner.real(raw))
    row.check("batch 1", np.isfinite(real).all() and real.shape == truth.shape, "runs")
    check_batch(row, runner, images, real)

    snr = peers.signal_to_noise(truth, real)
    if theirs["refused"]:
        row.check("SNR, TensorFlow's", snr >= SNR_ALONE_DB, f"{snr:.1f} dB, refused")
    else:
        ratio = path.stat().st_size / theirs["bytes"]
        row.check("bytes", ratio <= LARGER, f"{path.stat().st_size:,} ({ratio:.3f} x)")
        as_near = snr >= theirs["snr_db"] - SNR_LOSS_DB or snr > 100
        row.check("SNR, TensorFlow's", as_near, snr_text(snr, theirs["snr_db"]))
    if mode == "none":
        their_output = first(peers.TfliteRunner(their_path)({"image": images}))
        error = float(np.abs(real - their_output).max() / np.abs(their_output).max())
        row.check("float error", error <= FLOAT_ERROR, f"{error:.1e}")

    check_runtime(row, mode, path, their_path, theirs, runner, images, raw)
    if mode.endswith("-tensorflow"):
        check_integers(row, BIAS_STEPS[mode], tflite_file.compare(tflite_file.TfliteFile(path), tflite_file.TfliteFile(their_path)))


def first(outputs):
    return next(iter(outputs.values()))


def snr_text(ours, theirs):
    return f"{ours:.1f}, {theirs:.1f} dB"


def check_batch(row, runner, images, real):
    """The same images together must give what they give alone."""
    together = first(runner.real(runner({runner.input_names[0]: images[:BATCH]}, batch=BATCH)))
    snr = peers.signal_to_noise(real[:BATCH], together)
    row.check(f"batch {BATCH}", together.shape == real[:BATCH].shape and snr >= 40, f"{snr:.0f} dB")


def check_runtime(row, mode, path, their_path, theirs, runner, images, raw):
    """Our runtime against LiteRT on our file, in steps of the output where there are such."""
    given = {runner.input_names[0]: runner.quantized(runner.input_names[0], images)}
    ours = command.infer(path, given)[0]
    litert = first(raw)
    if ours.dtype != litert.dtype or ours.shape != litert.shape:
        row.check("runtime", False, f"{ours.dtype} {ours.shape} instead of {litert.dtype} {litert.shape}")
        return
    difference = float(np.abs(ours.astype(np.float64) - litert).max())
    if is_integer(mode):
        integer = np.issubdtype(ours.dtype, np.integer)
        steps = difference if integer else difference / step_of_output(path)
        plain = theirs["kernel_difference"] / (1 if integer or theirs["refused"] else step_of_output(their_path))
        row.check("runtime", round(steps) <= max(STEPS, 2 * round(plain)), f"{steps:.0f} steps (plain {plain:.0f})")
        return
    largest = float(np.abs(litert).max())
    # In dynamic range a last bit of an activation can move its whole row of integers.
    allowed = max(0.01 * largest, 2 * theirs["kernel_difference"]) if mode == "dynamic" else FLOAT_ERROR * largest
    row.check("runtime", difference <= allowed, f"{difference / largest:.1e}")


def check_integers(row, bias_steps, found):
    row.check("graph", not found.problems, "; ".join(found.problems[:3]) or "same")
    scale_text = f"{found.activations_equal} of {found.activations} equal, rest within {found.activation_scale:.1e}"
    if found.activation_scale > tflite_file.SCALE_ERROR:
        scale_text += f" ({found.worst[-60:]})"
    row.check(
        "activation scales", found.activations > 0 and found.activation_scale <= tflite_file.SCALE_ERROR, scale_text
    )
    row.check("zero points", found.zero_points_differing == 0, f"{found.zero_points_differing} differ")
    row.check("weight scales", found.weight_scale <= WEIGHT_SCALE_ERROR, f"within {found.weight_scale:.1e}")
    few = found.weights > 0 and found.weights_differing <= WEIGHTS_DIFFERING * found.weights
    row.check(
        "weights",
        few and found.weight_steps <= 1,
        f"{found.weights_differing:,} of {found.weights:,} differ, by {found.weight_steps}",
    )
    row.check(
        "biases",
        found.bias_steps <= bias_steps,
        f"{found.biases_differing:,} of {found.biases:,} differ, by {found.bias_steps:.1f}",
    )


def table(rows, columns):
    """A Markdown table of the rows that have any of the columns."""
    rows = [row for row in rows if any(column in row.cells for column in columns)]
    if not rows:
        return ""
    columns = [column for column in columns if any(column in row.cells for row in rows)]
    head = ["model", "mode", *columns, ""]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in rows:
        cells = [row.label, row.mode, *(row.cells.get(column, "") for column in columns), row.verdict]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


GENERAL = ["batch 1", f"batch {BATCH}", "bytes", "SNR, TensorFlow's", "float error", "runtime", "error"]
INTEGERS = ["graph", "activation scales", "zero points", "weight scales", "weights", "biases"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    models.add_arguments(parser)
    parser.add_argument("--modes", default=",".join(ARGUMENTS), help=f"default: all of {','.join(ARGUMENTS)}")
    parser.add_argument("--report", help="also write the tables to this file")
    options = parser.parse_args()
    modes = options.modes.split(",")
    if unknown := set(modes) - set(ARGUMENTS):
        raise SystemExit(f"unknown modes {sorted(unknown)}; known: {', '.join(ARGUMENTS)}")
    command.require_binary()

    rows = []
    for name in models.chosen(options):
        prepared = models.prepare(name, options.size, options.cache)
        for mode in modes:
            row = Row(prepared.label, mode)
            rows.append(row)
            try:
                check_model(prepared, mode, row)
            except command.Failed as failure:
                row.check("error", False, str(failure))
            except Exception as error:  # one broken file must not hide the state of the others
                traceback.print_exc()
                row.check("error", False, f"{type(error).__name__}: {error}".replace("\n", " ")[:200])
            print(f"{row.label} {mode}: {row.verdict} {'; '.join(row.failures)}", file=sys.stderr, flush=True)

    text = "\n".join(filter(None, [table(rows, GENERAL), table(rows, INTEGERS)]))
    failed = sum(bool(row.failures) for row in rows)
    text += f"\n{len(rows) - failed} of {len(rows)} pass.\n"
    print(text)
    if options.report:
        with open(options.report, "w") as file:
            file.write(text)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
