#!/usr/bin/env python3
"""Every ordinary Keras layer: what litesmith reads from a Keras file computes what Keras computes.

    cargo build --release && conformance/.venv/bin/python conformance/keras_layers.py [--cases conv,dense] [--int8]

Each small model of `layer_models/` is written by Keras 3 and by tf_keras, as .keras and as .h5. For each file
`litesmith run` must agree with Keras, and so must the float TFLite file that `litesmith convert` makes, in LiteRT at
batch 1 and at batch 5. With `--int8` and `--int16x8`, our quantized file must be as near to Keras as TensorFlow's. Exit status 1 when an
ordinary model fails; a refusal (exit code 3) is accepted for the few rare ones, and demanded for those of
`not_yet.txt`.
"""

import argparse
import hashlib
import re
import sys
import traceback
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
import tf_keras
from absl import logging
from tensorflow.lite.python.convert_phase import ConverterError

import command
import layer_models
import models
import not_yet
import peers
import tensorflow_convert

# tf_keras warns about every file without training configuration.
tf.get_logger().setLevel("ERROR")
logging.set_verbosity(logging.ERROR)

PACKAGES = {"keras": keras, "tf_keras": tf_keras}
# Raised when weights, inputs or files are made in another way; a change of a model shows by itself.
RECIPE = "1"
FREE_SIZE = 9  # of axes that a model leaves open
ERROR = 2e-5  # of the largest output
LOSS_DB = 1.0
ENOUGH_DB = {"int8": 30.0, "int16x8": 45.0}
# Where chance decides: the exponential of an exponential makes 1e11 of its input, and a step of an integer there counts
# for as much as all the rest.
CHANCE_DB = {("activation_exponential", "int16x8"): 22.0}


def seed_weights(model, random):
    """Gives weights that start as zeros or ones other values, so that leaving one out shows."""
    for weight in model.weights:
        name = re.sub(r":\d+$", "", getattr(weight, "path", weight.name)).rsplit("/", 1)[-1]
        shape = tuple(weight.shape)
        if name in ("gamma", "scale"):
            weight.assign(random.uniform(0.7, 1.3, shape))
        elif name in ("moving_variance", "alpha"):
            weight.assign(random.uniform(0.1, 0.9, shape))
        elif name in ("bias", "beta", "moving_mean"):
            weight.assign(random.normal(0, 0.3, shape))


def random_inputs(model, count, seed):
    random = np.random.default_rng(seed)
    inputs = {}
    for tensor in model.inputs:
        name = tensor.name.split(":")[0]
        shape = (count, *(FREE_SIZE if size is None else size for size in tensor.shape[1:]))
        ids = name == "ids"
        inputs[name] = random.integers(0, 20, shape).astype(np.float32) if ids else normal(random, shape)
        if name == "gaps":
            inputs[name] *= random.random(shape[:-1])[..., None] > 0.4  # steps that a mask leaves out
    return inputs


def normal(random, shape):
    return random.normal(0, 1, shape).astype(np.float32)


def keras_outputs(model, inputs):
    outputs = model.predict([inputs[t.name.split(":")[0]] for t in model.inputs], verbose=0)
    if isinstance(outputs, dict):
        # In the order of the names, as a TFLite signature has them.
        return [outputs[name] for name in sorted(outputs)]
    return list(outputs) if isinstance(outputs, (list, tuple)) else [outputs]


def prepare(case, cache):
    """Folder with the files of a case, made if need be: MODEL files, inputs.npz, and MODEL.npz with the truth."""
    folder = Path(cache) / "layers" / case.name
    wanted = f"{RECIPE} {hashlib.sha256(case.source.encode()).hexdigest()}"
    stamp = folder / "recipe"
    with models.alone(folder):
        if not stamp.is_file() or stamp.read_text() != wanted:
            make(case, folder)
            stamp.write_text(wanted)
    return folder


def make(case, folder):
    """Replaces whatever the folder has."""
    for old in folder.iterdir():
        old.unlink()
    for name, package in PACKAGES.items():
        if case.only_keras3 and name != "keras":
            continue
        package.backend.clear_session()
        package.utils.set_random_seed(1)
        model = case.build(package)
        seed_weights(model, np.random.default_rng(2))
        inputs = random_inputs(model, layer_models.SAMPLES, 3)
        np.savez(folder / "inputs.npz", **inputs)
        np.savez(folder / "calibration.npz", **random_inputs(model, 40, 4))
        for ending in ("keras", "h5"):
            path = folder / f"{name}.{ending}"
            try:
                model.save(path)
                # The truth is what Keras makes of the file: not every layer survives every format.
                truth = keras_outputs(package.models.load_model(path, compile=False), inputs)
            except (ValueError, TypeError, NotImplementedError, AttributeError, KeyError) as error:
                print(f"{case.name}: {name} cannot keep it in {path.name}: {str(error)[:150]}", file=sys.stderr)
                path.unlink(missing_ok=True)
                continue
            np.savez(path.with_name(path.name + ".npz"), *truth)


def truth_of(path):
    with np.load(path.with_name(path.name + ".npz")) as arrays:
        return [arrays[f"arr_{i}"] for i in range(len(arrays.files))]


