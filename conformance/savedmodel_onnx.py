#!/usr/bin/env python3
"""SavedModels in, ONNX out: the applications of `models.py` on every road, against Keras, ONNX Runtime and our runtime.

    cargo build --release && conformance/.venv/bin/python conformance/savedmodel_onnx.py --models MobileNetV2 --size 96

The roads of each application:

    SavedModel      the TFLite file from the SavedModel that Keras exports is the one from `.keras`: operators,
                    constants, outputs in LiteRT
    none            float ONNX from `.keras` and from the SavedModel against Keras
    int8-only       quantized ONNX: the integers and scales of our TFLite file; ONNX Runtime against our runtime on
                    that file, also with unsigned activations; the same ONNX file made from the TFLite file
    nodes           each node of the quantized ONNX file by itself: ONNX Runtime against our runtime, on the integers
                    that our runtime computes for one photograph
    dynamic, float16, int16x8
                    ONNX Runtime runs them; signal-to-noise against Keras

Every ONNX file passes ONNX's checker, and transposes its input once at most. Then the SavedModels of the data set, to
TFLite and to ONNX, against TensorFlow; those that are not there are left out. Exit status 1 when a check fails.
"""

import argparse
import re
import sys
import tempfile
import traceback
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import onnx
import tensorflow as tf

import command
import crops
import models
import onnx_nodes
import peers
import tflite_file
from convert import ARGUMENTS, FLOAT_ERROR, STEPS, Row, first, is_integer, table
from onnx_operators import onnx_runtime

MODELS = [*models.CORE, "MobileNetV3Large", "ConvNeXtTiny"]
# Two readers fold and fuse in different orders: the last bits of constants and outputs.
SAME = 1e-6
TRANSPOSES = 1
# Dense layers of images that are no float32 or int8 throughout stay products between two transpositions, where a
# convolution of single pixels rounds otherwise (int16x8) or takes ONNX Runtime twice as long (dynamic).
DENSE_TRANSPOSES = {("ConvNeXtTiny", "dynamic"): 37, ("ConvNeXtTiny", "int16x8"): 37}
# Untrained models give values beyond the calibrated ranges now and then.
LEAST_SNR_DB = {"dynamic": 15, "float16": 50, "int16x8": 25}
SAVED_MODELS = {"basic-pitch": 4, "mobilenet-v1": 4}  # and how many samples each gets


def convert(source, prepared, mode, ending, name="", more=()):
    """Our file of the model, made anew."""
    path = prepared.folder / f"litesmith-{mode}{name}.{ending}"
    arguments = ["convert", source, "-o", path, *ARGUMENTS[mode], *more]
    if is_integer(mode):
        arguments += ["--calibration", prepared.calibration, "--samples", models.SAMPLES]
    command.succeed(*arguments)
    return path


def relative(ours, theirs):
    """The largest difference as a share of the largest value."""
    if ours.shape != theirs.shape:
        return float("inf")
    distance = float(np.abs(ours.astype(np.float64) - theirs).max(initial=0))
    return distance / max(float(np.abs(theirs).max(initial=0)), 1e-30)


def check_onnx(row, path, most_transposes=TRANSPOSES):
    """ONNX's checker, and transposes and operator set for the table."""
    onnx.checker.check_model(str(path), full_check=True)
    model = onnx.load(str(path))
    transposes = sum(node.op_type == "Transpose" for node in model.graph.node)
    row.check("opset", True, f"{next(o.version for o in model.opset_import if o.domain == '')}")
    row.check("transposes", transposes <= most_transposes, f"{transposes}")


def run_onnx(path, images, *, optimized=True):
    """The outputs of ONNX Runtime one after another for all images."""
    session_input = onnx.load(str(path), load_external_data=False).graph.input[0].name
    return onnx_runtime(path, {session_input: images}, optimized=optimized)[0]


def has_vnni():
    """Whether this processor adds products of bytes without saturating between them."""
    return re.search(r"\bavx(512)?_vnni\b", Path("/proc/cpuinfo").read_text()) is not None


def same_constants(ours, theirs):
    """The largest relative difference of the constants of two TFLite files, paired by type, shape and nearness."""
    groups = [defaultdict(list), defaultdict(list)]
    for group, file in zip(groups, (ours, theirs), strict=True):
        for index, tensor in enumerate(file.graph.tensors):
            values = file.constant(index)
            if values is not None:
                group[file.type(index), tuple(tensor.shape)].append(values)
    counts = [{key: len(values) for key, values in group.items()} for group in groups]
    if counts[0] != counts[1]:
        return float("inf")
    worst = 0.0
    for key, values in groups[0].items():
        candidates = groups[1][key]
        for value in values:
            distances = [relative(value, candidate) for candidate in candidates]
            nearest = int(np.argmin(distances))
            worst = max(worst, distances[nearest])
            candidates.pop(nearest)
    return worst


