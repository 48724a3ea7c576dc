"""The TFLite files of the data set, and its trained models in every mode: sections of `support.py`."""

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

import command
import crops
import data
import models
import peers

SAMPLES, CALIBRATION = 8, 24
EQUAL = 1e-4  # of the largest output
MODES = ["float16", "dynamic", "int8", "int8-only", "int16x8"]
# Samples of an input whose length is open.
LENGTHS = {"melspectrogram": 54528}


class Refused(Exception):
    """litesmith says that it does not support something."""


def call(*arguments):
    done = command.run(*arguments)
    if done.code == 3:
        lines = [line.strip(" -") for line in done.stderr.strip().splitlines() if ": " in line]
        raise Refused((lines or ["?"])[-1].split("; ")[0])
    if done.code != 0:
        raise command.Failed((done.stderr or "?").strip().splitlines()[-1])


def infer(path, arrays, folder):
    """What `litesmith run` gives, as a list."""
    given, got = folder / "inputs.npz", folder / "outputs.npz"
    np.savez(given, **arrays)
    call("run", path, "--input", given, "--output", got)
    with np.load(got) as outputs:
        return [outputs[name] for name in outputs.files]


def litert(path, arrays):
    """The outputs of LiteRT; without XNNPACK where sizes are open, which it cannot prepare."""
    details = Interpreter(str(path)).get_input_details()
    open_sizes = any(size < 1 for detail in details for size in detail["shape_signature"][1:])
    resolver = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES if open_sizes else OpResolverType.AUTO
    interpreter = Interpreter(str(path), num_threads=models.THREADS, experimental_op_resolver_type=resolver)
    for detail, array in zip(details, arrays, strict=True):
        if tuple(detail["shape"]) != array.shape:
            interpreter.resize_tensor_input(detail["index"], array.shape)
    interpreter.allocate_tensors()
    for detail, array in zip(details, arrays, strict=True):
        interpreter.set_tensor(detail["index"], array)
    interpreter.invoke()
    return [interpreter.get_tensor(detail["index"]).copy() for detail in interpreter.get_output_details()]


def example(name, path):
    """One sample for each input, as LiteRT sees them: true data where there are some."""
    trained = {model.path: model for model in crops.present()}
    if path in trained:
        return [trained[path].inputs(1, data.HELD_OUT)]
    random = np.random.default_rng(1)
    arrays = []
    for detail in Interpreter(str(path)).get_input_details():
        shape = [max(size, 1) for size in detail["shape_signature"]]
        if name in LENGTHS:
            shape[-1] = LENGTHS[name]
        if np.issubdtype(detail["dtype"], np.integer):
            limits = np.iinfo(detail["dtype"])
            arrays.append(random.integers(limits.min, limits.max, shape, endpoint=True).astype(detail["dtype"]))
        else:
            arrays.append(random.uniform(0, 1, shape).astype(np.float32))
    return arrays


def named(path, arrays):
    return {d["name"]: a for d, a in zip(Interpreter(str(path)).get_input_details(), arrays, strict=True)}


def compared(outputs, truth):
    """'equal', the largest error of the largest output, or what does not fit."""
    if len(outputs) != len(truth):
        return f"**{len(outputs)} outputs instead of {len(truth)}**"
    worst = 0.0
    for value, expected in zip(outputs, truth, strict=True):
        if value.shape != expected.shape:
            return f"**{value.shape} instead of {expected.shape}**"
        distance = np.abs(value.astype(np.float64) - expected.astype(np.float64)).max()
        worst = max(worst, float(distance / max(np.abs(expected.astype(np.float64)).max(), 1e-6)))
    if worst == 0:
        return "equal"
    return f"equal, {worst:.0e}" if worst <= EQUAL else f"**differs by {worst:.0e}**"


def attempt(step, *arguments):
    """What a step gives, or why it does not."""
    try:
        return step(*arguments)
    except Refused as refused:
        return f"refused: {refused}"
    except command.Failed as failure:
        return f"**failed**: {failure}"
    except (ValueError, RuntimeError, KeyError) as error:
        return f"**{type(error).__name__}**: {str(error)[:120]}"


def files_table(options, folder, progress):
    columns = ["file", "run, against LiteRT", "written again", "written again, in LiteRT"]
    rows = []
    for path in sorted(crops.FOLDER.glob("*/*.tflite")):
        name = path.parent.name
        if options.only and not any(part in name for part in options.only.split(",")):
            continue
        arrays = example(name, path)
        truth = attempt(litert, path, arrays)
        again = folder / f"{name}.tflite"
        cells = [attempt(check, path, again, arrays, truth, folder) for check in (as_it_is, written, rewritten)]
        rows.append({"what": f"`{name}`", **dict(zip(columns[1:], cells, strict=True))})
        progress(rows[-1])
    return columns, rows


def as_it_is(path, again, arrays, truth, folder):
    return compared(infer(path, named(path, arrays), folder), truth)


def written(path, again, arrays, truth, folder):
    call("convert", path, "-o", again)
    return compared(infer(again, named(again, arrays), folder), truth)


def rewritten(path, again, arrays, truth, folder):
    return compared(litert(again, arrays), truth) if again.is_file() else "-"


def trained_table(options, folder, progress):
    rows = []
    for model in crops.present():
        if options.only and not any(part in model.name for part in options.only.split(",")):
            continue
        source = folder / f"source{model.path.suffix}"
        source.write_bytes(model.path.read_bytes())
        samples = folder / "samples.npz"
        np.savez(samples, x=model.inputs(CALIBRATION, crops.CALIBRATION))
        held_out = {"x": model.inputs(SAMPLES, crops.HELD_OUT)}
        truth = attempt(infer, source, held_out, folder)
        row = {"what": f"`{model.name}`"}
        for mode in MODES:
            row[mode] = attempt(loss, source, mode, samples, held_out, truth, folder)
        rows.append(row)
        progress(row)
    return ["model", *MODES], rows


def loss(source, mode, samples, held_out, truth, folder):
    """Signal-to-noise of the worst output of a mode's file as litesmith runs it, in dB; integers are made real."""
    if isinstance(truth, str):
        return truth
    converted = folder / "mode.tflite"
    extra = ["--output-type", "float32"] if mode == "int8-only" else []
    call("convert", source, "-o", converted, "--quantize", mode, "--calibration", samples, *extra)
    outputs = infer(converted, held_out, folder)
    return f"{min(peers.signal_to_noise(t, o) for t, o in zip(truth, outputs, strict=True)):.1f} dB"
