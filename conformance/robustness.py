#!/usr/bin/env python3
"""Broken files, wrong data, full disks, interrupts: the right exit code, a message, nothing half-written.

    cargo build --release && conformance/.venv/bin/python conformance/robustness.py [--only NAME]

Every trial starts with an output file that is already there. When litesmith fails, that file must be untouched and no
other may lie beside it; it must say something, and never with the words of a panic. Exit status 1 when a trial fails.
"""

import argparse
import io
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import keras
import numpy as np
from keras import layers

import command
import keras_layers
import layer_models
import models

ASSETS = command.REPOSITORY / "crates/litesmith/assets"
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
            out = Path(place) / output
            out.write_bytes(OLD)
            done = run(["convert", model, "-o", out, *arguments], **how)
            problems = judge(done, codes, mentions) + judge_output(done.code, out)
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


def judge_output(code, out):
    problems = []
    beside = sorted(p.name for p in out.parent.iterdir() if p != out)
    if beside:
        problems.append(f"left behind: {', '.join(beside)}")
    unchanged = out.is_file() and out.read_bytes() == OLD
    if code == OK and unchanged:
        problems.append("exit code 0 without an output")
    if code != OK and not unchanged:
        problems.append("the earlier output was touched")
    return problems


# The files to start from


class Files:
    """Good models and data, and the means to spoil them."""

    def __init__(self, folder, cache):
        self.folder = folder
        self.keras = ASSETS / "fashion.keras"
        self.calibration = ASSETS / "fashion-calibration.npz"
        self.h5 = keras_layers.prepare(layer_models.CASES["residual"], cache) / "keras.h5"
        self.tflite = folder / "good.tflite"
        command.succeed("convert", self.keras, "-o", self.tflite)
        self.count = 0

    def write(self, content, ending):
        self.count += 1
        path = self.folder / f"case-{self.count}{ending}"
        path.write_bytes(content)
        return path

    def arrays(self, **arrays):
        content = io.BytesIO()
        np.savez(content, **arrays)
        return self.write(content.getvalue(), ".npz")

    def model(self, model):
        self.count += 1
        path = self.folder / f"case-{self.count}.keras"
        model.save(path)
        return path

    def with_config(self, change):
        """fashion.keras with another config.json: `change` edits the list of layers or returns other bytes."""
        content = io.BytesIO()
        with zipfile.ZipFile(self.keras) as old, zipfile.ZipFile(content, "w") as new:
            for member in old.namelist():
                data = old.read(member)
                if member == "config.json":
                    config = json.loads(data)
                    by_name = {layer["config"]["name"]: layer for layer in config["config"]["layers"]}
                    data = change(by_name) or json.dumps(config).encode()
                new.writestr(member, data)
        return self.write(content.getvalue(), ".keras")


# Trials


def truncated(trials, files):
    for path in (files.keras, files.h5, files.tflite):
        content = path.read_bytes()
        for share in (0, 0.001, 0.1, 0.5, 0.9, 0.99):
            kept = int(share * len(content))
            cut = files.write(content[:kept], path.suffix)
            trials.convert(f"truncated{path.suffix} {kept} of {len(content)}", cut, codes=BROKEN)
        trials.convert(f"truncated{path.suffix} last byte", files.write(content[:-1], path.suffix), codes=(OK, BROKEN))


