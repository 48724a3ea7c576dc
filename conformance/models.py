#!/usr/bin/env python3
"""Keras applications with seeded weights and true batch-norm statistics, and the data that go with them.

    conformance/.venv/bin/python conformance/models.py --models MobileNetV2,ResNet50 --size 96

Untrained networks with default or random batch-norm statistics blow up or fade away, and then say nothing about
quantization. Here every batch normalization gets the mean and variance of what it really receives for photographs.

In the cache (`--cache`, else $LITESMITH_CONFORMANCE_CACHE, else conformance/cache), NAME-SIZE/ holds

    model.keras, model.h5   without softmax
    saved_model/            what Keras exports of it; made where a check asks for it
    calibration.npz         image: 20 crops, float32, preprocessed as the application wants it
    held_out.npz            image: 20 other crops
    logits.npy              what Keras computes for held_out.npz
"""

import argparse
import contextlib
import fcntl
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from keras import applications, layers

import data

THREADS = int(os.environ.get("LITESMITH_CONFORMANCE_THREADS", "2"))
tf.config.threading.set_intra_op_parallelism_threads(THREADS)
tf.config.threading.set_inter_op_parallelism_threads(1)

APPLICATIONS = {
    "MobileNetV2": (applications.MobileNetV2, applications.mobilenet_v2),
    "ResNet50": (applications.ResNet50, applications.resnet50),
    "EfficientNetB0": (applications.EfficientNetB0, applications.efficientnet),
    "DenseNet121": (applications.DenseNet121, applications.densenet),
    "MobileNetV3Small": (applications.MobileNetV3Small, applications.mobilenet_v3),
    "ResNet50V2": (applications.ResNet50V2, applications.resnet_v2),
    "MobileNet": (applications.MobileNet, applications.mobilenet),
    "MobileNetV3Large": (applications.MobileNetV3Large, applications.mobilenet_v3),
    "EfficientNetV2B0": (applications.EfficientNetV2B0, applications.efficientnet_v2),
    "EfficientNetV2L": (applications.EfficientNetV2L, applications.efficientnet_v2),
    "ConvNeXtTiny": (applications.ConvNeXtTiny, applications.convnext),
    "VGG16": (applications.VGG16, applications.vgg16),
    "InceptionV3": (applications.InceptionV3, applications.inception_v3),
    "Xception": (applications.Xception, applications.xception),
}
CORE = ["MobileNetV2", "ResNet50", "EfficientNetB0", "DenseNet121", "MobileNetV3Small"]

SAMPLES = 20
# Raised when what is built changes, so that older cache entries are made again.
RECIPE = "1"


@dataclass(frozen=True)
class Prepared:
    """A model of the cache."""

    name: str
    size: int
    folder: Path

    @property
    def label(self):
        return f"{self.name} {self.size}"

    @property
    def keras(self):
        return self.folder / "model.keras"

    @property
    def h5(self):
        return self.folder / "model.h5"

    @property
    def calibration(self):
        return self.folder / "calibration.npz"

    @property
    def held_out(self):
        return self.folder / "held_out.npz"

    def images(self, which):
        """The array of `calibration` or `held_out`."""
        return np.load(getattr(self, which))["image"]

    def logits(self):
        return np.load(self.folder / "logits.npy")


def seed_weights(model, random):
    """Batch-norm scales and offsets, and biases that are not zero.

    Offsets above the scales keep most units active, as training does. With offsets around zero every ReLU layer
    amplifies rounding errors, and a deep network answers them with tens of steps of its int8 output.
    """
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            typical = 0.6 if layer.scale else 1.0
            if layer.scale:
                layer.gamma.assign(random.uniform(0.4, 0.8, layer.gamma.shape))
            if layer.center:
                layer.beta.assign(random.normal(typical / 0.6, 0.3 * typical / 0.6, layer.beta.shape))
        elif getattr(layer, "bias", None) is not None:
            layer.bias.assign(random.normal(0, 0.05, layer.bias.shape))


