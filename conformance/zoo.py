#!/usr/bin/env python3
"""Networks that `litesmith zoo build` makes, against those of keras.applications.

    cargo build --release && conformance/.venv/bin/python conformance/zoo.py --models MobileNetV2,EfficientNetB0 --size 96

For every network: Keras loads the file; layers have the names and the order of Keras' own, and as many parameters; Keras and
our runtime give the same outputs for photographs, with random weights and with measured statistics (`--calibrate-bn`), which
are those of a forward pass of Keras in training mode; weights that Keras saves (of Keras 3, older files with other names of
layers, and those of tf_keras; alone, and in whole models; without a classifier) give Keras' outputs by `--weights`, or are
refused. Exit status 1 when a check fails.
"""

import argparse
import os
import sys
import tempfile
import traceback
from pathlib import Path
from unittest import mock

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import h5py
import keras
import numpy as np
import tf_keras
from keras.src.legacy.saving import legacy_h5_format

import command
import data
import models

# One or more of every family; those that the program does not have are left out.
USUAL = [
    "MobileNet", "MobileNetV2", "MobileNetV3Small", "EfficientNetB0", "EfficientNetV2B0", "ResNet50", "ResNet50V2",
    "DenseNet121", "VGG16", "Xception", "InceptionV3", "InceptionResNetV2", "NASNetMobile", "ConvNeXtTiny",
]  # fmt: skip
IMAGES = 16
OUTPUT_ERROR = 1e-4  # of the largest output
STATISTICS_ERROR = 2e-3  # of the deviation
IMAGENET_MEAN = [0.485, 0.456, 0.406]
IMAGENET_VARIANCE = [0.229**2, 0.224**2, 0.225**2]


class Network:
    """A network of the zoo, photographs as it takes them, and what was found wrong with it."""

    def __init__(self, listed, size, folder):
        self.listed, self.name, self.folder = listed, listed["name"], folder
        self.size = size or listed["size"]
        crops = data.crops(IMAGES, self.size, data.HELD_OUT).astype(np.float32)
        mode = listed["preprocessing"]
        if mode != "none":
            crops = keras.applications.imagenet_utils.preprocess_input(crops, data_format="channels_last", mode=mode)
        self.images = np.asarray(crops, np.float32)
        self.checks, self.failures = 0, []

    def check(self, what, passed, shown):
        verdict = "pass" if passed else "FAIL"
        print(f"{verdict}  {self.name} {self.size}: {what}: {shown}", file=sys.stderr, flush=True)
        self.checks += 1
        if not passed:
            self.failures.append(what)

    def built(self, name, *arguments):
        path = self.folder / name
        size = ["--size", self.size]
        result = command.succeed("zoo", "build", self.name, "-o", path, *size, *arguments)
        return path, result

    def theirs(self, **keywords):
        """Keras' own network."""
        keras.backend.clear_session()
        own = getattr(keras.applications, self.name)
        return own(weights=None, input_shape=(self.size, self.size, 3), **keywords)

    def same_outputs(self, what, model, path):
        """Whether our runtime gives for a file what Keras gives for a model."""
        images = self.images[:4]
        truth = model.predict(images, verbose=0)
        got = command.infer(path, {keras_input(path): images})[0]
        error = np.abs(got - truth).max() / np.abs(truth).max()
        self.check(what, np.isfinite(truth).all() and error <= OUTPUT_ERROR, f"outputs differ by {error:.1e}")


def keras_input(path):
    return command.succeed("inspect", path)["inputs"][0]["name"]


def loaded(path):
    keras.backend.clear_session()
    return keras.saving.load_model(path, compile=False)


def check_structure(network):
    path, result = network.built("random.keras", "--seed", 1)
    theirs, ours = network.theirs(), loaded(path)
    names = [layer.name for layer in theirs.layers]
    same = names == [layer.name for layer in ours.layers]
    network.check("layers", same, f"{len(names)} names in order")
    counts = result["parameters"], theirs.count_params(), ours.count_params()
    network.check("parameters", len(set(counts)) == 1, f"{counts[0]:,}")
    shapes = [tuple(weight.shape) for weight in theirs.weights] == [tuple(weight.shape) for weight in ours.weights]
    network.check("weights", shapes, f"{len(theirs.weights)} of the same shapes")
    differ = deviations_differ(theirs, ours)
    network.check("initializers", differ <= 0.1, f"deviations of large weights differ by {differ:.1%}")
    network.same_outputs("random weights", ours, path)


def deviations_differ(theirs, ours):
    """By how much random weights of Keras and ours spread differently, at most."""
    worst = 0.0
    for a, b in zip(theirs.weights, ours.weights, strict=True):
        a, b = a.numpy(), b.numpy()
        if a.size < 10_000 and not a.std() == 0:
            continue
        worst = max(worst, abs(b.std() / a.std() - 1) if a.std() else float(np.abs(a - b).max()))
    return worst


def check_statistics(network):
    """Measured statistics against a forward pass of Keras in training mode."""
    np.savez(network.folder / "images.npz", x=network.images)
    arguments = ["--calibrate-bn", network.folder / "images.npz", "--preprocess", "none"]
    path, result = network.built("measured.keras", "--seed", 1, *arguments)
    truth, ours = loaded(network.folder / "random.keras"), loaded(path)
    norms = [layer.name for layer in truth.layers if isinstance(layer, keras.layers.BatchNormalization)]
    network.check("measured layers", result["batch_norm"]["layers"] == len(norms), len(norms))
    if not norms:
        return
    models.set_statistics(truth, network.images)
    worst = 0.0
    for name in norms:
        mean, variance = (value.numpy() for value in truth.get_layer(name).non_trainable_weights)
        own_mean, own_variance = (value.numpy() for value in ours.get_layer(name).non_trainable_weights)
        # What is not there at all has rounding errors alone.
        spread = variance + 1e-3 * variance.max() + 1e-12
        worst = max(worst, np.abs((own_mean - mean) / np.sqrt(spread)).max())
        worst = max(worst, np.abs((own_variance - variance) / spread).max())
    network.check("measured statistics", worst <= STATISTICS_ERROR, f"differ by {worst:.1e}")
    network.same_outputs("measured statistics", ours, path)
    largest = ours.predict(network.images, verbose=0).max()
    network.check("outputs are not saturated", largest < 0.9, f"largest probability {largest:.3f}")


