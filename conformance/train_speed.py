#!/usr/bin/env python3
"""Time and memory of a step of training, litesmith against tf_keras, each as a process of its own.

    cargo build --release && conformance/.venv/bin/python conformance/train_speed.py [--models MobileNetV2,ResNet50,MNIST]

Both train the same model on the same random images (MNIST: a CNN of about 30,000 weights on 4,000 of 28x28, a whole
epoch): SGD with momentum, float32, two threads. Runs alternate, so that a busy machine disturbs all alike. Printed are
medians; the ratio says how many times longer tf_keras takes. `ours, QAT` is our step with simulated integers.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import command

BATCH, STEPS, SIZE = 8, 6, 224
MNIST_BATCH, MNIST_IMAGES = 64, 4000


def build(name):
    """The model, in whichever Keras is imported as `keras`."""
    import tf_keras as keras

    if name == "MNIST":
        layers = keras.layers
        return keras.Sequential(
            [
                keras.Input((28, 28, 1)),
                layers.Conv2D(16, 3, activation="relu"),
                layers.MaxPooling2D(),
                layers.Conv2D(32, 3, activation="relu"),
                layers.MaxPooling2D(),
                layers.Flatten(),
                layers.Dense(32, activation="relu"),
                layers.Dense(10),
            ]
        )
    model = getattr(keras.applications, name)
    return model(weights=None, input_shape=(SIZE, SIZE, 3), classifier_activation=None)


def data(name):
    import numpy as np

    rng = np.random.default_rng(3)
    count, shape, classes = (MNIST_IMAGES, (28, 28, 1), 10) if name == "MNIST" else (BATCH * STEPS, (SIZE, SIZE, 3), 1000)
    return rng.normal(size=(count, *shape)).astype("f4"), rng.integers(0, classes, count)


def peer(name, folder):
    """Runs in a process of its own: tf_keras trains; prints seconds a step (MNIST: an epoch) and megabytes."""
    import resource

    import tensorflow as tf
    import tf_keras as keras

    tf.config.threading.set_intra_op_parallelism_threads(2)
    tf.config.threading.set_inter_op_parallelism_threads(2)
    x, y = data(name)
    model = build(name)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(1e-3, momentum=0.9), loss)
    times = []
    if name == "MNIST":
        for _ in range(3):
            start = time.perf_counter()
            model.fit(x, y, batch_size=MNIST_BATCH, epochs=1, verbose=0)
            times.append(time.perf_counter() - start)
    else:
        step = model.make_train_function()
        for index in range(STEPS):
            part = slice(index * BATCH, (index + 1) * BATCH)
            batch = iter(tf.data.Dataset.from_tensors((x[part], y[part])))
            start = time.perf_counter()
            step(batch)
            times.append(time.perf_counter() - start)
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": min(times[1:]), "megabytes": megabytes}))


def theirs(name, folder):
    arguments = [sys.executable, __file__, "--peer", name, "--folder", folder]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(arguments, capture_output=True, text=True, check=True, env=environment)
    result = json.loads(done.stdout.splitlines()[-1])
    return result["seconds"], result["megabytes"]


def ours(name, folder, *more):
    batch, epochs = (MNIST_BATCH, 3) if name == "MNIST" else (BATCH, 1)
    arguments = ["train", folder / f"{name}.keras", "--data", folder / f"{name}.npz", "-o", folder / "trained.keras"]
    arguments += ["--batch-size", batch, "--epochs", epochs, "--threads", 2, *more]
    arguments += ["--optimizer", '{"name":"sgd","learning_rate":0.001,"momentum":0.9}']
    result = command.succeed(*arguments)
    if name == "MNIST":
        seconds = min(epoch["seconds"] for epoch in result["epochs"][1:])
    else:
        seconds = result["step_ms"]["min"] / 1e3
    return seconds, result["peak_rss_mb"]


def aware(name, folder):
    """The same with simulated integers. A deep model of random weights overflows once it uses the running statistics of
    a few steps, as the integer model does that comes out in the end: then there is no figure."""
    try:
        return ours(name, folder, "--quantize-aware", "--freeze-batch-norm-after", 1_000_000)
    except command.Failed as failure:
        if "must give finite numbers" not in str(failure):
            raise
        return math.nan, math.nan


def prepare(names, folder):
    """Models and data as files; in a process of its own, so that this one stays small."""
    import numpy as np

    for name in names:
        build(name).save(folder / f"{name}.keras")
        x, y = data(name)
        np.savez(folder / f"{name}.npz", x=x, y=y)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", default="MNIST,MobileNetV2,ResNet50")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer")
    parser.add_argument("--prepare", action="store_true")
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    if options.peer:
        return peer(options.peer, options.folder)
    names = options.models.split(",")
    if options.prepare:
        return prepare(names, options.folder)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        arguments = [sys.executable, __file__, "--prepare", "--models", options.models, "--folder", folder]
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
        subprocess.run([str(a) for a in arguments], check=True, env=environment)
        print("| model | litesmith, ms | litesmith QAT, ms | tf_keras, ms | ratio | QAT over float | MB | tf_keras, MB |")
        print("|---|---|---|---|---|---|---|---|")
        for name in names:
            runs = [(ours(name, folder), aware(name, folder), theirs(name, folder)) for _ in range(options.rounds)]
            own, integers, other = ([statistics.median(v) for v in zip(*column)] for column in zip(*runs))
            times = [1e3 * kind[0] for kind in (own, integers, other)]
            cells = [f"{value:.1f}" for value in times]
            print(
                f"| {name} | {' | '.join(cells)} | **{times[2] / times[0]:.2f}** | {times[1] / times[0]:.2f} "
                f"| {own[1]:.0f} | {other[1]:.0f} |",
                flush=True,
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