def set_statistics(model, images):
    """One forward pass in training mode in which the moving statistics become those of the batch."""
    normalizations = [layer for layer in model.layers if isinstance(layer, layers.BatchNormalization)]
    dropouts = [layer for layer in model.layers if isinstance(layer, layers.Dropout)]
    momenta = [layer.momentum for layer in normalizations]
    rates = [layer.rate for layer in dropouts]
    for layer in normalizations:
        layer.momentum = 0.0
    for layer in dropouts:
        layer.rate = 0.0
    model([images], training=True)
    for layer, momentum in zip(normalizations, momenta, strict=True):
        layer.momentum = momentum
    for layer, rate in zip(dropouts, rates, strict=True):
        layer.rate = rate


def build(name, size):
    """The application for size x size images, ready to be saved, and its preprocessing."""
    constructor, module = APPLICATIONS[name]
    keras.utils.set_random_seed(1)
    image = keras.Input((size, size, 3), name="image")
    model = constructor(input_tensor=image, weights=None, classifier_activation=None)
    seed_weights(model, np.random.default_rng(1))

    def preprocess(crops):
        return np.asarray(module.preprocess_input(crops.astype(np.float32)), np.float32)

    set_statistics(model, preprocess(data.crops(16, size, data.STATISTICS)))
    return model, preprocess


@contextlib.contextmanager
def alone(folder):
    """One process at a time makes what belongs into a folder of the cache; others wait and find it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def prepare(name, size, cache):
    """The model in the cache, made if it is not there yet."""
    prepared = Prepared(name, size, Path(cache) / f"{name}-{size}")
    with alone(prepared.folder):
        stamp = prepared.folder / "recipe"
        wanted = f"{RECIPE} keras {keras.__version__}"
        if not stamp.is_file() or stamp.read_text() != wanted:
            make(prepared)
            stamp.write_text(wanted)
    return prepared


def make(prepared):
    """Replaces whatever the folder has."""
    name, size, folder = prepared.name, prepared.size, prepared.folder
    for old in folder.iterdir():
        shutil.rmtree(old) if old.is_dir() else old.unlink()
    keras.backend.clear_session()
    model, preprocess = build(name, size)
    for which, purpose in [("calibration", data.CALIBRATION), ("held_out", data.HELD_OUT)]:
        np.savez(getattr(prepared, which), image=preprocess(data.crops(SAMPLES, size, purpose)))
    logits = model.predict([prepared.images("held_out")], batch_size=4, verbose=0)
    if not np.isfinite(logits).all():
        raise ValueError(f"{prepared.label} gives logits that are not finite")
    np.save(folder / "logits.npy", logits)
    model.save(prepared.keras)
    model.save(prepared.h5)


def saved_model(prepared):
    """The SavedModel that Keras exports of a model in the cache, made if it is not there yet."""
    folder = prepared.folder / "saved_model"
    with alone(prepared.folder):
        if not folder.is_dir():
            part = prepared.folder / "saved_model.part"
            shutil.rmtree(part, ignore_errors=True)
            keras.backend.clear_session()
            keras.models.load_model(prepared.keras, compile=False).export(part, verbose=False)
            part.rename(folder)
    return folder


def default_cache():
    return os.environ.get("LITESMITH_CONFORMANCE_CACHE", Path(__file__).parent / "cache")


def add_arguments(parser):
    """`--models`, `--size` and `--cache`, as several scripts here have them."""
    parser.add_argument("--models", default=",".join(CORE), help=f"among {','.join(APPLICATIONS)}; or 'all'")
    parser.add_argument("--size", type=int, default=224, help="image height and width (default: 224)")
    parser.add_argument("--cache", type=Path, default=default_cache())


def chosen(options):
    """The names that `--models` gives."""
    names = list(APPLICATIONS) if options.models == "all" else options.models.split(",")
    if unknown := set(names) - set(APPLICATIONS):
        raise SystemExit(f"unknown models {sorted(unknown)}; known: {', '.join(APPLICATIONS)}")
    return names


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--saved-model", action="store_true", help="also what Keras exports of each")
    options = parser.parse_args()
    for name in chosen(options):
        prepared = prepare(name, options.size, options.cache)
        if options.saved_model:
            saved_model(prepared)
        logits = prepared.logits()
        print(f"{prepared.label}: logits {logits.min():.3f} to {logits.max():.3f}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