def filled(model, images):
    """The network with weights that tell every layer from every other."""
    models.seed_weights(model, np.random.default_rng(2))
    models.set_statistics(model, images)
    return model


def check_weights(network):
    truth = filled(network.theirs(), network.images)
    folder = network.folder
    truth.save_weights(folder / "own.weights.h5")
    truth.save(folder / "whole.keras")
    truth.save(folder / "whole.h5")
    with h5py.File(folder / "older.h5", "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, truth)
        rename_layers(file)
    for source in ["own.weights.h5", "whole.keras", "whole.h5", "older.h5"]:
        path, _ = network.built("weights.keras", "--weights", folder / source)
        network.same_outputs(f"weights of {source}", truth, path)
    headless = network.theirs(include_top=False)
    headless.save_weights(folder / "notop.weights.h5")
    with h5py.File(folder / "notop.h5", "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, headless)
    for source in ["notop.weights.h5", "notop.h5"]:
        size = ["--size", network.size]
        done = command.run("zoo", "build", network.name, "-o", folder / "no.keras", *size, "--weights", folder / source)
        said = "notop" in done.stderr and done.code == 5
        network.check(f"weights of {source}", said, done.stderr.strip().split(": ")[-1][:60])


def rename_layers(file):
    """Other names for the layers of an older file, as networks from another session have them."""
    names = legacy_h5_format.load_attributes_from_hdf5_group(file, "layer_names")
    for name in names:
        file.move(name, f"other_{name}")
    for attribute in [name for name in file.attrs if name.startswith("layer_names")]:
        del file.attrs[attribute]
    others = [f"other_{name}".encode() for name in names]
    legacy_h5_format.save_attributes_to_hdf5_group(file, "layer_names", others)


def check_tf_keras(network):
    """Weights of Keras 2, whose variables are called `kernel:0`."""
    own = getattr(tf_keras.applications, network.name, None)
    if own is None:
        return
    tf_keras.backend.clear_session()
    tf_keras.utils.set_random_seed(3)
    model = own(weights=None, input_shape=(network.size, network.size, 3))
    random = np.random.default_rng(4)
    for layer in model.layers:
        if isinstance(layer, tf_keras.layers.BatchNormalization):
            layer.beta.assign(random.normal(0.5, 0.2, layer.beta.shape))
    model.save_weights(network.folder / "keras2.h5")
    path, _ = network.built("keras2.keras", "--weights", network.folder / "keras2.h5")
    network.same_outputs("weights of tf_keras", model, path)


def check_published(network):
    """The network that Keras gives its own ImageNet weights, which has a layer more in some families."""
    if network.size != network.listed["size"]:
        # Keras gives these weights with its classifier at one size alone.
        others = Network(network.listed, None, network.folder)
        check_published(others)
        network.checks += others.checks
        network.failures += others.failures
        return
    if not any(layer.name == "normalization" and layer.weights for layer in network.theirs().layers):
        return
    keras.backend.clear_session()
    module = "keras.src.applications.efficientnet.file_utils.get_file"
    load = "keras.src.models.functional.Functional.load_weights"
    with mock.patch(module, return_value="none.h5"), mock.patch(load):
        own = getattr(keras.applications, network.name)
        truth = own(weights="imagenet", input_shape=(network.size, network.size, 3))
    normalization = truth.get_layer("normalization")
    mean, variance, _ = normalization.weights
    mean.assign(IMAGENET_MEAN)
    variance.assign(IMAGENET_VARIANCE)
    normalization.finalize_state()
    filled(truth, network.images)
    truth.save_weights(network.folder / "published.weights.h5")
    truth.save(network.folder / "published.keras")
    for source in ["published.weights.h5", "published.keras"]:
        path, result = network.built("imagenet.keras", "--weights", network.folder / source)
        network.check(f"note on {source}", "second Rescaling" in (result["note"] or ""), result["note"])
        network.same_outputs(f"weights of {source}", truth, path)


CHECKS = [check_structure, check_statistics, check_weights, check_tf_keras, check_published]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", help="names, or 'all'; one or more of every family where left out")
    parser.add_argument("--size", type=int, help="image height and width; the network's own where left out")
    options = parser.parse_args()
    command.require_binary()
    listed = {network["name"]: network for network in command.succeed("zoo")["networks"]}
    if options.models == "all":
        names = list(listed)
    elif options.models:
        names = options.models.split(",")
    else:
        names = [name for name in USUAL if name in listed]
    if unknown := set(names) - set(listed):
        raise SystemExit(f"unknown networks {sorted(unknown)}")
    failed = 0
    print("| network | size | checks | failed |\n|---|---|---|---|")
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            network = Network(listed[name], options.size, Path(folder))
            for check in CHECKS:
                try:
                    check(network)
                except Exception:  # a network that fails does not end the others
                    traceback.print_exc()
                    network.check(check.__name__, False, "an error")
            failed += bool(network.failures)
            failures = ", ".join(f"**{what}**" for what in network.failures) or "none"
            print(f"| {name} | {network.size} | {network.checks} | {failures} |", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