def check_saved_model(prepared, row):
    paths = [
        convert(prepared.keras, prepared, "none", "tflite"),
        convert(models.saved_model(prepared), prepared, "none", "tflite", "-saved-model"),
    ]
    files = [tflite_file.TfliteFile(path) for path in paths]
    operators = [Counter(operator.name for operator in file.operators) for file in files]
    different = (operators[0] - operators[1]) + (operators[1] - operators[0])
    row.check("operators", not different, f"{operators[1].total()}" if not different else f"differ: {dict(different)}")
    constants = same_constants(*files)
    row.check("constants", constants <= SAME, f"{constants:.1e}")
    outputs = []
    for path in paths:
        runner = peers.TfliteRunner(path)
        outputs.append(first(runner({runner.input_names[0]: prepared.images("held_out")})))
    error = relative(outputs[1], outputs[0])
    row.check("error", error <= SAME, f"{error:.1e}")


def check_float(prepared, row):
    images, truth = prepared.images("held_out"), prepared.logits()
    sources = {"error from .keras": prepared.keras, "from SavedModel": models.saved_model(prepared)}
    for column, source in sources.items():
        path = convert(source, prepared, "none", "onnx", "-saved-model" if source.is_dir() else "")
        check_onnx(row, path)
        error = relative(run_onnx(path, images), truth)
        row.check(column, error <= FLOAT_ERROR, f"{error:.1e}")


def constants_of_tflite(path):
    """(integers, scales) of each quantized constant, in an order that no layout changes, and how often it is there."""
    file = tflite_file.TfliteFile(path)
    found = Counter()
    for index in {i for operator in file.operators for i in operator.inputs if i >= 0}:
        values, scales = file.constant(index), file.scales(index)
        if values is not None and len(scales):
            found[onnx_nodes.fingerprint(values, scales)] += 1
    return found


def check_integers(prepared, row):
    tflite = convert(prepared.keras, prepared, "int8-only", "tflite")
    path = convert(prepared.keras, prepared, "int8-only", "onnx")
    check_onnx(row, path)
    theirs, ours = constants_of_tflite(tflite), onnx_nodes.quantized_constants(onnx.load(str(path)))
    different = (theirs - ours) + (ours - theirs)
    shown = f"{different.total()} of {theirs.total()} differ" if different else f"{theirs.total()} equal"
    row.check("integers", not different, shown)

    runner = peers.TfliteRunner(tflite)
    name = runner.input_names[0]
    images = runner.quantized(name, prepared.images("held_out"))
    expected, plain = command.infer(tflite, {name: images})[0], peers.kernel_difference(tflite, images)
    outputs = run_onnx(path, images)
    check_steps(row, "steps", outputs, expected, plain)
    unsigned = convert(prepared.keras, prepared, "int8-only", "onnx", "-unsigned", ["--unsigned-activations"])
    check_onnx(row, unsigned)
    # Elsewhere ONNX Runtime's products of uint8 by int8 saturate, and only its float arithmetic says what the file says.
    outputs_unsigned = run_onnx(unsigned, images, optimized=has_vnni())
    check_steps(row, "steps, unsigned", outputs_unsigned, expected, plain)

    again = prepared.folder / "litesmith-int8-only-tflite.onnx"
    command.succeed("convert", tflite, "-o", again)
    check_onnx(row, again)
    equal_bytes = again.read_bytes() == path.read_bytes()
    equal = equal_bytes or np.array_equal(run_onnx(again, images), outputs)
    row.check("from TFLite", equal, "equal bytes" if equal_bytes else "equal outputs" if equal else "differs")


def check_steps(row, column, got, expected, plain):
    """Integers of ONNX Runtime against ours, where LiteRT's own kernels differ by `plain` steps."""
    if got.shape != expected.shape or got.dtype != expected.dtype:
        row.check(column, False, f"{got.dtype} {got.shape} instead of {expected.dtype} {expected.shape}")
        return
    steps = int(np.abs(got.astype(np.int64) - expected).max())
    row.check(column, steps <= max(STEPS, 2 * plain), f"{steps} (plain {plain:.0f})")


