"""Integers throughout, as TensorFlow's tutorial shows it: python integer_only.py MODEL DATA OUTPUT [uint8]."""

import sys

import numpy as np
import tensorflow as tf

model_path, data_path, output = sys.argv[1:4]
kind = tf.uint8 if "uint8" in sys.argv else tf.int8
train_images = np.load(data_path)["x"].astype(np.float32)


def representative_data_gen():
    for input_value in tf.data.Dataset.from_tensor_slices(train_images).batch(1).take(100):
        yield [input_value]


model = tf.keras.models.load_model(model_path)
converter = tf.lite.TFLiteConverter.from_keras_model(model)
converter.optimizations = [tf.lite.Optimize.DEFAULT]
converter.representative_dataset = representative_data_gen
# Ensure that if any ops can't be quantized, the converter throws an error
converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
# Set the input and output tensors to integers
converter.inference_input_type = kind
converter.inference_output_type = kind

tflite_model_quant = converter.convert()
interpreter = tf.lite.Interpreter(model_content=tflite_model_quant)
input_type = interpreter.get_input_details()[0]["dtype"]
print("input: ", input_type)
output_type = interpreter.get_output_details()[0]["dtype"]
print("output: ", output_type)
assert (input_type, output_type) == (kind.as_numpy_dtype, kind.as_numpy_dtype)
open(output, "wb").write(tflite_model_quant)
