"""Activations of 16 bits, weights of 8, from a SavedModel: python int16.py FOLDER DATA OUTPUT."""

import sys

import numpy as np
import tensorflow as tf

saved_model, data_path, output = sys.argv[1:4]
images = np.load(data_path)["x"].astype(np.float32)


def representative_dataset():
    for i in range(50):
        yield [images[i : i + 1]]


converter = tf.lite.TFLiteConverter.from_saved_model(saved_model)
converter.optimizations = [tf.lite.Optimize.DEFAULT]
converter.representative_dataset = representative_dataset
converter.target_spec.supported_ops = [
    tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8,
    tf.lite.OpsSet.TFLITE_BUILTINS,
]
open(output, "wb").write(converter.convert())
