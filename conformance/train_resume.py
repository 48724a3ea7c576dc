#!/usr/bin/env python3
"""Training that is killed goes on to the same bits.

    cargo build --release && conformance/.venv/bin/python conformance/train_resume.py [--kills 10]

The demo's model is trained on the demo's images, once undisturbed and once killed with SIGKILL after random times and
resumed each time. The files that come out must hold the same bytes. A second round does the same with simulated integers.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import command

ASSETS = command.REPOSITORY / "crates/litesmith/assets"


def arguments(output, *more):
    common = ["train", ASSETS / "fashion.keras", "--data", ASSETS / "fashion-train.npz", "-o", output, "--epochs", 12]
    common += ["--samples", 1500, "--batch-size", 32, "--checkpoint-steps", 5, "--learning-rate", 0.0005, "--quiet"]
    return [str(command.BINARY), *(str(a) for a in (*common, *more))]


def undisturbed(output, *more):
    start = time.monotonic()
    subprocess.run(arguments(output, *more), check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - start


def killed(output, kills, seconds, *more):
    """Trains, killed so often; returns how often it really died."""
    died = 0
    chance = random.Random(3)
    for attempt in range(kills + 1):
        resume = ["--resume"] if attempt else []
        process = subprocess.Popen(arguments(output, *more, *resume), stdout=subprocess.DEVNULL, start_new_session=True)
        if attempt < kills:
            time.sleep(chance.uniform(0.1, seconds / (kills + 2) + 0.1))
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                died += 1
        if process.wait() == 0:
            return died
    raise SystemExit("the last run did not end well")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=10)
    options = parser.parse_args()
    command.require_binary()
    failed = 0
    for name, more in [("float", []), ("quantization-aware", ["--quantize-aware"])]:
        with tempfile.TemporaryDirectory() as folder:
            whole, parts = Path(folder) / "whole.keras", Path(folder) / "parts.keras"
            seconds = undisturbed(whole, *more)
            died = killed(parts, options.kills, seconds, *more)
            same = whole.read_bytes() == parts.read_bytes()
            failed += not same
            print(f"{'ok  ' if same else 'FAIL'} {name}: killed {died} times, {'the same' if same else 'other'} bytes", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
