#!/usr/bin/env python3
"""Every operator by itself: our runtime against LiteRT on one-operator TFLite files.

    cargo build --release && conformance/.venv/bin/python conformance/operators.py [--only CONV_2D]

Integers must be equal where both sides round the exact result, and within one step elsewhere; what is allowed stands
with each case in `operator_cases.py` and `int16_cases.py`. Exit status 1 when a case fails; those of `not_yet.txt` must
be refused.
"""

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

import command
import int16_cases  # noqa: F401 - adds cases
import not_yet
import operator_cases


def litert(path, inputs, reference_kernels=False):
    """Outputs in order."""
    resolver = OpResolverType.BUILTIN_REF if reference_kernels else OpResolverType.AUTO
    interpreter = Interpreter(str(path), num_threads=1, experimental_op_resolver_type=resolver)
    interpreter.allocate_tensors()
    for detail, value in zip(interpreter.get_input_details(), inputs, strict=True):
        interpreter.set_tensor(detail["index"], value)
    interpreter.invoke()
    return [interpreter.get_tensor(detail["index"]).copy() for detail in interpreter.get_output_details()]


def difference(ours, theirs):
    """Steps between integers, the share of the largest value between floats."""
    if ours.dtype != theirs.dtype or ours.shape != theirs.shape:
        raise ValueError(f"{ours.dtype} {ours.shape} instead of {theirs.dtype} {theirs.shape}")
    if ours.size == 0:
        return 0.0
    distance = np.abs(ours.astype(np.float64) - theirs.astype(np.float64)).max()
    if np.issubdtype(theirs.dtype, np.floating):
        distance /= max(float(np.abs(theirs).max()), 1e-30)
    return float(distance)


def check(case, folder, ours_from):
    """(passed, text)"""
    path = folder / "case.tflite"
    path.write_bytes(operator_cases.model_bytes(case))
    random = np.random.default_rng(11)
    inputs = [tensor.values(random) for tensor in case.inputs if tensor.data is None]
    theirs = litert(path, inputs)
    ours = ours_from(path, inputs)
    if len(ours) != len(theirs):
        return False, f"{len(ours)} outputs instead of {len(theirs)}"
    worst = max(difference(o, t) for o, t in zip(ours, theirs, strict=True))
    unit = "" if np.issubdtype(theirs[0].dtype, np.floating) else " steps"
    return worst <= case.tolerance, f"{worst:.2g}{unit}, allowed {case.tolerance:g}"


def litesmith(path, inputs):
    return command.infer(path, {f"x{i}": value for i, value in enumerate(inputs)})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="only cases whose name contains this")
    parser.add_argument("--verbose", action="store_true", help="also print what passes")
    parser.add_argument(
        "--plain", action="store_true", help="judge LiteRT's plain kernels instead, to see how strict the cases are"
    )
    options = parser.parse_args()
    if not options.plain:
        command.require_binary()
    ours_from = (lambda path, inputs: litert(path, inputs, True)) if options.plain else litesmith
    counts, failed = Counter(), Counter()
    with tempfile.TemporaryDirectory() as folder:
        for case in operator_cases.CASES:
            if options.only not in case.name:
                continue
            try:
                passed, text = check(case, Path(folder), ours_from)
            except (command.Failed, ValueError, RuntimeError) as error:
                passed, text = False, str(error).replace("\n", " ")[:250]
            if not options.plain:
                passed, text = not_yet.judge("operators", case.name, passed, text)
            counts[case.operator] += 1
            failed[case.operator] += not passed
            if options.verbose or not passed:
                print(f"{'pass' if passed else 'FAIL'}  {case.name}: {text}", flush=True)
    for operator, number in failed.items():
        if number:
            print(f"{operator}: {number} of {counts[operator]} fail")
    print(f"{counts.total() - failed.total()} of {counts.total()} pass.")
    return 1 if failed.total() else 0


if __name__ == "__main__":
    sys.exit(main())
