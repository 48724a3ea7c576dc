"""The litesmith program as a user calls it."""

import json
import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

REPOSITORY = Path(__file__).resolve().parent.parent
BINARY = Path(os.environ.get("LITESMITH_BINARY", REPOSITORY / "target/release/litesmith"))


def require_binary():
    if not BINARY.is_file():
        raise SystemExit(f"{BINARY} is missing: run `cargo build --release`, or name another with LITESMITH_BINARY")


@dataclass
class Finished:
    code: int
    stdout: str
    stderr: str

    @property
    def result(self):
        """What `--json` printed."""
        return json.loads(self.stdout)


class Failed(Exception):
    """litesmith ended with another code than 0."""


def run(*arguments, timeout=1200, **keywords):
    """Runs `litesmith ARGUMENTS` and returns how it ended, whatever the exit code."""
    command = [str(BINARY), *(str(a) for a in arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, **keywords)
    return Finished(done.returncode, done.stdout, done.stderr)


def succeed(*arguments, **keywords):
    """Runs `litesmith ARGUMENTS --json`, which must end well, and returns the result."""
    done = run(*arguments, "--json", **keywords)
    if done.code != 0:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise Failed(f"{arguments[0]} exits with {done.code}: {' / '.join(lines[-3:])}")
    return done.result


def infer(model, inputs):
    """The outputs of `litesmith run` for inputs by name, as a list in the order in which it writes them."""
    with tempfile.TemporaryDirectory() as folder:
        given, got = Path(folder) / "inputs.npz", Path(folder) / "outputs.npz"
        np.savez(given, **inputs)
        succeed("run", model, "--input", given, "--output", got)
        with np.load(got) as outputs:
            return [outputs[name] for name in outputs.files]
