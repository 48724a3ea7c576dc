#!/usr/bin/env python3
"""Trains the demo model on Fashion-MNIST with Keras and writes it with samples of the data set.

    python examples/fashion/train.py DATA --to crates/litesmith/assets

DATA is a folder with the four gzipped IDX files of Fashion-MNIST, or the folder in which
`keras.datasets.fashion_mnist` keeps them (~/.keras/datasets/fashion-mnist). Needs Keras 3 and NumPy. Written are

    fashion.keras            the trained float model, without optimizer state
    fashion-calibration.npz  x: 300 training images, 30 of each class, for quantization
    fashion-train.npz        x, y: 4,000 training images for fine-tuning, none of them in the calibration set
    fashion-test.npz         x, y: the first 2,000 test images

Images are uint8 of shape N,28,28,1; the model takes float32 of that shape in 0..255 and rescales by itself.
"""

import argparse
import gzip
import os
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
from keras import layers

CLASSES = ["T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"]


def read_idx(path):
    """The array in a gzipped IDX file of bytes: two zeros, type 8, rank, big-endian sizes, data."""
    content = gzip.decompress(path.read_bytes())
    if content[:3] != b"\0\0\x08":
        raise ValueError(f"{path} is not an IDX file of bytes")
    rank = content[3]
    shape = np.frombuffer(content, ">u4", rank, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * rank).reshape(shape)


def read_fashion_mnist(folder):
    """(train images, train labels, test images, test labels), all uint8, images with one channel."""
    names = ["train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"]
    train_x, train_y, test_x, test_y = (read_idx(folder / f"{name}-ubyte.gz") for name in names)
    return train_x[..., None], train_y, test_x[..., None], test_y


def separable(x, filters, strides, name):
    """Depthwise 3x3 and pointwise 1x1, each with batch normalization; no activation after the second."""
    x = layers.DepthwiseConv2D(3, strides=strides, padding="same", use_bias=False, name=f"{name}_depthwise")(x)
    x = layers.BatchNormalization(momentum=0.9, name=f"{name}_depthwise_bn")(x)
    x = layers.ReLU(6.0, name=f"{name}_depthwise_relu")(x)
    x = layers.Conv2D(filters, 1, use_bias=False, name=f"{name}_project")(x)
    return layers.BatchNormalization(momentum=0.9, name=f"{name}_project_bn")(x)


def build():
    image = keras.Input((28, 28, 1), name="image")
    x = layers.Rescaling(1.0 / 255, name="rescale")(image)
    x = layers.Conv2D(24, 3, padding="same", use_bias=False, name="stem")(x)
    x = layers.BatchNormalization(momentum=0.9, name="stem_bn")(x)
    x = layers.ReLU(6.0, name="stem_relu")(x)

    x = separable(x, 64, 2, "block1")
    x = layers.ReLU(name="block1_relu")(x)

    x = separable(x, 96, 1, "block2")
    x = layers.ReLU(name="block2_relu")(x)
    x = layers.MaxPooling2D(2, name="block2_pool")(x)

    shortcut = x
    x = separable(x, 96, 1, "block3")
    x = layers.Add(name="block3_add")([x, shortcut])
    x = layers.ReLU(name="block3_relu")(x)

    x = separable(x, 160, 2, "block4")
    x = layers.ReLU(name="block4_relu")(x)

    x = layers.GlobalAveragePooling2D(name="pool")(x)
    x = layers.Dropout(0.2, name="dropout")(x)
    return keras.Model(image, layers.Dense(10, activation="softmax", name="classes")(x), name="fashion")


class Augmented(keras.utils.PyDataset):
    """Shuffled batches, half of the images mirrored, each batch shifted by up to two pixels."""

    def __init__(self, images, labels, batch, seed):
        super().__init__()
        self.images, self.labels, self.batch = images, labels, batch
        self.random = np.random.default_rng(seed)
        self.on_epoch_end()

    def __len__(self):
        return len(self.images) // self.batch

    def __getitem__(self, index):
        chosen = self.order[index * self.batch : (index + 1) * self.batch]
        x = self.images[chosen].astype(np.float32)
        mirrored = self.random.random(len(x)) < 0.5
        x[mirrored] = x[mirrored, :, ::-1]
        x = np.roll(x, self.random.integers(-2, 3, 2), axis=(1, 2))
        return x, self.labels[chosen]

    def on_epoch_end(self):
        self.order = self.random.permutation(len(self.images))


def train(model, images, labels, epochs, batch, seed):
    data = Augmented(images, labels, batch, seed)
    warmup = len(data) // 2
    rate = keras.optimizers.schedules.CosineDecay(
        1e-4, epochs * len(data) - warmup, alpha=0.01, warmup_target=4e-3, warmup_steps=warmup
    )
    model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(data, epochs=epochs, verbose=2, shuffle=False)


def accuracy(model, images, labels):
    predicted = model.predict(images.astype(np.float32), batch_size=500, verbose=0).argmax(1)
    return float((predicted == labels).mean())


def per_class(labels, count, chosen_from):
    """Indices of `count` samples of each class, the first ones in the order of `chosen_from`."""
    return np.concatenate([chosen_from[labels[chosen_from] == c][:count] for c in range(len(CLASSES))])


def write_samples(folder, train_images, train_labels, test_images, test_labels, seed):
    random = np.random.default_rng(seed)
    order = random.permutation(len(train_images))
    calibration = random.permutation(per_class(train_labels, 30, order))
    rest = order[~np.isin(order, calibration)]
    tuning = random.permutation(per_class(train_labels, 400, rest))
    np.savez_compressed(folder / "fashion-calibration.npz", x=train_images[calibration])
    np.savez_compressed(folder / "fashion-train.npz", x=train_images[tuning], y=train_labels[tuning])
    np.savez_compressed(folder / "fashion-test.npz", x=test_images[:2000], y=test_labels[:2000])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with the gzipped IDX files of Fashion-MNIST")
    parser.add_argument("--to", type=Path, default=Path("."), help="folder to write to (default: here)")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()

    train_images, train_labels, test_images, test_labels = read_fashion_mnist(options.data)
    keras.utils.set_random_seed(options.seed)
    model = build()
    model.summary()

    start = time.monotonic()
    train(model, train_images, train_labels, options.epochs, options.batch_size, options.seed)
    print(f"trained in {time.monotonic() - start:.0f} s")
    print(f"accuracy on the first 2,000 test images: {accuracy(model, test_images[:2000], test_labels[:2000]):.4f}")
    print(f"accuracy on all {len(test_images):,} test images: {accuracy(model, test_images, test_labels):.4f}")

    options.to.mkdir(parents=True, exist_ok=True)
    # A fresh model with the same weights: what is saved holds neither optimizer state nor training configuration.
    plain = keras.models.clone_model(model)
    plain.set_weights(model.get_weights())
    plain.save(options.to / "fashion.keras")
    write_samples(options.to, train_images, train_labels, test_images, test_labels, options.seed)


if __name__ == "__main__":
    main()
