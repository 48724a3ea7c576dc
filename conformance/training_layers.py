#!/usr/bin/env python3
"""The gradients of every ordinary Keras layer against TensorFlow's.

    cargo build --release && conformance/.venv/bin/python conformance/training_layers.py [--cases conv,dense]

Each small model of `layer_models/` is put behind trainable dense layers, one for each of its inputs that holds real
numbers, so that gradients have to come through all of it. Keras takes two steps of SGD on random targets, litesmith the
same from the same file, and all weights are compared, by the largest difference over the largest change of a weight.
What is random while a model is trained (Dropout, GaussianNoise) has its rate set to zero. Cases that litesmith refuses to
train stand in not_yet.txt.
"""

import argparse
import os
import sys
import tempfile
import traceback
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import keras
import numpy as np

import command
import layer_models
import not_yet
from keras_layers import FREE_SIZE, random_inputs, seed_weights

BATCH, STEPS = 5, 2
TOLERANCE = 1e-3
# Learning rates; where an exponential of an exponential would leave the range of numbers, a lower one.
RATE, RATES = 0.02, {"activation_exponential": 1e-26}


def sizes(tensor):
    return tuple(FREE_SIZE if size is None else size for size in tensor.shape[1:])


def behind_dense_layers(inner):
    """The model with a trainable layer before each input that has real numbers along a last axis."""
    inputs, given = [], []
    for tensor in inner.inputs:
        name = tensor.name.split(":")[0]
        own = keras.Input(sizes(tensor), name=name, dtype=tensor.dtype)
        inputs.append(own)
        real = keras.backend.standardize_dtype(tensor.dtype) == "float32" and name != "ids" and len(own.shape) > 1
        given.append(keras.layers.Dense(own.shape[-1], name=f"before_{name}")(own) if real else own)
    # The given structure of a model with one input is the tensor itself.
    outputs = inner(given if len(given) > 1 else given[0])
    return keras.Model(inputs, outputs)


def without_chance(model):
    """Sets noise, and penalties that are not kept with weights, to nothing."""
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.ActivityRegularization):
            layer.l1 = layer.l2 = 0.0
            layer.activity_regularizer = None
        for rate in ("rate", "stddev"):
            if isinstance(getattr(layer, rate, None), float):
                setattr(layer, rate, 0.0)


def difference(case, folder):
    """The largest difference of a weight over the largest change."""
    keras.backend.clear_session()
    keras.utils.set_random_seed(1)
    inner = case.build(keras)
    without_chance(inner)
    model = behind_dense_layers(inner)
    seed_weights(model, np.random.default_rng(2))
    for layer in model.layers:
        if layer.name.startswith("before_"):
            layer.set_weights([np.eye(layer.units, dtype=np.float32), np.zeros(layer.units, np.float32)])
    inputs = random_inputs(model, BATCH * STEPS, 3)
    rng = np.random.default_rng(4)
    x = [inputs[tensor.name] for tensor in model.inputs]
    outputs = keras.tree.flatten(model(x if len(x) > 1 else x[0]))
    targets = [rng.normal(size=output.shape).astype(np.float32) for output in outputs]
    model.compile(keras.optimizers.SGD(RATES.get(case.name, RATE)), "mean_squared_error")
    source, trained, data = folder / "model.keras", folder / "trained.keras", folder / "data.npz"
    model.save(source)
    named = {"y": targets[0]} if len(targets) == 1 else {f"y_{place}": target for place, target in enumerate(targets)}
    np.savez(data, **inputs, **named)
    arguments = ["train", source, "--data", data, "-o", trained, "--batch-size", BATCH, "--no-shuffle"]
    command.succeed(*arguments)

    before = [np.array(weight) for weight in model.get_weights()]
    y = keras.tree.pack_sequence_as(model.output, targets)
    model.fit(x if len(x) > 1 else x[0], y, batch_size=BATCH, shuffle=False, verbose=0)
    ours = keras.models.load_model(trained, compile=False)
    change = max(np.abs(a - b).max() for a, b in zip(model.get_weights(), before))
    worst = max(np.abs(a - b).max() for a, b in zip(ours.get_weights(), model.get_weights()))
    if not np.isfinite(change) or change == 0:
        raise ValueError(f"Keras changes its weights by {change}")
    return worst / change


def attempt(case):
    try:
        with tempfile.TemporaryDirectory() as folder:
            worst = difference(case, Path(folder))
    except command.Failed as failure:
        return False, str(failure)
    except Exception as error:  # one broken model must not hide the state of the others
        if not isinstance(error, ValueError):
            traceback.print_exc()
        return False, f"{type(error).__name__}: {error}".replace("\n", " ")[:300]
    return bool(worst <= TOLERANCE), f"{worst:.1e}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", default="", help="only those whose name contains one of these, comma-separated")
    options = parser.parse_args()
    command.require_binary()
    parts = options.cases.split(",")
    cases = [case for case in layer_models.CASES.values() if any(part in case.name for part in parts)]
    passed = 0
    for case in cases:
        good, text = not_yet.judge("training_layers", case.name, *attempt(case))
        passed += good
        print(f"{'pass' if good else 'FAIL'}  {case.name}: {text}", flush=True)
    print(f"{passed} of {len(cases)} pass.")
    return 0 if passed == len(cases) else 1


if __name__ == "__main__":
    sys.exit(main())
