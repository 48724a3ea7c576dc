#!/usr/bin/env python3
"""Time and memory of a conversion, litesmith against TensorFlow, each as a process of its own.

    cargo build --release && conformance/.venv/bin/python conformance/convert_speed.py --model ResNet50 --runs 3

Both read the same .keras file and the same 20 photographs and write an int8 TFLite file. Runs alternate, so that a
busy machine disturbs both alike. Printed are medians; the ratios say how many times more TensorFlow takes.
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


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="ResNet50", help="an application of models.py")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--mode", default="int8", choices=["none", "dynamic", "float16", "int8"])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--cache", type=Path, default=os.environ.get("LITESMITH_CONFORMANCE_CACHE", HERE / "cache"))
    parser.add_argument(
        "--at-least", type=float, default=1.0, help="fail when TensorFlow's time is less than this many times ours"
    )
    options = parser.parse_args()
    command.require_binary()

    prepare = [sys.executable, HERE / "models.py", "--models", options.model, "--size", options.size]
    subprocess.run([str(a) for a in [*prepare, "--cache", options.cache]], check=True, stderr=subprocess.DEVNULL)
    folder = options.cache / f"{options.model}-{options.size}"
    source = folder / "model.keras"
    calibration = [folder / "calibration.npz"] if options.mode == "int8" else []

    with tempfile.TemporaryDirectory() as out:
        our_command = [command.BINARY, "convert", source, "-o", f"{out}/ours.tflite", "--quantize", options.mode]
        for path in calibration:
            our_command += ["--calibration", path, "--samples", 20]
        their_command = [sys.executable, HERE / "tensorflow_convert.py", source, f"{out}/theirs.tflite", options.mode]
        their_command += calibration
        costs = {"litesmith": [], "TensorFlow": []}
        for run in range(options.runs):
            costs["litesmith"].append(measure(our_command))
            costs["TensorFlow"].append(measure(their_command))
            print(f"run {run + 1}: {costs['litesmith'][-1]} {costs['TensorFlow'][-1]}", file=sys.stderr)
        sizes = {
            "litesmith": os.path.getsize(f"{out}/ours.tflite"),
            "TensorFlow": os.path.getsize(f"{out}/theirs.tflite"),
        }

    rows = {name: median(values) for name, values in costs.items()}
    print(f"{options.model}, {options.size} px, {options.mode}, median of {options.runs} runs\n")
    print("| | wall s | processor s | peak MB | bytes |\n|---|---|---|---|---|")
    for name, cost in rows.items():
        print(f"| {name} | {cost.seconds:.2f} | {cost.processor_seconds:.2f} | {cost.peak_mb:.0f} | {sizes[name]:,} |")
    ours, theirs = rows["litesmith"], rows["TensorFlow"]
    ratios = [getattr(theirs, name) / getattr(ours, name) for name in Cost.__dataclass_fields__]
    print("| ratio | " + " | ".join(f"{ratio:.1f} x" for ratio in ratios) + " | |")
    return 0 if ratios[0] >= options.at_least else 1


if __name__ == "__main__":
    sys.exit(main())
