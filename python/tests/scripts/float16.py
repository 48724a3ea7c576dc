"""Weights of half precision, as TensorFlow's guide shows it."""

import pathlib
import sys

import tensorflow as tf

model_path, _, output = sys.argv[1:4]

model = tf.keras.models.load_model(model_path)
converter = tf.lite.TFLiteConverter.from_keras_model(model)
converter.optimizations = [tf.lite.Optimize.DEFAULT]
converter.target_spec.supported_types = [tf.float16]
tflite_fp16_model = converter.convert()
pathlib.Path(output).write_bytes(tflite_fp16_model)
