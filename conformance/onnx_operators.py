#!/usr/bin/env python3
"""Every operator as ONNX: ONNX Runtime on what litesmith writes, against our runtime on the same TFLite file.

    cargo build --release && conformance/.venv/bin/python conformance/onnx_operators.py [--only CONV_2D]

The cases are those of `operators.py`. Each is converted, passes ONNX's checker, and is run with ONNX Runtime's
optimizations, which compute products and sums of dequantized tensors in integers, and without. Floats may differ by a
share of the largest output, integers by the steps of `STEPS`. Exit status 1 when a case fails; those of `not_yet.txt`
must be refused.
"""

import argparse
import sys
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

import command
import int16_cases  # noqa: F401 - adds cases
import not_yet
import operator_cases
from operator_cases import FLOAT, INT8, INT16
from operators import difference, litert, litesmith

SHARE = 1e-5  # of the largest float

# Steps by which integers may differ, by operator and type: our runtime follows LiteRT, ONNX Runtime rounds the real
# result. 0 for all others.
STEPS = {
    ("AVERAGE_POOL_2D", INT8): 1,  # LiteRT rounds the mean of the integers, ties away from zero
    ("LEAKY_RELU", INT8): 1,  # LiteRT multiplies by alpha and the ratio of scales in fixed point
    ("QUANTIZE", INT8): 1,  # so it does with the ratio of scales from integers to integers
    ("RESIZE_BILINEAR", INT8): 1,  # LiteRT counts places in 1024ths
}
# LiteRT's 16-bit kernels multiply in fixed point.
FIXED_POINT = {
    "ADD", "AVERAGE_POOL_2D", "BATCH_MATMUL", "CONV_2D", "DEPTHWISE_CONV_2D", "LEAKY_RELU", "MEAN", "QUANTIZE", "RELU6",
    "SUB", "SUM", "TRANSPOSE_CONV",
}  # fmt: skip
STEPS |= {(operator, INT16): 1 for operator in FIXED_POINT}

# Without ONNX Runtime's optimizations products of 8 bits are sums of real numbers, where one in some thousands of
# results lies so near to a tie that it is rounded the other way.
SUMS = {"BATCH_MATMUL", "CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV"}

# 16-bit kernels that read a function off a table of 512 pieces, hundreds of steps away where it is steep, or count
# places in 1024ths: ONNX Runtime is held against our float kernel, of which it may be 1 step away.
COARSE = {"EXP", "LOG", "RSQRT", "LOGISTIC", "TANH", "GELU", "SOFTMAX", "RESIZE_BILINEAR"}


def is_coarse(case):
    return case.operator in COARSE and case.inputs[0].type is INT16


def in_floats(case):
    """The case of 16 bits with real numbers for its integers."""

    def real(tensor):
        return replace(tensor, type=FLOAT, scale=None) if tensor.type is INT16 else tensor

    return replace(case, inputs=[real(t) for t in case.inputs], outputs=[real(t) for t in case.outputs])


def expected(case, path, inputs, reference):
    """(what the reference computes, which of it counts)"""
    if not is_coarse(case):
        path.write_bytes(operator_cases.model_bytes(case))
        values = reference(path, inputs)
        return values, [slice(None)] * len(values)
    path.write_bytes(operator_cases.model_bytes(in_floats(case)))
    scale = np.float32(case.inputs[0].scale)
    values = reference(path, [value * scale for value in inputs])[0]
    with np.errstate(invalid="ignore"):
        steps = np.clip(np.rint(values / np.float32(case.outputs[0].scale)), -32768, 32767).astype(INT16)
    return [steps], [np.isfinite(values)]


def allowed(case, optimized):
    """The largest difference of a case's outputs."""
    if case.outputs[0].type is FLOAT:
        return max(SHARE, case.tolerance)
    if is_coarse(case) or (case.operator in SUMS and not optimized):
        return 1
    types = {tensor.type for tensor in (*case.inputs, *case.outputs) if tensor.data is None}
    return max(STEPS.get((case.operator, type), 0) for type in types)


def convert(path, target, opset, *more):
    command.succeed("convert", path, "-o", target, *more, *(["--opset", opset] if opset else []))


def onnx_runtime(path, inputs, optimized):
    """Outputs in order, for inputs by name."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    if optimized:
        # Products of int8 are computed in integers on every machine then, as those of uint8 are anyway.
        options.add_session_config_entry("session.qdqisint8allowed", "1")
    else:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return session.run(None, inputs)


def check(case, folder, reference, opset):
    """(passed, text)"""
    source, target = folder / "case.tflite", folder / "case.onnx"
    source.write_bytes(operator_cases.model_bytes(case))
    random = np.random.default_rng(11)
    inputs = [tensor.values(random) for tensor in case.inputs if tensor.data is None]
    named = {f"x{i}": value for i, value in enumerate(inputs)}
    # Not every operator takes every number, so the check of the conversion needs these.
    np.savez(folder / "inputs.npz", **named)
    convert(source, target, opset, "--calibration", folder / "inputs.npz")
    onnx.checker.check_model(str(target), full_check=True)
    wanted, counts = expected(case, source, inputs, reference)
    passed, texts = True, []
    for optimized in (True, False):
        got = onnx_runtime(target, named, optimized)
        if len(got) != len(wanted):
            return False, f"{len(got)} outputs instead of {len(wanted)}"
        worst = max(difference(g[c], w[c]) for g, w, c in zip(got, wanted, counts, strict=True))
        limit = allowed(case, optimized)
        passed = passed and worst <= limit
        texts.append(f"{worst:.2g} of {limit:g}")
    unit = "" if case.outputs[0].type is FLOAT else " steps"
    return passed, f"{texts[0]}{unit}, without optimizations {texts[1]}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="only cases whose name contains this")
    parser.add_argument("--litert", action="store_true", help="compare with LiteRT instead of our runtime")
    parser.add_argument("--opset", type=int, help="the version of ONNX's operators instead of the default one")
    options = parser.parse_args()
    command.require_binary()
    counts, failed = Counter(), Counter()
    with tempfile.TemporaryDirectory() as folder:
        for case in operator_cases.CASES:
            if options.only not in case.name:
                continue
            try:
                passed, text = check(case, Path(folder), litert if options.litert else litesmith, options.opset)
            except Exception as error:  # the checker and ONNX Runtime raise what they like
                passed, text = False, str(error).replace("\n", " ")[:250]
            passed, text = not_yet.judge("onnx_operators", case.name, passed, text)
            counts[case.operator] += 1
            failed[case.operator] += not passed
            print(f"{'pass' if passed else 'FAIL'}  {case.name}: {text}", flush=True)
    for operator, number in failed.items():
        if number:
            print(f"{operator}: {number} of {counts[operator]} fail")
    print(f"{counts.total() - failed.total()} of {counts.total()} pass.")
    return 1 if failed.total() else 0


if __name__ == "__main__":
    sys.exit(main())
