"""Integers with a float interface; the samples are dicts by input name."""

import sys

import numpy as np
import tensorflow as tf

model_path, data_path, output = sys.argv[1:4]
images = np.load(data_path)["x"].astype(np.float32)


def representative_dataset():
    for image in images[:100]:
        yield {"image": image[np.newaxis]}


model = tf.keras.models.load_model(model_path)
converter = tf.lite.TFLiteConverter.from_keras_model(model)
converter.optimizations = [tf.lite.Optimize.DEFAULT]
converter.representative_dataset = representative_dataset
tflite_quant_model = converter.convert()
with open(output, "wb") as f:
    f.write(tflite_quant_model)
