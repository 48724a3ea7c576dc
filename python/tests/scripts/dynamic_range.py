"""Post-training quantization of weights, as TensorFlow's guide shows it."""

import pathlib
import sys

import tensorflow as tf

model_path, _, output = sys.argv[1:4]

model = tf.keras.models.load_model(model_path)
converter = tf.lite.TFLiteConverter.from_keras_model(model)
converter.optimizations = [tf.lite.Optimize.DEFAULT]
tflite_quant_model = converter.convert()
pathlib.Path(output).write_bytes(tflite_quant_model)
