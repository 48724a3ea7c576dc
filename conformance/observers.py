#!/usr/bin/env python3
"""All observers on trained models: how near the int8 file comes to the float model on inputs it was not calibrated on.

    cargo build --release && conformance/.venv/bin/python conformance/observers.py [--models fer-emotion] [--write]

Each model of `crops.py` is calibrated once, with its statistics saved; every observer works on the same ones. LiteRT runs
the files. `--write` puts the table into docs/calibration.md. With `--mode int16x8` the activations have 16 bits.
"""

import argparse
import datetime
import sys
import tempfile
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter

import command
import crops
import peers
import tensorflow_convert

OBSERVERS = {
    "min-max": [],
    "ema": ["--observer", "ema"],
    "percentile 99.99": ["--observer", "percentile"],
    "percentile 99.9": ["--observer", "percentile", "--percentile", "99.9"],
    "mse": ["--observer", "mse"],
    "entropy": ["--observer", "entropy"],
}
CALIBRATION, HELD_OUT = 60, 60
PAGE = command.REPOSITORY / "docs/calibration.md"
START, END = "<!-- observers: start -->", "<!-- observers: end -->"


def run_in_order(path, inputs):
    """The outputs of a TFLite file with one real-valued input, in the order of the file, sample by sample."""
    interpreter = Interpreter(str(path), num_threads=2)
    [given] = interpreter.get_input_details()
    interpreter.resize_tensor_input(given["index"], (1, *inputs.shape[1:]))
    interpreter.allocate_tensors()
    results = []
    for i in range(len(inputs)):
        interpreter.set_tensor(given["index"], inputs[i : i + 1])
        interpreter.invoke()
        results.append([interpreter.get_tensor(d["index"]).copy() for d in interpreter.get_output_details()])
    return [np.concatenate(outputs) for outputs in zip(*results, strict=True)]


def truth_of(model, inputs):
    """The float model's outputs, by Keras or by LiteRT."""
    if model.path.suffix == ".tflite":
        return run_in_order(model.path, inputs)
    return [peers.loaded(model.path).predict(inputs, verbose=0, batch_size=10)]


def judge(model, file, inputs, truth):
    """Signal-to-noise ratio of the first output in dB, and the share of samples with the same largest element.

    The others of models with several are probabilities that photographs of anything keep near zero.
    """
    outputs = run_in_order(file, inputs)
    snr = peers.signal_to_noise(truth[0], outputs[0])
    same = float(np.mean(truth[0].argmax(-1) == outputs[0].argmax(-1))) if model.classifier else None
    return snr, same


def shown(snr, same):
    return f"{snr:.1f}" + ("" if same is None else f", {100 * same:.0f} %")


def calibrated(model, folder, mode):
    """The statistics of a model, and what goes with every conversion."""
    data = folder / "calibration.npz"
    info = command.succeed("inspect", model.path)["inputs"][0]
    np.savez(data, **{info["name"]: model.inputs(CALIBRATION, crops.CALIBRATION)})
    statistics = folder / "statistics.json"
    # Repair changes weights and biases by what calibration saw; here only ranges are compared.
    base = ["convert", model.path, "-o", folder / "model.tflite", "--quantize", mode, "--repair", "none"]
    command.succeed(*base, "--calibration", data, "--save-statistics", statistics)
    return [*base, "--statistics", statistics]


def row_of(model, mode, tensorflow):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        inputs = model.inputs(HELD_OUT, crops.HELD_OUT)
        truth = truth_of(model, inputs)
        base = calibrated(model, folder, mode)
        cells = {}
        for observer, arguments in OBSERVERS.items():
            command.succeed(*base, *arguments)
            cells[observer] = judge(model, folder / "model.tflite", inputs, truth)
        if tensorflow and model.path.suffix != ".tflite":
            loaded = peers.loaded(model.path)
            samples = tensorflow_convert.one_by_one({loaded.inputs[0].name: model.inputs(CALIBRATION, crops.CALIBRATION)})
            (folder / "theirs.tflite").write_bytes(tensorflow_convert.convert(loaded, mode, samples))
            cells["TensorFlow"] = judge(model, folder / "theirs.tflite", inputs, truth)
    return cells


def table(rows, columns):
    lines = ["| model | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for name, cells in rows.items():
        best = max(snr for column, (snr, _) in cells.items() if column != "TensorFlow")
        texts = []
        for column in columns:
            cell = cells.get(column)
            text = "" if cell is None else shown(*cell)
            texts.append(f"**{text}**" if cell and column != "TensorFlow" and cell[0] == best else text)
        lines.append(f"| {name} | " + " | ".join(texts) + " |")
    return "\n".join(lines) + "\n"


def write(text, options):
    head = (
        f"Made by `conformance/observers.py` on {datetime.date.today()} on {options.machine}: {CALIBRATION} samples for "
        f"calibration, {HELD_OUT} others to judge.\n\n"
    )
    page = PAGE.read_text()
    before, rest = page.split(START)
    PAGE.write_text(before + START + "\n" + head + text + END + rest.split(END)[1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="", help="comma-separated; all where left out")
    parser.add_argument("--mode", default="int8", choices=["int8", "int16x8"])
    parser.add_argument("--tensorflow", action="store_true", help="also ask TensorFlow's converter, for Keras models")
    parser.add_argument("--machine", default="this machine", help="what --write calls the machine")
    parser.add_argument("--write", action="store_true", help="put the table into docs/calibration.md")
    options = parser.parse_args()
    command.require_binary()
    rows = {}
    for model in crops.present(options.models.split(",") if options.models else None):
        try:
            rows[model.name] = row_of(model, options.mode, options.tensorflow)
        except command.Failed as failure:
            print(f"{model.name}: {failure}", file=sys.stderr)
            continue
        print(model.name, {k: shown(*v) for k, v in rows[model.name].items()}, file=sys.stderr, flush=True)
    columns = [*OBSERVERS, *(["TensorFlow"] if options.tensorflow else [])]
    text = table(rows, columns)
    print(text)
    if options.write:
        write(text, options)
    return 0 if rows else 1


if __name__ == "__main__":
    sys.exit(main())
