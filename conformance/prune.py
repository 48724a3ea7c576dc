#!/usr/bin/env python3
"""Prunes one model of every family at once, and follows its zeros into every format.

    cargo build --release && conformance/.venv/bin/python conformance/prune.py --models MobileNetV2 --size 96

For every model: half of all weights are pruned; Keras reads the file and has as many zeros; the layers that were pruned
still have them as int8, int8-only, dynamic, float16 and int16x8, and in ONNX; int8-only gives the same integers in LiteRT and in our
runtime; the files with sparse encoding (--sparse), float, float16, int8 and int16x8, give in LiteRT and in our runtime
what the dense ones give; half of all channels are taken out, and LiteRT computes of the smaller model what our runtime
does. Without --models: one model of every family. Exit status 1 when a check fails.
"""

import argparse
import gzip
import sys
import traceback

import numpy as np

import command
import models
from convert import STEPS, Row, first
from peers import TfliteRunner, signal_to_noise

FAMILIES = [
    "ResNet50",
    "ResNet50V2",
    "DenseNet121",
    "EfficientNetB0",
    "EfficientNetV2B0",
    "MobileNet",
    "MobileNetV2",
    "MobileNetV3Small",
]
SPARSITY = 0.5
MODES = ["none", "float16", "dynamic", "int8", "int8-only", "int16x8"]
FLOAT_SNR_DB = 80
SPARSE_SNR_DB = {"none": FLOAT_SNR_DB, "float16": FLOAT_SNR_DB, "int8": 50, "int16x8": FLOAT_SNR_DB}
LARGEST_SHARE = 0.6  # of the bytes, with half the channels; the classifier keeps its classes
IMAGES = 6


def converted(prepared, source, mode, *arguments, name=""):
    path = prepared.folder / f"{source.stem}{name}-{mode}.tflite"
    if mode.startswith("int"):
        arguments = (*arguments, "--calibration", prepared.calibration, "--samples", models.SAMPLES)
    return path, command.succeed("convert", source, "-o", path, "--quantize", mode, *arguments)


def ours(path, images):
    return command.infer(path, {TfliteRunner(path).input_names[0]: images})[0]


def check_keras(row, pruned, result):
    import keras

    keras.backend.clear_session()
    network = keras.models.load_model(pruned, compile=False)
    expected = {layer["name"]: layer["sparsity"] for layer in result["layers"] if "structure" in layer}
    kernels = {layer.name: layer.kernel.numpy() for layer in network.layers if hasattr(layer, "kernel")}
    wrong = [name for name, share in expected.items() if abs((kernels[name] == 0).mean() - share) > 1e-9]
    row.check("Keras", expected and not wrong, f"{len(expected)} layers" if not wrong else f"differ: {wrong[:3]}")


def check_zeros(row, files, result):
    """Every pruned layer keeps at least its share of zeros. Half-precision weights stand before their DEQUANTIZE."""
    pruned = [layer for layer in result["layers"] if "structure" in layer]
    least = min(layer["sparsity"] for layer in pruned)
    for mode, path in files.items():
        layers = command.succeed("inspect", path)["layers"]
        kinds = ("CONV_2D", "FULLY_CONNECTED", "DEQUANTIZE")
        shares = [layer["sparsity"] for layer in layers if layer["operator"] in kinds and layer["sparsity"] > 0.1]
        lowest = min(shares, default=0)
        enough = lowest >= least - 1e-3 and len(shares) == len(pruned)
        row.check(f"zeros {mode}", enough, f"{100 * lowest:.1f} % in {len(shares)} of {len(pruned)}")


def check_onnx(row, prepared, pruned, result):
    import onnx

    layers = [layer for layer in result["layers"] if "structure" in layer]
    for mode in ("none", "int8"):
        path = prepared.folder / f"pruned-{mode}.onnx"
        more = ["--calibration", prepared.calibration, "--samples", models.SAMPLES] if mode == "int8" else []
        command.succeed("convert", pruned, "-o", path, "--quantize", mode, *more)
        arrays = [onnx.numpy_helper.to_array(weights) for weights in onnx.load(path).graph.initializer]
        half = [array for array in arrays if array.ndim > 1 and (array == 0).mean() >= SPARSITY - 0.01]
        row.check(f"zeros ONNX {mode}", len(half) >= len(layers), f"in {len(half)} of {len(layers)}")


