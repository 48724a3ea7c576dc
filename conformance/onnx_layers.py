#!/usr/bin/env python3
"""Every ordinary Keras layer as ONNX: ONNX Runtime on what litesmith writes computes what Keras computes.

    cargo build --release && conformance/.venv/bin/python conformance/onnx_layers.py [--cases conv,dense] [--int8]

The small models are those of `keras_layers.py`. Each file passes ONNX's checker. With `--int8` the quantized ONNX file
must be as near to Keras as our quantized TFLite file. Exit status 1 when a model fails; those of `not_yet.txt` must be
refused.
"""

import argparse
import sys
from pathlib import Path

import keras
import numpy as np
import onnx

import command
import keras_layers
import layer_models
import models
import not_yet
import peers
from keras_layers import ENOUGH_DB, LOSS_DB, largest_error
from onnx_operators import convert, onnx_runtime

ERROR = 2e-5  # of the largest output


def arrays(path):
    with np.load(path) as file:
        return {name: file[name] for name in file.files}


def check_float(source, options):
    """(passed, text)"""
    target = source.with_suffix(".onnx")
    convert(source, target, options.opset)
    onnx.checker.check_model(str(target), full_check=True)
    outputs = onnx_runtime(target, arrays(source.parent / "inputs.npz"), optimized=True)
    error = largest_error(outputs, keras_layers.truth_of(source))
    return error <= ERROR, f"{error:.1e}"


def check_int8(source, options):
    """(passed, text)"""
    data = source.parent / "calibration.npz"
    quantized = ("--quantize", "int8", "--calibration", data)
    inputs = arrays(data)
    truth = keras_layers.keras_outputs(keras.models.load_model(source, compile=False), inputs)
    target, tflite = source.with_name("litesmith-int8.onnx"), source.with_name("litesmith-int8.tflite")
    convert(source, target, options.opset, *quantized)
    convert(source, tflite, None, *quantized)
    onnx.checker.check_model(str(target), full_check=True)
    results = [onnx_runtime(target, inputs, optimized=True), command.infer(tflite, inputs)]
    ours, theirs = (min(map(peers.signal_to_noise, truth, outputs)) for outputs in results)
    return ours >= min(theirs - LOSS_DB, ENOUGH_DB["int8"]), f"{ours:.1f} dB, the TFLite file's {theirs:.1f} dB"


def attempt(check, source, options):
    try:
        return check(source, options)
    except Exception as error:  # Keras, the checker and ONNX Runtime raise what they like
        return False, f"{type(error).__name__}: {error}".replace("\n", " ")[:300]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", default="", help="only those whose name contains one of these, comma-separated")
    parser.add_argument("--int8", action="store_true", help="also compare int8 files with our TFLite files")
    parser.add_argument("--opset", type=int, help="the version of ONNX's operators instead of the default one")
    parser.add_argument("--cache", type=Path, default=models.default_cache())
    options = parser.parse_args()
    command.require_binary()
    parts = options.cases.split(",")
    passed = failed = 0
    for case in layer_models.CASES.values():
        if not any(part in case.name for part in parts):
            continue
        source = keras_layers.prepare(case, options.cache) / "keras.keras"
        checks = {"float": check_float} | ({"int8": check_int8} if options.int8 else {})
        for name, check in checks.items():
            good, text = attempt(check, source, options)
            good, text = not_yet.judge("onnx_layers", case.name, good, text)
            passed, failed = passed + good, failed + (not good)
            print(f"{'pass' if good else 'FAIL'}  {case.name} {name}: {text}", flush=True)
    print(f"{passed} of {passed + failed} pass.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
