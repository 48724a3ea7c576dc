"""What robustness.py tries: a call of litesmith, how it should end, and what it may leave behind."""

import os
import re
import resource
import signal
import subprocess
import tempfile
from pathlib import Path

import command

PANIC = re.compile(r"panicked at|RUST_BACKTRACE|stack backtrace|overflowed its stack|memory allocation of", re.I)
OLD = b"the output of an earlier run"
MEMORY = 6 << 30  # bytes of address space: allocating by a number from a file must not get near
SECONDS = 120

OK, FAILED, USAGE, UNSUPPORTED, CHECK, BROKEN, LIMIT, INTERRUPTED = 0, 1, 2, 3, 4, 5, 6, 130


class Trials:
    def __init__(self, only, folder):
        self.only = only
        self.folder = folder
        self.passed = 0
        self.failures = []

    def wanted(self, name):
        return self.only in name

    def note(self, name, problems):
        if problems:
            self.failures.append(name)
        else:
            self.passed += 1
        print(f"{'FAIL' if problems else 'pass'}  {name}{': ' if problems else ''}{'; '.join(problems)}", flush=True)

    def convert(self, name, model, *arguments, codes, mentions=(), output="out.tflite", **how):
        """Converts to an output that is there already, and judges how that ended."""
        if not self.wanted(name):
            return
        with tempfile.TemporaryDirectory(dir=self.folder) as place:
            outs = old_outputs(Path(place), output, arguments)
            done = run(["convert", model, "-o", outs[0], *arguments], **how)
            problems = judge(done, codes, mentions) + judge_outputs(done.code, outs)
        self.note(name, problems)

    def call(self, name, *arguments, codes, mentions=(), **how):
        """Any other call."""
        if self.wanted(name):
            self.note(name, judge(run(arguments, **how), codes, mentions))


def limits(file_bytes=None):
    """What to set in the child before it starts."""

    def prepare():
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        if file_bytes is not None:
            # Ignored, the signal becomes an error of write(), like a full disk.
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))

    return prepare


def run(arguments, file_bytes=None, environment=None):
    try:
        return command.run(
            *arguments,
            timeout=SECONDS,
            preexec_fn=limits(file_bytes),
            env=os.environ | (environment or {}),
            errors="replace",
        )
    except subprocess.TimeoutExpired:
        return command.Finished(-1, "", f"still running after {SECONDS} s")


def judge(done, codes, mentions=()):
    codes = codes if isinstance(codes, tuple) else (codes,)
    problems = []
    message = done.stderr.strip()
    if done.code not in codes:
        problems.append(f"exit code {done.code} instead of {' or '.join(map(str, codes))} ({message[-300:]!r})")
    if PANIC.search(done.stderr + done.stdout):
        problems.append(f"a panic: {message[-300:]!r}")
    if done.code != OK and not message:
        problems.append("no message")
    missing = [text for text in mentions if done.code != OK and text not in message]
    if missing:
        problems.append(f"the message does not mention {', '.join(missing)}: {message[-300:]!r}")
    return problems


def old_outputs(place, name, arguments):
    """What an earlier run left: a file, and the one with its weights where that is asked for."""
    outs = [place / name, place / f"{name}.data"] if "--external-data" in arguments else [place / name]
    for out in outs:
        out.write_bytes(OLD)
    return outs


def judge_outputs(code, outs):
    problems = []
    beside = sorted(p.name for p in outs[0].parent.iterdir() if p not in outs)
    if beside:
        problems.append(f"left behind: {', '.join(beside)}")
    for out in outs:
        unchanged = out.is_file() and out.read_bytes() == OLD
        if code == OK and unchanged:
            problems.append(f"exit code 0 without {out.name}")
        if code != OK and not unchanged:
            problems.append(f"the earlier {out.name} was touched")
    return problems