def check_sparse(row, prepared, images):
    """Files without zeros beside those with them; weights in blocks of the width that FULLY_CONNECTED has kernels for."""
    pruned = prepared.folder / "pruned-80.keras"
    command.succeed("prune", prepared.keras, "-o", pruned, "--sparsity", 0.8, "--structure", "block:1x16")
    for mode in SPARSE_SNR_DB:
        files = [converted(prepared, pruned, mode)[0]]
        path, result = converted(prepared, pruned, mode, "--sparse", name="-sparse")
        files.append(path)
        there = [first(TfliteRunner(file)({TfliteRunner(file).input_names[0]: images})) for file in files]
        here = [ours(file, images) for file in files]
        # Kernels for blocks add up floats in another order, and round integers in another way.
        near = signal_to_noise(*there) > SPARSE_SNR_DB[mode]
        same = near and np.array_equal(*here)
        size = path.stat().st_size / files[0].stat().st_size
        shown = f"{size:.2f} x, {result['sparse_tensors']} weights" + ("" if same else ", outputs differ")
        row.check(f"sparse {mode}", same and (size < 1) == (result["sparse_tensors"] > 0), shown)


def check_model(row, prepared):
    pruned = prepared.folder / "pruned.keras"
    result = command.succeed("prune", prepared.keras, "-o", pruned, "--sparsity", SPARSITY)
    row.check("pruned", abs(result["sparsity"] - SPARSITY) < 0.1, f"{100 * result['sparsity']:.1f} %")
    check_keras(row, pruned, result)
    files = {mode: converted(prepared, pruned, mode)[0] for mode in MODES}
    check_zeros(row, files, result)
    check_onnx(row, prepared, pruned, result)

    images = prepared.images("held_out")[:IMAGES]
    integer = files["int8-only"]
    runner = TfliteRunner(integer)
    theirs = first(runner({runner.input_names[0]: images})).astype(np.int32)
    mine = ours(integer, runner.quantized(runner.input_names[0], images)).astype(np.int32)
    distance = int(np.abs(theirs - mine).max())
    row.check("int8 integers", distance <= STEPS, "equal" if distance == 0 else f"{distance} steps")
    check_sparse(row, prepared, images)

    dense, _ = converted(prepared, prepared.keras, "int8")
    ratio = len(gzip.compress(dense.read_bytes())) / len(gzip.compress(files["int8"].read_bytes()))
    row.cells["gzip, int8"] = f"{ratio:.2f} x smaller"

    small = prepared.folder / "channels.tflite"
    result = command.succeed("prune", prepared.keras, "-o", small, "--sparsity", SPARSITY, "--structure", "channels")
    runner = TfliteRunner(small)
    snr = signal_to_noise(first(runner({runner.input_names[0]: images})), ours(small, images))
    share = result["output_bytes"] / files["none"].stat().st_size
    row.check("channels", share < LARGEST_SHARE and snr > FLOAT_SNR_DB, f"{share:.2f} x bytes, {snr:.0f} dB")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    models.add_arguments(parser)
    parser.set_defaults(size=96, models=",".join(FAMILIES))
    options = parser.parse_args()
    command.require_binary()
    failed = 0
    for name in models.chosen(options):
        prepared = models.prepare(name, options.size, options.cache)
        row = Row(prepared.label, "prune")
        try:
            check_model(row, prepared)
        except Exception as error:
            row.failures.append(f"{type(error).__name__}: {error}")
            traceback.print_exc()
        cells = "; ".join(f"{column}: {shown}" for column, shown in row.cells.items())
        print(f"{row.label} {row.verdict}: {cells} {' / '.join(row.failures)}", flush=True)
        failed += bool(row.failures)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
