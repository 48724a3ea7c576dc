#!/usr/bin/env python3
"""Broken files, wrong data, full disks, interrupts: the right exit code, a message, nothing half-written.

    cargo build --release && conformance/.venv/bin/python conformance/robustness.py [--only NAME]

Every trial starts with an output file that is already there. When litesmith fails, that file must be untouched and no
other may lie beside it; it must say something, and never with the words of a panic. Exit status 1 when a trial fails.
"""

import argparse
import contextlib
import io
import json
import os
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
import tensorflow as tf
from keras import layers

import command
import damaged_saved_models
import keras_layers
import layer_models
import models
from saved_model_trials import hostile_graphs, lying_tables, spoilt_saved_models
from trials import (
    BROKEN, CHECK, FAILED, INTERRUPTED, LIMIT, OK, OLD, PANIC, SECONDS, UNSUPPORTED, USAGE, Trials, judge,
    judge_outputs, old_outputs, run,
)  # fmt: skip

ASSETS = command.REPOSITORY / "crates/litesmith/assets"


# The files to start from


def frozen_graph(model):
    """A Keras model as a graph without variables."""
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    function = tf.function(lambda x: model(x)).get_concrete_function(tf.TensorSpec([1, 28, 28, 1], tf.float32))
    return convert_variables_to_constants_v2(function).graph.as_graph_def().SerializeToString()


class Counter(tf.Module):
    """A model that remembers what came before."""

    def __init__(self):
        super().__init__()
        self.total = tf.Variable(tf.zeros([1, 4]), name="total")

    @tf.function(input_signature=[tf.TensorSpec([1, 4], tf.float32, name="x")])
    def call(self, x):
        self.total.assign_add(x)
        return {"y": self.total.read_value()}


class Files:
    """Good models and data, and the means to spoil them."""

    def __init__(self, folder, cache):
        self.folder = folder
        self.keras = ASSETS / "fashion.keras"
        self.calibration = ASSETS / "fashion-calibration.npz"
        self.h5 = keras_layers.prepare(layer_models.CASES["residual"], cache) / "keras.h5"
        self.tflite = folder / "good.tflite"
        command.succeed("convert", self.keras, "-o", self.tflite)
        self.onnx = folder / "good.onnx"
        command.succeed("convert", self.keras, "-o", self.onnx)
        self.saved = folder / "good"
        self.export(self.saved)
        self.frozen = folder / "good.pb"
        self.frozen.write_bytes(frozen_graph(keras.models.load_model(self.keras)))
        self.count = 0

    def write(self, content, ending):
        self.count += 1
        path = self.folder / f"case-{self.count}{ending}"
        path.write_bytes(content)
        return path

    def damaged(self, **changes):
        """The SavedModel with some files changed."""
        self.count += 1
        return damaged_saved_models.copy(self.saved, self.folder / f"case-{self.count}", **changes)

    def arrays(self, **arrays):
        content = io.BytesIO()
        np.savez(content, **arrays)
        return self.write(content.getvalue(), ".npz")

    def model(self, model):
        self.count += 1
        path = self.folder / f"case-{self.count}.keras"
        model.save(path)
        return path

    def export(self, folder):
        """fashion.keras as a SavedModel."""
        with contextlib.redirect_stdout(io.StringIO()):
            keras.models.load_model(self.keras).export(folder, verbose=False)

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
    for path in (files.keras, files.h5, files.tflite, files.onnx):
        content = path.read_bytes()
        for share in (0, 0.001, 0.1, 0.5, 0.9, 0.99):
            kept = int(share * len(content))
            cut = files.write(content[:kept], path.suffix)
            trials.convert(f"truncated{path.suffix} {kept} of {len(content)}", cut, codes=BROKEN)
        trials.convert(f"truncated{path.suffix} last byte", files.write(content[:-1], path.suffix), codes=(OK, BROKEN))


def lying(trials, files):
    """Four bytes at seeded places become numbers that lie; what is hit may be a weight, so a result is fine too."""
    random = np.random.default_rng(7)
    for path in (files.h5, files.tflite, files.onnx):
        content = path.read_bytes()
        # The structure of HDF5 is spread over the file, those of TFLite and ONNX lie mostly at its ends.
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


