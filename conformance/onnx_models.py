"""Real ONNX models: converted to TFLite and to ONNX again; ONNX Runtime on the source against LiteRT on the TFLite file,
ONNX Runtime on the ONNX file and our runtime on all of them, on seeded inputs.

    onnx_models.py [--data FOLDER] [--only PATTERN] [--write]

FOLDER has a folder for each model (`efficientnet-lite0/…onnx`); it is LITESMITH_DATA where that is set. `--write` puts
the table into docs/support.md.
"""

import argparse
import datetime
import os
import sys
import tempfile
from fnmatch import fnmatchcase
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import onnxruntime
from ai_edge_litert.interpreter import Interpreter

import command
import support_page

BOUND = 1e-3
TITLE = "ONNX files"
# What is refused, and why.
REFUSED = {
    "silero_vad.onnx": "one branch for 16 kHz and one for 8 kHz take inputs of different lengths, and the shapes inside are "
    "conditions on these: with one length fixed the other branch does not fit, with none the branches differ",
}
# Weights and biases that are all alike make numbers of 2.7e9, equal but for the last bit, which decides the softmax: it is
# what it is in one order of additions only.
UNDECIDED = {"light_squeezenet.onnx"}
# Sizes that models take where their files leave them free: pattern of the file, shapes by input.
SHAPES = {
    "*_det_infer*": {"x": (1, 3, 320, 320)},
    "*_rec_infer*": {"x": (1, 3, 48, 320)},
    "*_cls_infer*": {"x": (1, 3, 48, 192)},
    "silero_vad.onnx": {"input": (1, 576), "state": (2, 1, 128)},
    "silero_vad_half*": {"input": (1, 576), "state": (2, 1, 128)},
    "silero_vad_16k_sequence*": {"input": (20, 576)},
}
# Least, and one more than the largest, of integer inputs.
INTEGERS = {"bytes": (0, 257), "sr": (16000, 16001)}
TYPES = {"tensor(float)": np.float32, "tensor(int32)": np.int32, "tensor(int64)": np.int64, "tensor(float16)": np.float16}


def inputs_of(session, name, seed=1):
    shapes = next((shapes for pattern, shapes in SHAPES.items() if fnmatchcase(name, pattern)), {})
    random, inputs = np.random.default_rng(seed), {}
    for value in session.get_inputs():
        shape = shapes.get(value.name, tuple(size if isinstance(size, int) else 1 for size in value.shape))
        dtype = TYPES[value.type]
        if np.issubdtype(dtype, np.integer):
            inputs[value.name] = random.integers(*INTEGERS[value.name], shape).astype(dtype)
        else:
            inputs[value.name] = (random.random(shape) * 2 - 1).astype(dtype)
    return inputs


def onnx_runtime(path, inputs):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return session.run(None, inputs)


def litert(path, inputs):
    interpreter = Interpreter(model_path=str(path))
    runner = interpreter.get_signature_runner()
    return runner(**inputs), [detail for detail in runner.get_output_details()]


def distance(expected, got):
    """The largest difference, as a share of the largest output."""
    worst = 0.0
    for want, have in zip(expected, got, strict=True):
        if want.shape != have.shape:
            raise ValueError(f"an output has shape {have.shape} instead of {want.shape}")
        scale = max(np.abs(want).max(initial=0.0), 1e-9)
        worst = max(worst, float(np.abs(want.astype(np.float64) - have).max(initial=0.0) / scale))
    return worst


def judge(path, folder):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]
    inputs = inputs_of(session, path.name)
    expected = onnx_runtime(path, inputs)
    free = any(not isinstance(size, int) for value in session.get_inputs() for size in value.shape)
    shapes = []
    if free:
        for name, value in inputs.items():
            if value.ndim:
                shapes += ["--input-shape", f"{name}={','.join(str(size) for size in value.shape)}"]
    found = {}
    tflite, again = folder / "model.tflite", folder / "model.onnx"
    result = command.succeed("convert", path, "-o", tflite, *shapes)
    outputs, _ = litert(tflite, inputs)
    found["LiteRT"] = distance(expected, [outputs[name] for name in names])
    given = folder / "inputs.npz"
    np.savez(given, **inputs)

    def ours(model):
        got = folder / "outputs.npz"
        command.succeed("run", model, "--input", given, "--output", got)
        with np.load(got) as outputs:
            return [outputs[name] for name in names]

    found["ours, TFLite"] = distance(expected, ours(tflite))
    try:
        found["ours, ONNX"] = distance(expected, ours(path))
    except command.Failed:
        # As it is, its sizes are free, and what it computes may depend on them.
        if not shapes:
            raise
        found["ours, ONNX"] = float("nan")
    command.succeed("convert", path, "-o", again, *shapes)
    found["ONNX again"] = distance(expected, onnx_runtime(again, inputs))
    operators = result["operators"]
    transpositions = operators.get("TRANSPOSE", 0)
    return found, sum(operators.values()), transpositions


def write(rows):
    """Replaces the section in docs/support.md."""
    lines = [
        f"Made on {datetime.date.today()} by `conformance/onnx_models.py --write`. The largest difference from ONNX Runtime "
        "on the source, as a share of the largest output, on seeded inputs: of the TFLite file in LiteRT and in our runtime, "
        "of the source in our runtime, and of the file that is written as ONNX again, in ONNX Runtime.",
        "",
        "| file | LiteRT | our runtime, TFLite | our runtime, ONNX | written again | operators | TRANSPOSE |",
        "|---|---|---|---|---|---|---|",
        *rows,
    ]
    support_page.put(TITLE, lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("LITESMITH_DATA"))
    parser.add_argument("--only", default="*")
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    command.require_binary()
    if arguments.data is None:
        print("skipped: no folder of models is named (--data, LITESMITH_DATA)")
        return
    files = sorted(Path(arguments.data).glob("*/*.onnx")) + sorted(Path(arguments.data).glob("*/light/*.onnx"))
    bad, rows = 0, []
    for path in (path for path in files if fnmatchcase(path.name, arguments.only)):
        with tempfile.TemporaryDirectory() as folder:
            try:
                found, operators, transpositions = judge(path, Path(folder))
                undecided = "undecided" if path.name in UNDECIDED else "needs fixed sizes"
                if path.name in UNDECIDED:
                    found["ONNX again"] = float("nan")
                worst = max(value for value in found.values() if value == value)
                text = ", ".join(f"{name} {value:.1e}" for name, value in found.items())
                text += f"; {operators} operators, {transpositions} TRANSPOSE"
                passed = worst <= BOUND
                cells = [undecided if value != value else f"{value:.0e}" for value in found.values()] + [str(operators), str(transpositions)]
            except Exception as error:
                text, passed = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}", False
                if path.name in REFUSED and isinstance(error, command.Failed):
                    text, passed, cells = f"refused: {REFUSED[path.name]}", True, [f"refused: {REFUSED[path.name]}", *[""] * 5]
            bad += not passed
            if passed:
                rows.append(f"| `{path.parent.name}/{path.name}` | {' | '.join(cells)} |")
            print(f"{'ok  ' if passed else 'FAIL'} {path.parent.name}/{path.name}: {text}", flush=True)
    if arguments.write and not bad:
        write(rows)
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
