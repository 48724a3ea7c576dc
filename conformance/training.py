#!/usr/bin/env python3
"""Training steps against Keras: the same batches in the same order must give the same weights.

    cargo build --release && conformance/.venv/bin/python conformance/training.py [--cases NAME,...]

Each case is a small Keras model with an optimizer and a loss. Keras takes one step for each batch of the data, litesmith
does so from the same file. Compared are all weights, those of batch normalization's running statistics included, by
the largest difference over the largest change that training made.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import keras
import numpy as np
from keras import layers

import command

# Steps of a case, and samples in each but the last, which has fewer.
STEPS = 4
BATCH = 8
CLASSES = 5
# Largest difference over the largest change of a weight.
TOLERANCE = 2e-3


def classifier(shape, body, activation="softmax"):
    image = keras.Input(shape)
    x = body(image)
    return keras.Model(image, layers.Dense(CLASSES, activation=activation)(x))


def conv_net(image):
    x = layers.Conv2D(8, 3, padding="same", activation="relu")(image)
    x = layers.MaxPooling2D()(x)
    x = layers.Conv2D(12, 3, strides=2, kernel_regularizer=keras.regularizers.L2(1e-3))(x)
    x = layers.BatchNormalization(momentum=0.8)(x)
    x = layers.ReLU()(x)
    return layers.GlobalAveragePooling2D()(x)


def residual(image):
    x = layers.ZeroPadding2D(1)(image)
    x = layers.Conv2D(8, 3, strides=2, use_bias=False)(x)
    x = layers.BatchNormalization(epsilon=1e-5)(x)
    short = x = layers.ReLU()(x)
    x = layers.Conv2D(8, 1)(x)
    x = layers.BatchNormalization(scale=False)(x)
    x = layers.Add()([x, short])
    x = layers.ReLU()(x)
    x = layers.AveragePooling2D(3, strides=2, padding="same")(x)
    return layers.Flatten()(x)


def inverted(image):
    x = layers.Conv2D(16, 1, use_bias=False)(image)
    x = layers.BatchNormalization()(x)
    x = layers.ReLU(6.0)(x)
    x = layers.DepthwiseConv2D(3, strides=2, padding="same", use_bias=False)(x)
    x = layers.BatchNormalization(center=False)(x)
    x = layers.Activation("hard_silu")(x)
    gate = layers.GlobalAveragePooling2D(keepdims=True)(x)
    gate = layers.Conv2D(4, 1, activation="relu")(gate)
    gate = layers.Conv2D(16, 1, activation="hard_sigmoid")(gate)
    x = layers.Multiply()([x, gate])
    return layers.GlobalMaxPooling2D()(x)


def swish(image):
    x = layers.Rescaling(0.5, offset=0.1)(image)
    x = layers.Conv2D(8, 3, activation="swish", padding="same")(x)
    x = layers.SeparableConv2D(8, 5, activation="swish", padding="same", depth_multiplier=2)(x)
    x = layers.Concatenate()([x, layers.UpSampling2D(2)(layers.MaxPooling2D(2)(x))])
    x = layers.LayerNormalization()(x)
    x = layers.Conv2DTranspose(4, 3, strides=2, padding="same", activation="tanh")(x)
    x = layers.SpatialDropout2D(0.0)(x)
    return layers.GlobalAveragePooling2D()(x)


def dense(image):
    x = layers.Flatten()(image)
    x = layers.Dense(16, activation="gelu")(x)
    x = layers.BatchNormalization()(x)
    x = layers.Dense(12, activation="elu")(x)
    x = layers.PReLU()(x)
    x = layers.Dense(8, activation="selu")(x)
    return layers.LeakyReLU(0.1)(x)


def two_heads(image):
    """Two inputs through one shared body, and two outputs with losses of their own."""
    other = keras.Input((12, 12, 3), name="other")
    body = keras.Sequential([layers.Conv2D(8, 3, activation="relu"), layers.GlobalAveragePooling2D()])
    both = layers.Concatenate()([body(image), body(other)])
    kind = layers.Dense(CLASSES, activation="softmax", name="kind")(both)
    size = layers.Dense(2, name="size")(layers.Dense(6, activation="relu")(both))
    return keras.Model([image, other], {"kind": kind, "size": size})


SPARSE = "sparse_categorical_crossentropy"
HEADS = {"kind": SPARSE, "size": "huber"}
CASES = {
    "conv, sgd": (conv_net, lambda: keras.optimizers.SGD(0.05), SPARSE),
    "conv, momentum": (conv_net, lambda: keras.optimizers.SGD(0.05, momentum=0.9), SPARSE),
    "conv, nesterov": (conv_net, lambda: keras.optimizers.SGD(0.05, momentum=0.9, nesterov=True), SPARSE),
    "residual, sgd": (residual, lambda: keras.optimizers.SGD(0.05), SPARSE),
    "residual, rmsprop": (residual, lambda: keras.optimizers.RMSprop(0.01, momentum=0.5, epsilon=1e-3), SPARSE),
    "inverted, sgd": (inverted, lambda: keras.optimizers.SGD(0.05), SPARSE),
    "swish, sgd": (swish, lambda: keras.optimizers.SGD(0.05), SPARSE),
    "dense, adam": (dense, lambda: keras.optimizers.Adam(0.01, epsilon=1e-3), SPARSE),
    "dense, adamw": (dense, lambda: keras.optimizers.AdamW(0.01, weight_decay=0.05, epsilon=1e-3), SPARSE),
    "dense, clipped": (dense, lambda: keras.optimizers.SGD(0.05, global_clipnorm=0.5), SPARSE),
    "dense, schedule": (
        dense,
        lambda: keras.optimizers.SGD(keras.optimizers.schedules.ExponentialDecay(0.1, 2, 0.5)),
        SPARSE,
    ),
    "conv, mean squares": (conv_net, lambda: keras.optimizers.SGD(0.05), "mean_squared_error"),
    "two heads": (two_heads, lambda: keras.optimizers.SGD(0.05, momentum=0.9), HEADS),
}


def made(name, rng):
    """The compiled model of a case, its inputs and its targets."""
    body, optimizer, loss = CASES[name]
    count = BATCH * STEPS - 3
    labels = rng.integers(0, CLASSES, count)
    if loss is HEADS:
        model = two_heads(keras.Input((12, 12, 3), name="x"))
        targets = {"kind": labels, "size": rng.random((count, 2)).astype(np.float32)}
        model.compile(optimizer(), loss, loss_weights={"kind": 0.7, "size": 2.0}, metrics={"kind": ["accuracy"]})
    else:
        model = classifier((12, 12, 3), body)
        targets = labels if loss == SPARSE else rng.random((count, CLASSES)).astype(np.float32)
        model.compile(optimizer(), loss, metrics=["accuracy"] if loss == SPARSE else None)
    inputs = {tensor.name: rng.normal(size=(count, *tensor.shape[1:])).astype(np.float32) for tensor in model.inputs}
    return model, inputs, targets


def run(name, folder):
    """The largest relative difference of a case, and the loss of both."""
    keras.utils.set_random_seed(7)
    rng = np.random.default_rng(11)
    model, x, y = made(name, rng)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.set_weights([rng.uniform(0.5, 1.5, w.shape).astype(np.float32) for w in layer.get_weights()])
    source, trained, data = folder / "model.keras", folder / "trained.keras", folder / "data.npz"
    model.save(source)
    np.savez(data, **x, **(y if isinstance(y, dict) else {"y": y}))
    before = [np.array(weight) for weight in model.get_weights()]
    history = model.fit(x if len(x) > 1 else next(iter(x.values())), y, batch_size=BATCH, epochs=1, shuffle=False, verbose=0).history

    arguments = ["train", source, "--data", data, "-o", trained, "--batch-size", BATCH, "--no-shuffle"]
    result = command.succeed(*arguments)
    ours = keras.models.load_model(trained)
    change = max(np.abs(a - b).max() for a, b in zip(model.get_weights(), before))
    worst = max(np.abs(a - b).max() for a, b in zip(ours.get_weights(), model.get_weights()))
    return worst / change, history["loss"][0], result["epochs"][0]["loss"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", help="names, separated by semicolons; all where left out")
    options = parser.parse_args()
    names = options.cases.split(";") if options.cases else list(CASES)
    failed = []
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            worst, expected, got = run(name, Path(folder))
        good = worst <= TOLERANCE and abs(expected - got) <= 1e-4 * abs(expected)
        if not good:
            failed.append(name)
        print(f"{'ok  ' if good else 'FAIL'} {name}: weights {worst:.1e}, loss {got:.6f} (Keras {expected:.6f})")
    print(f"{len(names) - len(failed)} of {len(names)} cases")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