def lying(trials, files):
    """Four bytes at seeded places become numbers that lie; what is hit may be a weight, so a result is fine too."""
    random = np.random.default_rng(7)
    for path in (files.h5, files.tflite):
        content = path.read_bytes()
        # The structure of HDF5 is spread over the file, that of TFLite lies mostly at its ends.
        places = random.integers(0, len(content) - 4, 24).tolist() + list(range(0, 64, 8))
        if path == files.tflite:
            places += random.integers(len(content) - 30_000, len(content) - 4, 24).tolist()
        for place in places:
            for number in (b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f"):
                spoilt = files.write(content[:place] + number + content[place + 4 :], path.suffix)
                name = f"lying{path.suffix} byte {place} {number.hex()}"
                trials.convert(name, spoilt, codes=(OK, UNSUPPORTED, BROKEN))
                spoilt.unlink()
    content = files.keras.read_bytes()
    with zipfile.ZipFile(files.keras) as archive:
        ends = [(m.header_offset + 30 + len(m.filename), m.file_size) for m in archive.infolist()]
    for start, size in ends:
        for place in random.integers(start, start + size, 6).tolist():
            flipped = bytes([content[place] ^ 0x10])
            spoilt = files.write(content[:place] + flipped + content[place + 1 :], ".keras")
            trials.convert(f"lying.keras flipped bit at {place}", spoilt, codes=BROKEN)


def wrong_configurations(trials, files):
    def set_value(layer, key, value):
        return lambda by_name: by_name[layer]["config"].__setitem__(key, value)

    for layer, key, value in [
        ("stem", "filters", 10**9), ("stem", "filters", -1), ("stem", "filters", 2**63),
        ("stem", "kernel_size", [0, 3]), ("stem", "kernel_size", [3, -3]), ("stem", "strides", [0, 0]),
        ("stem", "groups", 0), ("stem", "filters", "24"),
        ("classes", "units", 11), ("block2_pool", "pool_size", [0, 0]), ("image", "batch_shape", [None, 28, 28, 2**40]),
        ("image", "batch_shape", "all"), ("block1_depthwise", "depth_multiplier", 10**6),
    ]:  # fmt: skip
        name = f"configuration {layer}.{key} = {value}"
        trials.convert(name, files.with_config(set_value(layer, key, value)), codes=(BROKEN, UNSUPPORTED))

    def rename(by_name):
        by_name["stem_relu"]["class_name"] = "Frobnicate"

    def unknown_input(by_name):
        text = json.dumps(by_name["stem_bn"]["inbound_nodes"]).replace('"stem"', '"nowhere"')
        by_name["stem_bn"]["inbound_nodes"] = json.loads(text)

    def cycle(by_name):
        text = json.dumps(by_name["stem"]["inbound_nodes"]).replace('"rescale"', '"stem_bn"')
        by_name["stem"]["inbound_nodes"] = json.loads(text)

    trials.convert("unknown layer class", files.with_config(rename), codes=UNSUPPORTED, mentions=["stem_relu"])
    trials.convert("unknown inbound layer", files.with_config(unknown_input), codes=BROKEN)
    trials.convert("cyclic graph", files.with_config(cycle), codes=BROKEN)
    deep = files.with_config(lambda _: b'{"config": ' + b"[" * 200_000 + b"]" * 200_000 + b"}")
    trials.convert("deeply nested configuration", deep, codes=BROKEN)
    trials.convert("configuration is no JSON", files.with_config(lambda _: b"hello"), codes=BROKEN)


def wrong_containers(trials, files):
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("metadata.json", "{}")
        with archive.open("config.json", "w") as member:
            for _ in range(1000):
                member.write(bytes(1 << 20))
    trials.convert("zip bomb", files.write(bomb.getvalue(), ".keras"), codes=(BROKEN, LIMIT))
    empty = io.BytesIO()
    with zipfile.ZipFile(empty, "w"):
        pass
    trials.convert("empty zip", files.write(empty.getvalue(), ".keras"), codes=BROKEN)
    trials.convert("text as model", files.write(b"Dear reader\n", ".keras"), codes=BROKEN)
    trials.convert("zeros as model", files.write(bytes(10_000), ".tflite"), codes=BROKEN)
    missing = files.folder / "missing.keras"
    trials.convert("missing model", missing, codes=(FAILED, USAGE, BROKEN), mentions=["missing.keras"])
    folder = files.folder / "folder"
    folder.mkdir()
    trials.convert("empty folder as model", folder, codes=BROKEN)


def wrong_weights(trials, files):
    for value in (np.nan, np.inf):
        model = keras.models.load_model(files.keras)
        kernel = model.get_layer("block2_project").kernel.numpy()
        kernel[0, 0, 3, 5] = value
        model.get_layer("block2_project").kernel.assign(kernel)
        path = files.model(model)
        trials.convert(f"{value} in the weights", path, codes=BROKEN, mentions=["block2_project"])


def unsupported(trials, files):
    x = a = keras.Input((6, 6, 3), name="image")
    x = layers.Lambda(lambda t: t * 2, name="first_lambda")(x)
    x = layers.Conv2D(4, 3)(x)
    path = files.model(keras.Model(a, layers.Lambda(lambda t: t + 1, name="second_lambda")(x)))
    trials.convert("Lambda layers", path, codes=UNSUPPORTED, mentions=["first_lambda", "second_lambda"])

    x = a = keras.Input((6, 6, 3), name="image")
    x = layers.Conv2D(4, 3)(x)
    path = files.model(keras.Model(a, keras.ops.sin(x)))
    data = files.arrays(image=np.random.default_rng(1).normal(0, 1, (8, 6, 6, 3)).astype(np.float32))
    integer = ["--quantize", "int8-only", "--calibration", data]
    trials.convert("no integer kernel", path, *integer, codes=UNSUPPORTED, mentions=["'sin' (SIN)"])


def wrong_data(trials, files):
    good = np.load(files.calibration)["x"]
    int8 = ["--quantize", "int8", "--calibration"]

    def trial(name, path, mentions=(), codes=BROKEN):
        trials.convert(f"data: {name}", files.keras, *int8, path, codes=codes, mentions=mentions)

    trial("wrong size", files.arrays(x=np.zeros((9, 32, 32, 1), np.uint8)), ["image", "28", "32"])
    trial("wrong channels", files.arrays(x=np.zeros((9, 28, 28, 3), np.uint8)), ["image"])
    trial("wrong rank", files.arrays(x=np.zeros((9, 784), np.uint8)), ["image"])
    spoilt = good[:9].astype(np.float32)
    spoilt[4, 3, 2, 0] = np.nan
    trial("NaN", files.arrays(x=spoilt), ["NaN"])
    trial("infinite", files.arrays(x=np.where(np.isnan(spoilt), np.inf, spoilt)))
    trial("no samples", files.arrays(x=good[:0]))
    trial("no such array", files.arrays(one=good, other=good), ["image"])
    trial("strings", files.arrays(x=np.full((9, 28, 28, 1), "text")))
    trial("text as .npz", files.write(b"Dear reader\n", ".npz"))
    content = files.calibration.read_bytes()
    trial("truncated .npz", files.write(content[: len(content) // 2], ".npz"))
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 0x10
    trial("flipped bit in .npz", files.write(bytes(flipped), ".npz"))
    header = b"\x93NUMPY\x01\x00v\x00{'descr': '|u1', 'fortran_order': False, 'shape': (4000000000, 28, 28, 1)}"
    trial("lying .npy", files.write(header.ljust(127) + b"\n" + bytes(100), ".npy"))
    trial("missing", files.folder / "missing.npz", ["missing.npz"], codes=(FAILED, USAGE, BROKEN))
    folder = files.folder / "no-images"
    folder.mkdir()
    trial("empty folder", folder)
    folder = files.folder / "bad-images"
    folder.mkdir()
    (folder / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(50))
    trial("broken image", folder)

    trials.call("run: wrong shape", "run", files.keras, "--input",
                files.arrays(x=np.zeros((2, 5, 5, 1), np.float32)), codes=BROKEN, mentions=["image"])  # fmt: skip
    test = np.load(ASSETS / "fashion-test.npz")
    labels = files.arrays(x=test["x"][:9], y=test["y"][:7])
    trials.call("evaluate: fewer labels than images", "evaluate", files.keras, "--data", labels, codes=BROKEN)
    labels = files.arrays(x=test["x"][:9], y=np.full(9, 77))
    trials.call("evaluate: label out of range", "evaluate", files.keras, "--data", labels, codes=BROKEN)


def usage(trials, files):
    data = ["--calibration", files.calibration]
    trials.convert("usage: int8 without data", files.keras, "--quantize", "int8", codes=USAGE, mentions=["calibration"])
    trials.convert("usage: unknown mode", files.keras, "--quantize", "int7", codes=USAGE, mentions=["int7"])
    trials.convert("usage: unknown flag", files.keras, "--frobnicate", codes=USAGE)
    trials.convert("usage: unknown ending", files.keras, codes=(USAGE, UNSUPPORTED), output="out.xyz")
    trials.convert("usage: no samples", files.keras, "--quantize", "int8", *data, "--samples", 0, codes=USAGE)
    trials.call("usage: no output", "convert", files.keras, codes=USAGE)
    trials.call("usage: unknown verb", "frobnicate", codes=USAGE)
    trials.call("usage: nothing", codes=USAGE)
    trials.convert("usage: unknown instruction set", files.keras, codes=USAGE, environment={"LITESMITH_ISA": "mmx"})
    trials.convert("usage: no threads", files.keras, codes=(OK, USAGE), environment={"LITESMITH_THREADS": "many"})
    gate = ["--quantize", "int8", *data, "--min-snr", "200"]
    trials.convert("gate: SNR not reached", files.keras, *gate, codes=CHECK)
    trials.convert("gate: SNR reached", files.keras, "--quantize", "int8", *data, "--min-snr", "5", codes=OK)


def outputs(trials, files):
    int8 = ["--quantize", "int8", "--calibration", files.calibration]
    for limit in (0, 1, 4096, 50_000):
        name = f"output: disk full after {limit} bytes"
        trials.convert(name, files.keras, *int8, codes=FAILED, file_bytes=limit)
    trials.call("output: folder is missing", "convert", files.keras, "-o", files.folder / "no/out.tflite", codes=FAILED)
    place = files.folder / "place.tflite"
    place.mkdir()
    trials.call("output: is a folder", "convert", files.keras, "-o", place, codes=FAILED)
    trials.call("output: not allowed", "convert", files.keras, "-o", "/proc/out.tflite", codes=FAILED)

    if trials.wanted("output: same path"):
        same = files.folder / "same.tflite"
        shutil.copy(files.tflite, same)
        done = run(["convert", same, "-o", same, "--quantize", "float16"])
        problems = judge(done, OK)
        if same.stat().st_size >= files.tflite.stat().st_size:
            problems.append("the file did not become smaller")
        trials.note("output: same path", problems + judge(run(["inspect", same]), OK))

    if trials.wanted("output: reader goes away"):
        trials.note("output: reader goes away", reader_goes_away(files))


def reader_goes_away(files):
    """As in `litesmith inspect ... | head -0`."""
    reading, writing = os.pipe()
    os.close(reading)
    arguments = [str(command.BINARY), "inspect", str(files.keras)]
    done = subprocess.run(arguments, stdout=writing, stderr=subprocess.PIPE, text=True, timeout=SECONDS)
    os.close(writing)
    # Ending by SIGPIPE, as most programs do, is fine as well.
    if PANIC.search(done.stderr) or done.returncode not in (0, 1, -signal.SIGPIPE):
        return [f"exit code {done.returncode}, {done.stderr[-300:]!r}"]
    return []


def interrupts(trials, files, cache):
    """A signal at several moments of a conversion; those that come too late say nothing."""
    prepared = models.prepare("MobileNetV2", 96, cache)
    for kind, code in ((signal.SIGINT, INTERRUPTED), (signal.SIGTERM, None)):
        name = f"interrupt: {kind.name}"
        if not trials.wanted(name):
            continue
        problems, hits, delay, changed = [], 0, 0.01, []
        while delay < 20:
            with tempfile.TemporaryDirectory(dir=trials.folder) as place:
                out = Path(place) / "out.tflite"
                out.write_bytes(OLD)
                ended, message = signalled(kind, delay, prepared, out)
                if ended == OK:
                    # A signal that nobody handles may come between the renaming and the end.
                    whole = out.read_bytes()
                    problems += [f"after {d:.2f} s: an incomplete output" for d, content in changed if content != whole]
                    break
                hits += 1
                # Before the handler is set the signal itself ends the program, which is as good.
                if code is not None and ended != code and not (ended == -kind and delay < 0.05):
                    problems.append(f"after {delay:.2f} s: exit code {ended} instead of {code} ({message[-200:]!r})")
                if PANIC.search(message):
                    problems.append(f"after {delay:.2f} s: a panic: {message[-200:]!r}")
                # SIGTERM may leave a temporary file: nothing promises to handle it.
                if code is not None:
                    problems += [f"after {delay:.2f} s: {p}" for p in judge_output(ended, out)]
                elif out.read_bytes() != OLD:
                    changed.append((delay, out.read_bytes()))
            delay *= 1.5
        if hits == 0:
            problems.append("the conversion was always faster than the signal")
        trials.note(f"{name} ({hits} moments)", problems)


def signalled(kind, delay, prepared, out):
    arguments = ["convert", prepared.keras, "-o", out, "--quantize", "int8", "--calibration", prepared.calibration]
    process = subprocess.Popen(
        [str(command.BINARY), *map(str, arguments)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    time.sleep(delay)
    process.send_signal(kind)
    try:
        _, message = process.communicate(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return "none within 10 s", ""
    return process.returncode, message


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="only trials whose name contains this")
    parser.add_argument("--cache", type=Path, default=models.default_cache())
    options = parser.parse_args()
    command.require_binary()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        trials, files = Trials(options.only, folder), Files(folder, options.cache)
        for group in (
            truncated, lying, wrong_configurations, wrong_containers, wrong_weights, unsupported, wrong_data, usage,
            outputs,
        ):  # fmt: skip
            group(trials, files)
        interrupts(trials, files, options.cache)
    print(f"{trials.passed} of {trials.passed + len(trials.failures)} pass.")
    return 1 if trials.failures else 0


if __name__ == "__main__":
    sys.exit(main())