def weights_elsewhere(trials, files):
    """ONNX files whose weights stand in another file: one that is missing, too short, or not in the model's folder."""
    place = files.folder / "external"
    place.mkdir()
    good, data = place / "model.onnx", place / "model.onnx.data"
    command.succeed("convert", files.keras, "-o", good, "--external-data")
    whole, weights = good.read_bytes(), data.read_bytes()
    trials.convert("weights in another file", good, codes=(OK,))
    name = b"model.onnx.data"
    for other in (b"../../etc/hosts", b"/etc/host.conf0", b"./../model.data"):
        assert len(other) == len(name)
        spoilt = place / "spoilt.onnx"
        spoilt.write_bytes(whole.replace(name, other))
        trials.convert(f"weights in {other.decode()}", spoilt, codes=BROKEN, mentions=["folder"])
    data.write_bytes(weights[: len(weights) // 2])
    trials.convert("half of the weights' file", good, codes=BROKEN)
    data.unlink()
    trials.convert("no file of weights", good, codes=(FAILED, USAGE, BROKEN), mentions=["model.onnx.data"])


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
    for option in ("--signature", "--tag"):
        name = f"usage: unknown {option[2:]}"
        trials.convert(f"{name} of a Keras file", files.keras, option, "x", codes=USAGE, mentions=[option])
        trials.convert(name, files.saved, option, "x", codes=UNSUPPORTED, mentions=["serv"])
    trials.call("usage: no output", "convert", files.keras, codes=USAGE)
    trials.call("usage: unknown verb", "frobnicate", codes=USAGE)
    trials.call("usage: nothing", codes=USAGE)
    trials.convert("usage: unknown instruction set", files.keras, codes=USAGE, environment={"LITESMITH_ISA": "mmx"})
    trials.convert("usage: no threads", files.keras, codes=(OK, USAGE), environment={"LITESMITH_THREADS": "many"})
    gate = ["--quantize", "int8", *data, "--min-snr", "200"]
    trials.convert("gate: SNR not reached", files.keras, *gate, codes=CHECK)
    trials.convert("gate: SNR not reached by rounding", files.keras, "--min-snr", "300", codes=CHECK)
    trials.convert("gate: SNR reached", files.keras, "--quantize", "int8", *data, "--min-snr", "5", codes=OK)


def onnx(trials, files):
    """What is asked of an ONNX file and cannot be given."""
    data = ["--calibration", files.calibration, "--samples", 20]

    def trial(name, *arguments, model=files.keras, output="out.onnx", **how):
        trials.convert(f"ONNX: {name}", model, *arguments, output=output, **how)

    for opset in (12, 0, 29, 99):
        trial(f"opset {opset}", "--opset", opset, codes=UNSUPPORTED, mentions=["13"])
    trial("opset is no number", "--opset", "new", codes=USAGE)
    trial("int16x8 in opset 18", "--opset", 18, "--quantize", "int16x8", *data, codes=UNSUPPORTED, mentions=["21"])
    trial("int8 without data", "--quantize", "int8", codes=USAGE, mentions=["calibration"])
    trial("unknown layout", "--input-layout", "chwn", codes=USAGE)
    for option in (["--opset", 13], ["--input-layout", "nchw"], ["--external-data"], ["--unsigned-activations"]):
        trial(f"{option[0]} for TFLite", *option, output="out.tflite", codes=USAGE, mentions=[option[0]])
    trial("gate not reached", "--external-data", "--quantize", "int8", *data, "--min-snr", 200, codes=CHECK)
    trial("every option", "--external-data", "--quantize", "int8", *data, "--opset", 21, "--input-layout", "nchw",
          "--unsigned-activations", codes=OK)  # fmt: skip

    counter = Counter()
    files.count += 1
    saved = files.folder / f"case-{files.count}"
    tf.saved_model.save(counter, saved)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([counter.call.get_concrete_function()], counter)
    converter.experimental_enable_resource_variables = True
    for model in (saved, files.write(converter.convert(), ".tflite")):
        trial(f"states of a {model.suffix or 'SavedModel'}", model=model, codes=UNSUPPORTED)

    place = files.folder / "Mödell 模型 (neu)"
    place.mkdir()
    shutil.copytree(files.saved, place / "gespeichertes Modell ü")
    shutil.copy(files.keras, place / "ein Modell é.keras")
    for model in sorted(place.iterdir()):
        for arguments in ([], ["--external-data"]):
            name = f"names with spaces and accents, {model.name} {' '.join(arguments)}"
            trial(name, *arguments, model=model, output="Ergebnis 结果 é.onnx", codes=OK)


def outputs(trials, files):
    int8 = ["--quantize", "int8", "--calibration", files.calibration]
    for limit in (0, 1, 4096, 50_000):
        name = f"output: disk full after {limit} bytes"
        trials.convert(name, files.keras, *int8, codes=FAILED, file_bytes=limit)
        # Each of the two files is smaller than the last of these limits.
        for external in ([], ["--external-data"]) if limit < 50_000 else ([],):
            name = f"output: disk full after {limit} bytes of ONNX {' '.join(external)}"
            how = {"codes": FAILED, "file_bytes": limit, "output": "out.onnx"}
            trials.convert(name, files.keras, *int8, *external, **how)
    # The weights of one layer (4096 bytes) fit where the nodes of many do not.
    x = a = keras.Input((16,), name="x")
    for _ in range(100):
        x = layers.Activation("tanh")(x)
    many_nodes = files.model(keras.Model(a, layers.Dense(64)(x)))
    name = "output: disk full after the weights"
    trials.convert(name, many_nodes, "--external-data", codes=FAILED, file_bytes=4096, output="out.onnx")

    for arguments in (["out.tflite"], ["out.onnx"], ["out.onnx", "--external-data"]):
        output, name = arguments[0], " ".join(arguments)
        call = ["convert", files.keras, "-o"]
        trials.call(f"output: folder of {name} is missing", *call, files.folder / "no" / output, *arguments[1:],
                    codes=FAILED)  # fmt: skip
        trials.call(f"output: {name} is not allowed", *call, f"/proc/{output}", *arguments[1:], codes=FAILED)
        for taken in (output, f"{output}.data"):
            if taken == output or "--external-data" in arguments:
                output_is_a_folder(trials, files, name, output, taken, arguments[1:])

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


def output_is_a_folder(trials, files, name, output, taken, arguments):
    """The file that would have to be written has the name of a folder; the other one, if there is one, stays."""
    name = f"output: {name}, {taken} is a folder"
    if not trials.wanted(name):
        return
    with tempfile.TemporaryDirectory(dir=trials.folder) as place:
        outs = old_outputs(Path(place), output, arguments)
        (Path(place) / taken).unlink()
        (Path(place) / taken).mkdir()
        done = run(["convert", files.keras, "-o", outs[0], *arguments])
        others = [out for out in outs if out.name != taken]
        problems = judge(done, FAILED) + [f"the earlier {o.name} was touched" for o in others if o.read_bytes() != OLD]
        left = sorted(p.name for p in Path(place).iterdir() if p not in outs)
        trials.note(name, problems + ([f"left behind: {', '.join(left)}"] if left else []))


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
                (out,) = old_outputs(Path(place), "out.tflite", [])
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
                    problems += [f"after {delay:.2f} s: {p}" for p in judge_outputs(ended, [out])]
                elif out.read_bytes() != OLD:
                    changed.append((delay, out.read_bytes()))
            delay *= 1.5
        if hits == 0:
            problems.append("the conversion was always faster than the signal")
        trials.note(f"{name} ({hits} moments)", problems)


def interrupts_while_writing(trials, cache):
    """A signal when the temporary file of an output appears, and a little later."""
    prepared = models.prepare("MobileNetV2", 96, cache)
    for output, arguments in (("out.tflite", []), ("out.onnx", []), ("out.onnx", ["--external-data"])):
        name = " ".join(["interrupt while writing", output, *arguments])
        if not trials.wanted(name):
            continue
        problems, hits = [], 0
        for moment in range(10):
            with tempfile.TemporaryDirectory(dir=trials.folder) as place:
                outs = old_outputs(Path(place), output, arguments)
                ended, message, hit = interrupted_writing(Path(place), moment, prepared, outs[0], arguments)
                hits += hit
                problems += [f"moment {moment}: {p}" for p in judge_outputs(ended, outs)]
                if ended not in (OK, INTERRUPTED) or PANIC.search(message):
                    problems.append(f"moment {moment}: exit code {ended} ({message[-200:]!r})")
        if hits == 0:
            problems.append("no temporary file was seen")
        trials.note(f"{name} ({hits} moments)", problems)


def interrupted_writing(place, moment, prepared, out, arguments):
    """How the program ended, what it said, and whether it was still writing."""
    process = started(["convert", prepared.keras, "-o", out, *arguments])
    while process.poll() is None and not list(place.glob(".*.part")):
        time.sleep(0.0002)
    time.sleep(moment * 0.001)
    hit = bool(list(place.glob(".*.part")))
    process.send_signal(signal.SIGINT)
    return *ended(process), hit


def started(arguments):
    return subprocess.Popen(
        [str(command.BINARY), *map(str, arguments)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


def signalled(kind, delay, prepared, out):
    process = started(
        ["convert", prepared.keras, "-o", out, "--quantize", "int8", "--calibration", prepared.calibration]
    )
    time.sleep(delay)
    process.send_signal(kind)
    return ended(process)


def ended(process):
    """How a program ended that got a signal, and what it said."""
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
            truncated, lying, weights_elsewhere, spoilt_saved_models, lying_tables, hostile_graphs, wrong_configurations,
            wrong_containers, wrong_weights, unsupported, wrong_data, usage, onnx, outputs,
        ):  # fmt: skip
            group(trials, files)
        interrupts(trials, files, options.cache)
        interrupts_while_writing(trials, options.cache)
    print(f"{trials.passed} of {trials.passed + len(trials.failures)} pass.")
    return 1 if trials.failures else 0


if __name__ == "__main__":
    sys.exit(main())
