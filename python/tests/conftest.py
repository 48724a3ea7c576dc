"""The embedded model and images of Fashion-MNIST, and a live model beside them."""

import os
import pathlib
import subprocess
import sys

# Before Keras is imported, wherever that is.
os.environ.setdefault("KERAS_BACKEND", "jax")

import numpy as np
import pytest

TESTS = pathlib.Path(__file__).parent
ASSETS = TESTS.parent.parent / "crates" / "litesmith" / "assets"
SCRIPTS = TESTS / "scripts"


@pytest.fixture(scope="session")
def model_path():
    return ASSETS / "fashion.keras"


@pytest.fixture(scope="session")
def training():
    """4,000 images [n, 28, 28, 1] of float32 in 0..255, and their classes."""
    return _images("fashion-train.npz")


@pytest.fixture(scope="session")
def held_out():
    return _images("fashion-test.npz")


def _images(name):
    with np.load(ASSETS / name) as data:
        return data["x"].astype(np.float32), data["y"].astype(np.int64)


@pytest.fixture
def run_script(tmp_path):
    """Runs one of the scripts as it stands but for its import lines; returns what it printed."""

    def run(name, *arguments, warnings="default"):
        text = (SCRIPTS / f"{name}.py").read_text()
        text = text.replace("import tensorflow as tf", "import litesmith as tf")
        text = text.replace("import tensorflow_model_optimization as tfmot", "import litesmith as tfmot")
        script = tmp_path / f"{name}.py"
        script.write_text(text)
        command = [sys.executable, "-W", warnings, script, *map(str, arguments)]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    return run


@pytest.fixture
def accuracy(run_script, tmp_path):
    """The accuracy of a TFLite file on 500 images, as the inference script finds it."""

    def measure(file):
        run_script("inference", file, ASSETS / "fashion-test.npz", tmp_path / "outputs.npz")
        with np.load(tmp_path / "outputs.npz") as outputs:
            return float(outputs["accuracy"])

    return measure


@pytest.fixture(scope="session")
def small_model():
    """A live Keras 3 model with a convolution, batch normalization and a dense layer."""
    import keras

    keras.utils.set_random_seed(0)
    image = keras.Input((28, 28, 1), name="image")
    x = keras.layers.Rescaling(1 / 255, name="rescale")(image)
    x = keras.layers.Conv2D(8, 3, strides=2, use_bias=False, name="conv")(x)
    x = keras.layers.BatchNormalization(momentum=0.9, name="norm")(x)
    x = keras.layers.ReLU(name="relu")(x)
    x = keras.layers.Flatten(name="flat")(x)
    x = keras.layers.Dense(16, activation="relu", name="hidden")(x)
    return keras.Model(image, keras.layers.Dense(10, name="logits")(x), name="small")


@pytest.fixture
def learning_warnings():
    """Warnings of the package as errors, where a test does not expect any."""
    import warnings

    import litesmith

    with warnings.catch_warnings():
        warnings.simplefilter("error", litesmith.LitesmithWarning)
        yield