def largest_error(outputs, truth):
    """The largest difference, relative to the largest value of its output; says what does not fit."""
    if len(outputs) != len(truth):
        raise ValueError(f"{len(outputs)} outputs instead of {len(truth)}")
    worst = 0.0
    for i, (value, expected) in enumerate(zip(outputs, truth, strict=True)):
        if value.shape != expected.shape:
            raise ValueError(f"output {i} is {value.shape} instead of {expected.shape}")
        if not np.isfinite(value).all():
            raise ValueError(f"output {i} is not finite")
        worst = max(worst, float(np.abs(value - expected).max() / max(np.abs(expected).max(), 1e-6)))
    return worst


def in_order(outputs):
    """LiteRT's outputs in the order of the model: numbered names by number, the keys of a dictionary as sorted."""
    names = sorted(outputs)
    if all(re.fullmatch(r"output_\d+", name) for name in names):
        names.sort(key=lambda name: int(name.rsplit("_", 1)[1]))
    return [outputs[name] for name in names]


def check_file(path, inputs):
    """Error of our runtime, and of our float TFLite file in our runtime and in LiteRT at batch 1 and all at once."""
    truth = truth_of(path)
    errors = {"run": largest_error(command.infer(path, inputs), truth)}
    converted = path.with_name(path.name + ".tflite")
    command.succeed("convert", path, "-o", converted)
    errors["run TFLite"] = largest_error(command.infer(converted, inputs), truth)
    for batch in (1, layer_models.SAMPLES):
        runner = peers.TfliteRunner(converted)
        errors[f"LiteRT, batch {batch}"] = largest_error(in_order(runner(inputs, batch)), truth)
    return errors


def check_quantized(folder, mode):
    """Signal-to-noise of our file in a mode and of TensorFlow's, worst output; minus infinity when TensorFlow refuses.

    It is measured on the calibration samples: on others, a wider range can win by chance.
    """
    path, data = folder / "keras.keras", folder / "calibration.npz"
    ours = folder / f"litesmith-{mode}.tflite"
    command.succeed("convert", path, "-o", ours, "--quantize", mode, "--calibration", data)
    with np.load(data) as arrays:
        inputs = {name: arrays[name] for name in arrays.files}
    model = keras.models.load_model(path, compile=False)
    theirs = folder / f"tensorflow-{mode}.tflite"
    if not theirs.is_file():
        try:
            theirs.write_bytes(tensorflow_convert.convert(model, mode, tensorflow_convert.one_by_one(inputs)))
        except (ConverterError, RuntimeError):
            theirs.write_bytes(b"")  # remembers the refusal
    truth = keras_outputs(model, inputs)
    try:
        their_snr = worst_snr(theirs, inputs, truth)
    except (RuntimeError, ValueError):
        their_snr = -np.inf  # LiteRT takes no int16 PADV2 of TensorFlow's
    return mode, worst_snr(ours, inputs, truth), their_snr


def worst_snr(path, inputs, truth):
    if path.stat().st_size == 0:
        return -np.inf
    runner = peers.TfliteRunner(path)
    outputs = in_order(runner.real(runner(inputs)))
    return min(peers.signal_to_noise(t, o) for t, o in zip(truth, outputs, strict=True))


def check_case(case, options):
    """(passed, text) of each file of the case."""
    folder = prepare(case, options.cache)
    with np.load(folder / "inputs.npz") as arrays:
        inputs = {name: arrays[name] for name in arrays.files}
    for path in sorted([*folder.glob("*.keras"), *folder.glob("*.h5")]):
        yield path.name, *attempt(case, lambda path=path: judge_float(check_file(path, inputs)))
    for mode in options.modes:
        yield mode, *attempt(case, lambda mode=mode: judge_quantized(case.name, *check_quantized(folder, mode)))


def judge_float(errors):
    bad = {what: error for what, error in errors.items() if not error <= ERROR}
    shown = ", ".join(f"{what} {error:.1e}" for what, error in (bad or errors).items())
    return not bad, shown


def judge_quantized(name, mode, ours, theirs):
    enough = CHANCE_DB.get((name, mode), ENOUGH_DB[mode])
    return ours >= min(theirs - LOSS_DB, enough), f"{ours:.1f} dB, TensorFlow's {theirs:.1f} dB"


def attempt(case, check):
    try:
        return check()
    except command.Failed as failure:
        refused = "exits with 3" in str(failure)
        return refused and case.rare, str(failure)
    except Exception as error:  # one broken file must not hide the state of the others
        if not isinstance(error, ValueError):
            traceback.print_exc()
        return False, f"{type(error).__name__}: {error}".replace("\n", " ")[:300]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", default="", help="only those whose name contains one of these, comma-separated")
    for mode in ENOUGH_DB:
        what = f"also compare {mode} files with TensorFlow's"
        parser.add_argument(f"--{mode}", dest="modes", action="append_const", const=mode, default=[], help=what)
    parser.add_argument("--prepare", action="store_true", help="only build the models")
    parser.add_argument("--cache", type=Path, default=models.default_cache())
    options = parser.parse_args()
    parts = options.cases.split(",")
    cases = [case for case in layer_models.CASES.values() if any(part in case.name for part in parts)]
    if not cases:
        raise SystemExit(f"no case contains {options.cases}; known: {', '.join(layer_models.CASES)}")
    if options.prepare:
        for case in cases:
            prepare(case, options.cache)
        return 0
    command.require_binary()

    passed = failed = 0
    for case in cases:
        for file, good, text in check_case(case, options):
            good, text = not_yet.judge("keras_layers", case.name, good, text)
            passed, failed = passed + good, failed + (not good)
            print(f"{'pass' if good else 'FAIL'}  {case.name} {file}: {text}", flush=True)
    print(f"{passed} of {passed + failed} pass.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
