#!/usr/bin/env python3
"""LiteRT, and TensorFlow's files of the models, which are kept in the cache.

    conformance/.venv/bin/python conformance/peers.py --models ResNet50 --size 96

As a program it fills the cache ahead of time.
"""

import argparse
import json
import time
from functools import cache

import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from tensorflow.lite.python.convert_phase import ConverterError

import models
from tensorflow_convert import MODES, convert, one_by_one

# LiteRT's plain kernels take seconds an image on the large models.
REFERENCE_IMAGES = 4


class TfliteRunner:
    """A TFLite file in LiteRT, by the order of its signature's names."""

    def __init__(self, path, reference_kernels=False):
        resolver = OpResolverType.BUILTIN_REF if reference_kernels else OpResolverType.AUTO
        self.interpreter = Interpreter(str(path), num_threads=models.THREADS, experimental_op_resolver_type=resolver)
        self.interpreter.allocate_tensors()
        signature = self.interpreter.get_signature_list()["serving_default"]
        self.input_names, self.output_names = signature["inputs"], signature["outputs"]
        self.signature = self.interpreter.get_signature_runner("serving_default")
        self.input_details = self.signature.get_input_details()
        self.output_details = self.signature.get_output_details()

    def __call__(self, inputs, batch=1):
        """Output name to array for inputs by name, run `batch` samples at a time (the first axis is resized)."""
        count = len(next(iter(inputs.values())))
        inputs = {name: self.quantized(name, value) for name, value in inputs.items()}
        parts = []
        for start in range(0, count, batch):
            part = self.signature(**{name: value[start : start + batch] for name, value in inputs.items()})
            parts.append({name: np.array(value) for name, value in part.items()})
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def quantized(self, name, value):
        """A float array on the grid of an integer input; others as they are."""
        detail = self.input_details[name]
        real = np.issubdtype(detail["dtype"], np.floating) or detail["dtype"] is np.bool_
        if real or np.issubdtype(value.dtype, np.integer):
            return np.asarray(value, detail["dtype"])
        scale, zero_point = detail["quantization"]
        limits = np.iinfo(detail["dtype"])
        # LiteRT's QUANTIZE multiplies by the reciprocal and rounds to even.
        steps = np.rint(value * np.float32(1 / np.float32(scale))) + zero_point
        return np.clip(steps, limits.min, limits.max).astype(detail["dtype"])

    def real(self, outputs):
        """Integer outputs as the real numbers that they stand for."""
        result = {}
        for name, value in outputs.items():
            scale, zero_point = self.output_details[name]["quantization"]
            integer = np.issubdtype(value.dtype, np.integer) and scale != 0
            result[name] = (value.astype(np.float32) - zero_point) * scale if integer else value
        return result


def signal_to_noise(truth, value):
    """10 log10(sum y^2 / sum e^2) in dB; infinite when equal."""
    truth, value = truth.astype(np.float64), value.astype(np.float64)
    noise = ((truth - value) ** 2).sum()
    return float("inf") if noise == 0 else float(10 * np.log10((truth**2).sum() / noise))


@cache
def loaded(path):
    import keras

    keras.backend.clear_session()
    return keras.models.load_model(path, compile=False)


def reference(prepared, mode):
    """(TensorFlow's file, what was measured on it) for a model of the cache; made once.

    `refused` says that its converter does not take the model; nothing else is measured then. Measured: `bytes`,
    `seconds` of the conversion, `snr_db` of the held-out images against Keras, and `kernel_difference`, the largest
    distance of LiteRT's default from its plain kernels.
    """
    with models.alone(prepared.folder):
        return measured_reference(prepared, mode)


def measured_reference(prepared, mode):
    path = prepared.folder / f"tensorflow-{mode}.tflite"
    note = path.with_suffix(".json")
    wanted = tf.__version__
    if note.is_file():
        measured = json.loads(note.read_text())
        if measured["tensorflow"] == wanted and measured["stamp"] == stamp(prepared):
            return path, {"refused": False, **measured}
    samples = one_by_one({"image": prepared.images("calibration")})
    start = time.monotonic()
    try:
        content = convert(loaded(prepared.keras), mode, samples)
    except (ConverterError, RuntimeError) as error:
        if "not yet supported" not in str(error):
            raise
        measured = {"tensorflow": wanted, "stamp": stamp(prepared), "refused": True, "kernel_difference": 0}
        note.write_text(json.dumps(measured, indent=1))
        return path, measured
    seconds = time.monotonic() - start
    path.write_bytes(content)
    runner = TfliteRunner(path)
    held_out = {"image": prepared.images("held_out")}
    outputs = runner(held_out)
    output = runner.real(outputs)["output_0"]
    measured = {
        "tensorflow": wanted,
        "stamp": stamp(prepared),
        "refused": False,
        "bytes": len(content),
        "seconds": round(seconds, 2),
        "snr_db": round(signal_to_noise(prepared.logits(), output), 3),
        "kernel_difference": kernel_difference(path, held_out["image"]),
    }
    note.write_text(json.dumps(measured, indent=1))
    return path, measured


def kernel_difference(path, images):
    """The largest distance of LiteRT's default from its plain kernels, on a few images."""
    outputs = []
    for plain in (False, True):
        runner = TfliteRunner(path, reference_kernels=plain)
        outputs.append(next(iter(runner({runner.input_names[0]: images[:REFERENCE_IMAGES]}).values())))
    return float(np.abs(outputs[0].astype(np.float64) - outputs[1]).max())


def stamp(prepared):
    """What ties a reference to the very model file that it was made from."""
    return f"{(prepared.folder / 'recipe').read_text()} {prepared.keras.stat().st_mtime_ns}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    models.add_arguments(parser)
    parser.add_argument("--modes", default=",".join(MODES))
    options = parser.parse_args()
    for name in models.chosen(options):
        prepared = models.prepare(name, options.size, options.cache)
        for mode in options.modes.split(","):
            _, measured = reference(prepared, mode)
            if measured["refused"]:
                print(f"{prepared.label} {mode}: refused", flush=True)
                continue
            print(
                f"{prepared.label} {mode}: {measured['bytes']:,} bytes, {measured['seconds']} s, "
                f"SNR {measured['snr_db']} dB, default against plain kernels {measured['kernel_difference']:.3g}",
                flush=True,
            )


if __name__ == "__main__":
    main()
