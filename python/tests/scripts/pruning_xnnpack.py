"""Pruning of what XNNPACK runs faster, then int8: python pruning_xnnpack.py MODEL DATA OUTPUT."""

import sys

import numpy as np
import tensorflow as tf
import tensorflow_model_optimization as tfmot

model_path, data_path, output = sys.argv[1:4]
data = np.load(data_path)
train_images, train_labels = data["x"].astype(np.float32), data["y"]

model = tf.keras.models.load_model(model_path)
model_for_pruning = tfmot.sparsity.keras.prune_low_magnitude(
    model,
    pruning_schedule=tfmot.sparsity.keras.ConstantSparsity(0.75, begin_step=0, frequency=10),
    pruning_policy=tfmot.sparsity.keras.PruneForLatencyOnXNNPack(),
)
model_for_pruning.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
model_for_pruning.fit(train_images, train_labels, batch_size=128, epochs=1, verbose=2)

converter = tf.lite.TFLiteConverter.from_keras_model(model_for_pruning)
converter.optimizations = [tf.lite.Optimize.DEFAULT, tf.lite.Optimize.EXPERIMENTAL_SPARSITY]
converter.representative_dataset = lambda: ([image[None]] for image in train_images[:100])
converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
open(output, "wb").write(converter.convert())
