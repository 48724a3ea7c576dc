#!/usr/bin/env python3
"""A trained recurrent model (Masking, two bidirectional GRU layers, any number of steps) against Keras.

    cargo build --release && conformance/.venv/bin/python conformance/sleep_stages.py

The model `sleepecg-gru` of the data set lies in the folder that $LITESMITH_DATA names, else in ~/.cache/litesmith-data;
where it is not, nothing is checked. `litesmith run` on the source, and LiteRT, which is given builtin operators
alone, on the float and float16 files must agree with Keras for several batches and numbers of steps, some of them masked.
"""

import sys
import tempfile
from pathlib import Path

import keras
import numpy as np
from ai_edge_litert.interpreter import Interpreter

import command
import crops

SOURCE = crops.FOLDER / "sleepecg-gru" / "classifier.keras"
SHAPES = [(1, 30), (7, 30), (2, 33), (3, 1)]  # batch and steps
# The largest differences of probabilities.
MODES = {"none": 1e-4, "float16": 2e-3}


def steps(model, batch, time, seed):
    """Features around the model's own means, with the last fifth of each sequence masked."""
    random = np.random.default_rng(seed)
    masking = next(layer for layer in model.layers if isinstance(layer, keras.layers.Masking))
    normal = next(layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization))
    mean, variance = (np.asarray(value) for value in (normal.moving_mean, normal.moving_variance))
    x = random.normal(mean, np.sqrt(variance), (batch, time, mean.size)).astype(np.float32)
    x[:, time - time // 5 :] = masking.mask_value
    return x


def litert(path, x):
    interpreter = Interpreter(str(path))
    index = interpreter.get_input_details()[0]["index"]
    interpreter.resize_tensor_input(index, x.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(index, x)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def main():
    if not SOURCE.is_file():
        print(f"skipped: {SOURCE} is not there")
        return 0
    command.require_binary()
    model = keras.models.load_model(SOURCE, compile=False)
    name = model.inputs[0].name
    failed = 0

    def report(what, batch, time, got, truth, limit):
        error = float(np.abs(got - truth).max())
        print(f"{'pass' if error <= limit else 'FAIL'}  {what}, batch {batch}, {time} steps: {error:.1e}")
        return error > limit

    with tempfile.TemporaryDirectory() as folder:
        files = {}
        for mode in MODES:
            files[mode] = Path(folder) / f"{mode}.tflite"
            quantize = [] if mode == "none" else ["--quantize", mode]
            command.succeed("convert", SOURCE, "-o", files[mode], *quantize)
        for seed, (batch, time) in enumerate(SHAPES):
            x = steps(model, batch, time, seed)
            truth = model.predict(x, verbose=0)
            failed += report("run", batch, time, command.infer(SOURCE, {name: x})[0], truth, MODES["none"])
            for mode, limit in MODES.items():
                failed += report(mode, batch, time, litert(files[mode], x), truth, limit)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
