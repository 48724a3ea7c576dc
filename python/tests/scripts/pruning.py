"""Pruning, as TFMOT's tutorial shows it: python pruning.py MODEL DATA OUTPUT [bare|summaries].

`bare` leaves out what TensorFlow needs, UpdatePruningStep and strip_pruning; `summaries` needs TensorBoard there.
"""

import sys
import tempfile

import numpy as np
import tensorflow as tf
import tensorflow_model_optimization as tfmot

model_path, data_path, output = sys.argv[1:4]
bare = "bare" in sys.argv
data = np.load(data_path)
train_images, train_labels = data["x"].astype(np.float32), data["y"]

model = tf.keras.models.load_model(model_path)
prune_low_magnitude = tfmot.sparsity.keras.prune_low_magnitude

# Compute end step to finish pruning after 2 epochs.
batch_size = 128
epochs = 2
validation_split = 0.1  # 10% of training set will be used for validation set.

num_images = train_images.shape[0] * (1 - validation_split)
end_step = np.ceil(num_images / batch_size).astype(np.int32) * epochs

# Define model for pruning.
pruning_params = {
    "pruning_schedule": tfmot.sparsity.keras.PolynomialDecay(
        initial_sparsity=0.50, final_sparsity=0.80, begin_step=0, end_step=int(end_step) - 1, frequency=10
    )
}

model_for_pruning = prune_low_magnitude(model, **pruning_params)

# `prune_low_magnitude` requires a recompile.
model_for_pruning.compile(
    optimizer="adam", loss=tf.keras.losses.SparseCategoricalCrossentropy(from_logits=False), metrics=["accuracy"]
)
model_for_pruning.summary()

callbacks = [tfmot.sparsity.keras.UpdatePruningStep()]
if "summaries" in sys.argv:
    callbacks.append(tfmot.sparsity.keras.PruningSummaries(log_dir=tempfile.mkdtemp()))
model_for_pruning.fit(
    train_images,
    train_labels,
    batch_size=batch_size,
    epochs=epochs,
    validation_split=validation_split,
    callbacks=None if bare else callbacks,
)
_, model_for_pruning_accuracy = model_for_pruning.evaluate(train_images, train_labels, verbose=0)
print("Pruned test accuracy:", model_for_pruning_accuracy)

model_for_export = model_for_pruning if bare else tfmot.sparsity.keras.strip_pruning(model_for_pruning)
for weight in model_for_export.get_weights():
    if np.ndim(weight) > 1:
        print(np.shape(weight), f"{1 - np.count_nonzero(weight) / np.size(weight):.3f}")

converter = tf.lite.TFLiteConverter.from_keras_model(model_for_export)
pruned_tflite_model = converter.convert()
with open(output, "wb") as f:
    f.write(pruned_tflite_model)
