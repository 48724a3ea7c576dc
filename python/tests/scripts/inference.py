"""Accuracy of a TFLite file, image by image, as TensorFlow's tutorial shows it: python inference.py FILE DATA OUTPUT.

Writes the outputs of all images and the median time of a call in microseconds.
"""

import sys
import time

import numpy as np
import tensorflow as tf

tflite_file, data_path, output_file = sys.argv[1:4]
data = np.load(data_path)
test_images, test_labels = data["x"][:500], data["y"][:500]

# Initialize the interpreter
interpreter = tf.lite.Interpreter(model_path=str(tflite_file), num_threads=1)
interpreter.allocate_tensors()

input_details = interpreter.get_input_details()[0]
output_details = interpreter.get_output_details()[0]

outputs, seconds = [], []
for test_image in test_images:
    # Check if the input type is quantized, then rescale input data to uint8
    if input_details["dtype"] != np.float32:
        input_scale, input_zero_point = input_details["quantization"]
        test_image = np.round(test_image / input_scale + input_zero_point)

    test_image = np.expand_dims(test_image, axis=0).astype(input_details["dtype"])
    start = time.perf_counter()
    interpreter.set_tensor(input_details["index"], test_image)
    interpreter.invoke()
    output = interpreter.get_tensor(output_details["index"])[0]
    seconds.append(time.perf_counter() - start)
    outputs.append(output)

accuracy = np.mean([output.argmax() == label for output, label in zip(outputs, test_labels)])
print(f"accuracy: {accuracy:.4f}")
np.savez(output_file, outputs=np.stack(outputs), accuracy=accuracy, microseconds=np.median(seconds) * 1e6)