def check_nodes(prepared, row):
    """The files are those of `check_integers`."""
    tflite, path = (prepared.folder / f"litesmith-int8-only.{ending}" for ending in ("tflite", "onnx"))
    runner = peers.TfliteRunner(tflite)
    image = runner.quantized(runner.input_names[0], prepared.images("held_out")[:1])
    found = onnx_nodes.compare(tflite, path, image)
    row.check("compared", not found.left_out, f"not {found.left_out[:3]}" if found.left_out else f"{found.compared}")
    for column, kinds in (("integers", found.optimized), ("without optimizations", found.plain)):
        bad = [kind for kind in kinds.values() if kind.steps > kind.allowed]
        row.check(f"steps, {column}", not bad, ", ".join(map(str, bad or kinds.values())))


def check_mode(prepared, mode, row):
    path = convert(prepared.keras, prepared, mode, "onnx")
    check_onnx(row, path, DENSE_TRANSPOSES.get((prepared.name, mode), TRANSPOSES))
    snr = peers.signal_to_noise(prepared.logits(), run_onnx(path, prepared.images("held_out")))
    row.check("SNR", snr >= LEAST_SNR_DB[mode], f"{snr:.1f} dB")


ROADS = {"SavedModel": check_saved_model, "none": check_float, "int8-only": check_integers, "nodes": check_nodes} | {
    mode: lambda prepared, row, mode=mode: check_mode(prepared, mode, row) for mode in LEAST_SNR_DB
}


def tensorflow_outputs(folder, samples):
    """(name of the input, outputs by name) of a SavedModel, in TensorFlow."""
    signature = tf.saved_model.load(str(folder)).signatures["serving_default"]
    (name,) = signature.structured_input_signature[1]
    runs = [signature(**{name: tf.constant(samples[i : i + 1])}) for i in range(len(samples))]
    return name, {key: np.concatenate([run[key].numpy() for run in runs]) for key in runs[0]}


def check_data_set(name, row):
    """A SavedModel of the data set, to both formats."""
    folder = crops.FOLDER / name / "saved_model"
    trained = next(model for model in crops.TRAINED if model.name == name)
    samples = trained.inputs(SAVED_MODELS[name], crops.HELD_OUT)
    input_name, truth = tensorflow_outputs(folder, samples)
    with tempfile.TemporaryDirectory() as out:
        tflite, path = Path(out) / "model.tflite", Path(out) / "model.onnx"
        for target in (tflite, path):
            command.succeed("convert", folder, "-o", target)
        runner = peers.TfliteRunner(tflite)
        check_onnx(row, path)
        names = [output.name for output in onnx.load(str(path)).graph.output]
        outputs = {
            "TFLite": runner({runner.input_names[0]: samples}),
            "ONNX": dict(zip(names, onnx_runtime(path, {input_name: samples}, optimized=True), strict=True)),
        }
    for column, got in outputs.items():
        if set(got) != set(truth):
            row.check(column, False, f"outputs {sorted(got)} instead of {sorted(truth)}")
            continue
        error = max(relative(got[key], truth[key]) for key in truth)
        row.check(column, error <= FLOAT_ERROR, f"{error:.1e}")


def attempt(row, check, *arguments):
    try:
        check(*arguments, row)
    except command.Failed as failure:
        row.check("problem", False, str(failure))
    except Exception as error:  # one broken file must not hide the state of the others
        traceback.print_exc()
        row.check("problem", False, f"{type(error).__name__}: {error}".replace("\n", " ")[:200])
    print(f"{row.label} {row.mode}: {row.verdict} {'; '.join(row.failures)}", file=sys.stderr, flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    models.add_arguments(parser)
    parser.set_defaults(models=",".join(MODELS))
    parser.add_argument("--roads", default=",".join(ROADS), help=f"default: all of {','.join(ROADS)}")
    options = parser.parse_args()
    roads = options.roads.split(",")
    if unknown := set(roads) - set(ROADS):
        raise SystemExit(f"unknown roads {sorted(unknown)}; known: {', '.join(ROADS)}")
    command.require_binary()

    rows = defaultdict(list)
    for name in models.chosen(options):
        prepared = models.prepare(name, options.size, options.cache)
        for road in roads:
            row = Row(prepared.label, road)
            rows["modes" if road in LEAST_SNR_DB else road].append(row)
            attempt(row, ROADS[road], prepared)
    for name in SAVED_MODELS:
        if not (crops.FOLDER / name / "saved_model").is_dir():
            print(f"{name} is not in {crops.FOLDER}: left out.", file=sys.stderr)
            continue
        row = Row(name, "SavedModel of the data set")
        rows["data set"].append(row)
        attempt(row, check_data_set, name)

    for group in rows.values():
        columns = dict.fromkeys(column for row in group for column in row.cells)
        print(table(group, list(columns)))
    everything = [row for group in rows.values() for row in group]
    failed = sum(bool(row.failures) for row in everything)
    print(f"{len(everything) - failed} of {len(everything)} pass.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
