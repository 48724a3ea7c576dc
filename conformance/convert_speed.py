#!/usr/bin/env python3
"""Time and memory of a conversion, litesmith against a peer, each as a process of its own.

    cargo build --release && conformance/.venv/bin/python conformance/convert_speed.py --model ResNet50 --runs 3

To TFLite the peer is TensorFlow's converter: both read the same .keras file and the same 20 photographs and write an
int8 file. With `--target onnx` it is tf2onnx: both read the SavedModel that Keras exports and write float ONNX;
litesmith reads the .keras file too. Runs alternate, so that a busy machine disturbs all alike. Printed are medians; the
ratios say how many times more the peer takes.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import command

HERE = Path(__file__).resolve().parent


@dataclass
class Cost:
    seconds: float
    processor_seconds: float
    peak_mb: float


def measure(arguments):
    """Runs a command to its end.

    This process must stay small: the kernel counts the memory of the caller as the child's until the child's program
    has been loaded.
    """
    with tempfile.TemporaryFile() as messages:
        start = time.monotonic()
        process = subprocess.Popen([str(a) for a in arguments], stdout=messages, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            messages.seek(0)
            text = messages.read().decode(errors="replace")
            raise SystemExit(f"{arguments[0]} ended with {process.returncode}:\n{text[-2000:]}")
    return Cost(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def median(costs):
    return Cost(*(statistics.median(getattr(cost, name) for cost in costs) for name in Cost.__dataclass_fields__))


def tflite_commands(options, folder, out):
    """Commands by name, and the files that they write."""
    calibration = [folder / "calibration.npz"] if options.mode == "int8" else []
    ours = [command.BINARY, "convert", folder / "model.keras", "-o", f"{out}/ours.tflite", "--quantize", options.mode]
    for path in calibration:
        ours += ["--calibration", path, "--samples", 20]
    theirs = [sys.executable, HERE / "tensorflow_convert.py", folder / "model.keras", f"{out}/theirs.tflite"]
    return {
        "TensorFlow": ([*theirs, options.mode, *calibration], f"{out}/theirs.tflite"),
        "litesmith": (ours, f"{out}/ours.tflite"),
    }


def onnx_commands(options, folder, out):
    """Commands by name, and the files that they write; both write operators of version 13."""
    theirs = [sys.executable, "-m", "tf2onnx.convert", "--saved-model", folder / "saved_model"]
    commands = {"tf2onnx": ([*theirs, "--output", f"{out}/theirs.onnx", "--opset", "13"], f"{out}/theirs.onnx")}
    for name, source in (("litesmith", "saved_model"), ("litesmith, .keras", "model.keras")):
        target = f"{out}/{source}.onnx"
        commands[name] = ([command.BINARY, "convert", folder / source, "-o", target, "--quantize", "none"], target)
    return commands


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="ResNet50", help="an application of models.py")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--target", default="tflite", choices=["tflite", "onnx"])
    parser.add_argument("--mode", choices=["none", "dynamic", "float16", "int8"], help="default: int8, for ONNX none")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--cache", type=Path, default=os.environ.get("LITESMITH_CONFORMANCE_CACHE", HERE / "cache"))
    parser.add_argument(
        "--at-least", type=float, default=1.0, help="fail when the peer's time is less than this many times ours"
    )
    parser.add_argument(
        "--most-memory", type=float, help="fail when our peak memory is more than this many times the written file"
    )
    options = parser.parse_args()
    if options.target == "onnx" and options.mode not in (None, "none"):
        parser.error("tf2onnx does not quantize: --target onnx goes with --mode none")
    options.mode = options.mode or ("none" if options.target == "onnx" else "int8")
    command.require_binary()

    prepare = [sys.executable, HERE / "models.py", "--models", options.model, "--size", options.size]
    prepare += ["--cache", options.cache] + (["--saved-model"] if options.target == "onnx" else [])
    subprocess.run([str(a) for a in prepare], check=True, stderr=subprocess.DEVNULL)
    folder = options.cache / f"{options.model}-{options.size}"

    with tempfile.TemporaryDirectory() as out:
        commands = (onnx_commands if options.target == "onnx" else tflite_commands)(options, folder, out)
        costs = {name: [] for name in commands}
        for run in range(options.runs):
            for name, (arguments, _) in commands.items():
                costs[name].append(measure(arguments))
                print(f"run {run + 1}, {name}: {costs[name][-1]}", file=sys.stderr)
        sizes = {name: os.path.getsize(path) for name, (_, path) in commands.items()}

    rows = {name: median(values) for name, values in costs.items()}
    print(f"{options.model}, {options.size} px, {options.target}, {options.mode}, median of {options.runs} runs\n")
    print("| | wall s | processor s | peak MB | bytes | peak, times the file |\n|---|---|---|---|---|---|")
    files = {name: cost.peak_mb * 2**20 / sizes[name] for name, cost in rows.items()}
    for name, cost in rows.items():
        shown = f"{cost.seconds:.2f} | {cost.processor_seconds:.2f} | {cost.peak_mb:.0f} | {sizes[name]:,}"
        print(f"| {name} | {shown} | {files[name]:.1f} |")
    peer = rows.pop(next(iter(rows)))
    failed = False
    for name, cost in rows.items():
        ratios = [getattr(peer, part) / getattr(cost, part) for part in Cost.__dataclass_fields__]
        print(f"| ratio of {name} | " + " | ".join(f"{ratio:.1f} x" for ratio in ratios) + " | | |")
        failed |= ratios[0] < options.at_least
        failed |= options.most_memory is not None and files[name] > options.most_memory
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
