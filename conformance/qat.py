#!/usr/bin/env python3
"""Quantization-aware training of the Keras applications: a few steps, then conversion without data.

    cargo build --release && conformance/.venv/bin/python conformance/qat.py --size 96 [--models NAME,...]

Each model, with random weights, learns the model's own classes of a few photographs with simulated integers; what comes
out becomes an `int8-only` file without data. Checked: nothing stays float, LiteRT runs the file, the classes that it
gives are those of the simulation (litesmith counts them, `integer_agreement`), and of our runtime's run of it.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np

import command
import models
from peers import TfliteRunner

FAMILIES = "ResNet50,ResNet50V2,DenseNet121,EfficientNetB0,EfficientNetV2B0,MobileNet,MobileNetV2,MobileNetV3Small"
# Largest share of samples whose class may differ between LiteRT and our runtime.
APART = 0.06


def check(prepared, folder):
    """What a family gives: text, and whether it is good."""
    images = prepared.images("held_out")
    labels = np.argmax(prepared.logits(), -1)
    data, trained, integer = folder / "data.npz", folder / "trained.keras", folder / "integer.tflite"
    np.savez(data, x=images, y=labels)
    optimizer = '{"name": "sgd", "learning_rate": 0.0001, "momentum": 0.9}'
    arguments = ["train", prepared.keras, "--data", data, "-o", trained, "--quantize-aware", "--batch-size", 4]
    result = command.succeed(*arguments, "--epochs", 2, "--optimizer", optimizer, "--loss", LOSS)
    converted = command.succeed("convert", trained, "-o", integer, "--quantize", "int8-only")
    runner = TfliteRunner(integer)
    (input_name,) = runner.input_names
    (theirs,) = runner({input_name: images}).values()
    (ours,) = command.infer(integer, {input_name: runner.quantized(input_name, images)})
    apart = np.mean(np.argmax(ours, -1) != np.argmax(theirs, -1))
    agreement = result["integer_agreement"]
    good = not converted["float_operators"] and agreement >= 0.9 and apart <= APART
    text = f"loss {result['epochs'][0]['loss']:.3f} to {result['epochs'][-1]['loss']:.3f}, "
    text += f"{converted['quantized_operators']} integer operators, integers agree {agreement:.1%}, LiteRT {1 - apart:.1%}"
    return text, good


LOSS = '{"name": "sparse_categorical_crossentropy", "from_logits": true}'


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    models.add_arguments(parser)
    parser.set_defaults(models=FAMILIES)
    options = parser.parse_args()
    command.require_binary()
    failed = 0
    for name in models.chosen(options):
        prepared = models.prepare(name, options.size, options.cache)
        with tempfile.TemporaryDirectory() as folder:
            try:
                text, good = check(prepared, Path(folder))
            except command.Failed as error:
                text, good = str(error), False
        failed += not good
        print(f"{'ok  ' if good else 'FAIL'} {prepared.label}: {text}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
