#!/usr/bin/env python3
"""TensorFlow's converter, as people call it.

    conformance/.venv/bin/python conformance/tensorflow_convert.py model.keras out.tflite int8 calibration.npz

The calibration data are needed for integer modes only.
"""

import contextlib
import io
import os
import sys
import warnings
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

# litesmith's modes and what TensorFlow is asked for. `int8` has float input and output, `int8-only` int8 ones.
MODES = ["none", "dynamic", "float16", "int8", "int8-only", "int16x8"]
WITH_DATA = ("int8", "int8-only", "int16x8")


def convert(model, mode, samples=()):
    """TensorFlow's TFLite file for a Keras model; `samples` are arrays by the names of the inputs."""
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if mode != "none":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if mode == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if mode in WITH_DATA:
        converter.representative_dataset = lambda: iter(samples)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    if mode == "int16x8":
        sixteen = tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
        converter.target_spec.supported_ops = [sixteen]
    if mode == "int8-only":
        converter.inference_input_type = converter.inference_output_type = tf.int8
    # The export to a SavedModel prints every variable.
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings(action="ignore"):
        return converter.convert()


def one_by_one(arrays):
    """Samples of batch 1 from arrays by name; TensorFlow's own order of the inputs is not Keras's."""
    count = len(next(iter(arrays.values())))
    return [{name: array[i : i + 1] for name, array in arrays.items()} for i in range(count)]


def main():
    source, target, mode, *calibration = sys.argv[1:]
    model = keras.models.load_model(source, compile=False)
    samples = []
    if calibration:
        with np.load(calibration[0]) as arrays:
            samples = one_by_one({tensor.name: arrays[tensor.name] for tensor in model.inputs})
    Path(target).write_bytes(convert(model, mode, samples))


if __name__ == "__main__":
    main()
