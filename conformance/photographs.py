"""Whether trained classifiers, quantized to int8, still name what photographs show.

    cargo build --release && conformance/.venv/bin/python conformance/photographs.py

An ONNX classifier (EfficientNet-Lite0), a SavedModel (MobileNet v1) and the same by way of an ONNX file of ours are
converted to int8, calibrated on crops of the photographs. The float model and the int8 file must name the cat, the cup, the
rocket and the motorcycle. What else there is to see has no class of its own in ImageNet: there they may differ.
"""

import json
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

import command
import data

FOLDER = Path(os.environ.get("LITESMITH_DATA", Path.home() / ".cache/litesmith-data"))
SIZE = 224
# Classes of ImageNet that are right for the photographs that show one of its objects: by the place in `data.PHOTOGRAPHS`.
RIGHT = {2: {281, 282, 283, 284, 285}, 3: {504, 967, 968}, 4: {657, 744}, 6: {665, 670}}


def squares():
    """The middle of each photograph, uint8."""
    result = []
    for image in data.photographs():
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        box = (left, top, left + side, top + side)
        result.append(np.asarray(image.resize((SIZE, SIZE), Image.Resampling.BICUBIC, box)))
    return np.stack(result)


def lite(pixels):
    return ((pixels.astype(np.float32) - 127) / 128).transpose(0, 3, 1, 2)


def mobile(pixels):
    return pixels.astype(np.float32) / np.float32(127.5) - 1


def named(model, images, background):
    """The class of ImageNet that has the largest output, for each image."""
    with tempfile.TemporaryDirectory() as folder:
        given, got = Path(folder) / "x.npz", Path(folder) / "y.npz"
        np.savez(given, x=images)
        command.succeed("run", model, "--input", given, "--output", got)
        with np.load(got) as outputs:
            return outputs[outputs.files[0]].argmax(axis=1) - background


def check(name, source, prepare, background, folder):
    """Prints a line for a model and says whether all is right."""
    calibration, quantized = folder / "calibration.npz", folder / f"{name}.tflite"
    np.savez(calibration, x=prepare(data.crops(48, SIZE, data.CALIBRATION)))
    command.succeed("convert", source, "-o", quantized, "--quantize", "int8", "--calibration", calibration)
    images = prepare(squares())
    exact, rounded = (named(model, images, background) for model in (source, quantized))
    good = all(int(names[place]) in right for names in (exact, rounded) for place, right in RIGHT.items())
    labels = json.loads(next((FOLDER / "imagenet-labels").glob("*.json")).read_text())
    names = [labels[c] if isinstance(labels, list) else labels[str(c)] for c in rounded.tolist()]
    same = f"{(exact == rounded).sum()} of {len(exact)} as in float"
    print(f"{name}: {', '.join(names)}: {same}, {'pass' if good else 'FAILED'}")
    return good


def main():
    command.require_binary()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        saved_model = FOLDER / "mobilenet-v1/saved_model"
        onnx = folder / "mobilenet-v1.onnx"
        command.succeed("convert", saved_model, "-o", onnx, "--quantize", "none")
        models = [
            ("efficientnet-lite0", FOLDER / "efficientnet-lite0/efficientnet_lite0.onnx", lite, 0),
            ("mobilenet-v1", saved_model, mobile, 1),
            ("mobilenet-v1 by way of ONNX", onnx, mobile, 1),
        ]
        results = [check(*model, folder) for model in models]
    if not all(results):
        sys.exit("an int8 model names another object than is there")


if __name__ == "__main__":
    main()
