"""Quantization-aware training, as TFMOT's tutorial shows it: python qat.py MODEL DATA OUTPUT."""

import sys

import numpy as np
import tensorflow as tf
import tensorflow_model_optimization as tfmot

model_path, data_path, output = sys.argv[1:4]
data = np.load(data_path)
train_images, train_labels = data["x"].astype(np.float32), data["y"]

model = tf.keras.models.load_model(model_path)

quantize_model = tfmot.quantization.keras.quantize_model

# q_aware stands for quantization aware.
q_aware_model = quantize_model(model)

# `quantize_model` requires a recompile.
q_aware_model.compile(
    optimizer="adam",
    loss=tf.keras.losses.SparseCategoricalCrossentropy(from_logits=False),
    metrics=["accuracy"],
)

q_aware_model.summary()

train_images_subset = train_images[0:1000]
train_labels_subset = train_labels[0:1000]

history = q_aware_model.fit(
    train_images_subset, train_labels_subset, batch_size=500, epochs=1, validation_split=0.1
)
assert sorted(history.history) == ["accuracy", "loss", "val_accuracy", "val_loss"], history.history

_, q_aware_model_accuracy = q_aware_model.evaluate(train_images, train_labels, verbose=0)
predicted = q_aware_model.predict(train_images[:100], verbose=0)
print("Quant test accuracy:", q_aware_model_accuracy, "on the first 100:", np.mean(predicted.argmax(-1) == train_labels[:100]))

converter = tf.lite.TFLiteConverter.from_keras_model(q_aware_model)
converter.optimizations = [tf.lite.Optimize.DEFAULT]
quantized_tflite_model = converter.convert()
with open(output, "wb") as file:
    file.write(quantized_tflite_model)
