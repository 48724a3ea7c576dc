#!/usr/bin/env python3
"""Models that TFMOT wrapped, to simulate integers or to prune: read by us, and converted as TensorFlow does it.

    cargo build --release && conformance/.venv/bin/python conformance/tfmot.py [--quick] [--models NAME,...]

Each model is trained for a few steps on noise, saved as .h5, .keras and SavedModel, and converted without data, by us from
each file and by TensorFlow. Checked of the `int8` files: as few operators in float as in TensorFlow's; scales, zero points
and integer weights like TensorFlow's; outputs, in LiteRT and in our runtime, as near to those of the Keras model as
TensorFlow's. `int8-only` files have nothing in float, `none` gives the Keras model without its simulation, and ONNX Runtime
computes what LiteRT does. Pruned models become float files that compute what Keras does, with their zeros.
"""

import argparse
import os
import sys
import tempfile
import warnings
from collections import defaultdict
from pathlib import Path

os.environ["TF_USE_LEGACY_KERAS"] = "1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
warnings.filterwarnings("ignore")

import numpy as np
import onnxruntime
import tensorflow as tf
import tensorflow_model_optimization as tfmot
import tf_keras
from tensorflow_model_optimization.python.core.quantization.keras import quant_ops, quantizers

import command
from peers import TfliteRunner
from tensorflow_convert import convert

layers = tf_keras.layers

FORMATS = ("h5", "keras", "saved_model")
APPLICATIONS = "MobileNet,MobileNetV2,ResNet50,Xception,InceptionV3"
SIZE = 96
SAMPLES = 24
# How much nearer TensorFlow's file may be, in dB.
WORSE = 0.5
# Relative difference of scales.
SCALES = 1e-5
# Share of integer weights that may lie one beside TensorFlow's: those that fall on a half.
WEIGHTS = 1e-3


def cnn():
    """What TFMOT's documentation shows: patterns that it knows, and every place of a quantizer."""
    image = layers.Input((24, 24, 3))
    x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(8, 3, padding="same", use_bias=False)(image)))
    y = layers.BatchNormalization()(layers.DepthwiseConv2D(3, padding="same", use_bias=False)(x))
    y = layers.Conv2D(8, 1)(layers.ReLU(6.0)(y))
    x = layers.Add()([x, y])
    z = layers.Conv2D(8, 3, strides=2, padding="same", activation="relu")(x)
    x = layers.Concatenate()([layers.MaxPooling2D()(x), z])
    x = layers.GlobalAveragePooling2D()(layers.AveragePooling2D()(x))
    x = layers.Dense(16, activation="relu")(x)
    return tf_keras.Model(image, layers.Dense(4, activation="softmax")(x))


def sequence():
    """A Sequential model without batch normalization, with layers that only move numbers."""
    stack = [
        layers.Conv2D(8, 3, strides=2, activation="relu", input_shape=(24, 24, 3)),
        layers.ZeroPadding2D(),
        layers.SeparableConv2D(12, 3, activation="relu"),
        layers.MaxPooling2D(),
        layers.UpSampling2D(),
        layers.DepthwiseConv2D(3),
        layers.LeakyReLU(),
        layers.Reshape((-1, 12)),
        layers.Flatten(),
        layers.Dropout(0.2),
        layers.Dense(8, activation="tanh"),
        layers.Dense(4),
        layers.Activation("sigmoid"),
    ]
    return tf_keras.Sequential(stack)


def annotated():
    """A model of which two layers alone are marked."""
    mark = tfmot.quantization.keras.quantize_annotate_layer
    stack = [
        layers.Conv2D(8, 3, strides=2, activation="relu", input_shape=(24, 24, 3)),
        mark(layers.Conv2D(8, 3, activation="relu")),
        layers.Flatten(),
        mark(layers.Dense(4)),
    ]
    return tf_keras.Sequential(stack)


def application(name):
    """A model of keras.applications with random weights."""
    size = max(SIZE, 75 if name == "InceptionV3" else 71)
    return getattr(tf_keras.applications, name)(weights=None, input_shape=(size, size, 3), classes=10)


def trained(model, callbacks=()):
    """The model after a few steps, and samples for it. Ranges move ten steps at once, lest they stay near [-6, 6]."""
    generator = np.random.default_rng(1)
    images = generator.random((SAMPLES, *model.input_shape[1:]), dtype=np.float32)
    labels = generator.integers(0, model.output_shape[-1], SAMPLES)
    model.compile(tf_keras.optimizers.SGD(0.02), tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(images, labels, batch_size=8, epochs=5, verbose=0, callbacks=list(callbacks))
    return images


def quick_averages():
    """Lets moving averages forget within few steps."""
    slow = quant_ops.MovingAvgQuantize

    def quick(*arguments, **keywords):
        return slow(*arguments, **{**keywords, "ema_decay": 0.5})

    quantizers.quant_ops.MovingAvgQuantize = quick


def saved(model, folder):
    """Paths of the model in each format by name."""
    paths = {"h5": folder / "model.h5", "keras": folder / "model.keras", "saved_model": folder / "saved_model"}
    for name, path in paths.items():
        model.save(path, **({"save_format": "tf"} if name == "saved_model" else {}))
    return paths


class Integers:
    """The quantization of a TFLite file, by operator."""

    def __init__(self, path):
        interpreter = tf.lite.Interpreter(
            str(path), experimental_op_resolver_type=tf.lite.experimental.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        )
        interpreter.allocate_tensors()
        self.details = {detail["index"]: detail for detail in interpreter.get_tensor_details()}
        self.float_operators, self.activations, self.weights = 0, defaultdict(list), {}
        for operator in interpreter._get_ops_details():
            name = operator["op_name"]
            tensors = [self.details[index] for index in [*operator["inputs"], *operator["outputs"]] if index >= 0]
            if name in ("QUANTIZE", "DEQUANTIZE", "RESHAPE"):
                continue
            if any(detail["dtype"] == np.float32 for detail in tensors):
                self.float_operators += 1
                continue
            for index in operator["outputs"]:
                scale, zero_point = self.details[index]["quantization"]
                if scale:
                    self.activations[name].append((scale, zero_point))
            if name in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"):
                detail = self.details[operator["inputs"][1]]
                integers = interpreter.get_tensor(detail["index"])
                scales = detail["quantization_parameters"]["scales"]
                places = len(self.weights)
                self.weights[name, places] = (integers, np.broadcast_to(scales, self.channels(name, integers)))

    @staticmethod
    def channels(name, weights):
        return weights.shape[-1] if name == "DEPTHWISE_CONV_2D" else weights.shape[0]


def differing(ours, theirs):
    """How many quantized results and weights differ, of how many, as text and as a number."""
    different = total = 0
    for name, wanted in theirs.activations.items():
        got = sorted(ours.activations.get(name, []))
        for (a, b), (c, d) in zip(sorted(wanted), got, strict=False):
            different += abs(a / c - 1) > SCALES or b != d
        different += abs(len(wanted) - len(got))
        total += len(wanted)
    apart = elements = 0
    mine = defaultdict(list)
    for (name, _), (integers, scales) in ours.weights.items():
        mine[name, integers.shape].append((integers, scales))
    for (name, _), (integers, scales) in theirs.weights.items():
        total += 1
        # The one that is nearest, since operators may stand in another order.
        found = mine[name, integers.shape]
        if not found:
            different += 1
            continue
        best = min(range(len(found)), key=lambda place: np.mean(found[place][0] != integers))
        own, own_scales = found.pop(best)
        nothing = np.all(integers == 0, axis=tuple(range(3)) if name == "DEPTHWISE_CONV_2D" else tuple(range(1, integers.ndim)))
        different += bool(np.any(np.abs(own_scales / scales - 1)[~nothing] > SCALES))
        apart += int(np.sum(own != integers))
        elements += integers.size
        different += int(np.max(np.abs(own.astype(int) - integers)) > 1)
    different += apart > max(2, WEIGHTS * elements)
    return f"{different} of {total} parameters differ, {apart} of {elements} weights", different


def snr(wanted, got):
    """Signal-to-noise ratio in dB."""
    noise = np.sum((wanted - got) ** 2, dtype=np.float64)
    return 10 * np.log10(np.sum(wanted**2, dtype=np.float64) / noise) if noise else np.inf


def in_litert(path, images):
    runner = TfliteRunner(path)
    (name,) = runner.input_names
    (output,) = runner({name: images}).values()
    return output


def in_ours(path, images):
    runner = TfliteRunner(path)
    (output,) = command.infer(path, {runner.input_names[0]: images})
    return output


def in_onnx_runtime(path, images):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return session.run(None, {name: images})[0]


class Cases:
    """Prints a line for each case and counts."""

    def __init__(self):
        self.passed = self.failed = 0

    def __call__(self, name, check, *arguments):
        try:
            text, good = check(*arguments)
        except command.Failed as error:
            text, good = str(error), False
        self.passed, self.failed = self.passed + bool(good), self.failed + (not good)
        print(f"{'pass' if good else 'FAIL'} {name}: {text}", flush=True)


def simulated(source, reference, exact):
    """Our `int8` file of one source beside TensorFlow's."""
    images, wanted, theirs, integers = reference
    ours = source.parent / "ours.tflite"
    inspected = command.succeed("inspect", source)
    command.succeed("convert", source, "-o", ours, "--quantize", "int8")
    own = Integers(ours)
    text, different = differing(own, integers)
    found = [snr(wanted, output) for output in (in_litert(theirs, images), in_litert(ours, images), in_ours(ours, images))]
    agreement = np.mean(np.argmax(in_litert(ours, images), -1) == np.argmax(wanted, -1))
    their_agreement = np.mean(np.argmax(in_litert(theirs, images), -1) == np.argmax(wanted, -1))
    good = inspected["quantization_aware"] and own.float_operators <= integers.float_operators
    good &= min(found[1:]) >= found[0] - WORSE and agreement >= their_agreement - 1.5 / len(wanted)
    good &= not (exact and different)
    text += f"; {own.float_operators} float operators, TensorFlow {integers.float_operators}; "
    text += "SNR {:.1f} dB in LiteRT, {:.1f} in ours, TensorFlow {:.1f}".format(found[1], found[2], found[0])
    return f"{text}; top-1 {agreement:.0%}, TensorFlow {their_agreement:.0%}", good


def only_integers(source, reference):
    images, wanted, _, _ = reference
    ours = source.parent / "only.tflite"
    result = command.succeed("convert", source, "-o", ours, "--quantize", "int8-only")
    runner = TfliteRunner(ours)
    (detail,) = runner.output_details.values()
    scale, zero_point = detail["quantization"]
    real = (in_litert(ours, images).astype(np.float32) - zero_point) * scale
    found = snr(wanted, real)
    return f"SNR {found:.1f} dB", result["float_free"] if "float_free" in result else not result["float_operators"]


def as_onnx(source, reference):
    images, _, _, _ = reference
    onnx, tflite = source.parent / "ours.onnx", source.parent / "again.tflite"
    command.succeed("convert", source, "-o", onnx, "--quantize", "int8")
    command.succeed("convert", source, "-o", tflite, "--quantize", "int8")
    found = snr(in_litert(tflite, images), in_onnx_runtime(onnx, images))
    return f"SNR {found:.1f} dB between LiteRT and ONNX Runtime", found > 25


def unsimulated(source, plain, images):
    """Without integers, the model is the one that was wrapped."""
    ours = source.parent / "none.tflite"
    command.succeed("convert", source, "-o", ours, "--quantize", "none")
    found = snr(plain, in_litert(ours, images))
    return f"SNR {found:.1f} dB", found > 90


def pruned(source, wanted, images, zeros):
    ours = source.parent / "pruned.tflite"
    command.succeed("convert", source, "-o", ours, "--quantize", "none")
    found = snr(wanted, in_litert(ours, images))
    sparsity = command.succeed("inspect", ours)["sparsity"]
    return f"SNR {found:.1f} dB, {sparsity:.1%} zeros", found > 90 and abs(sparsity - zeros) < 0.02


def unwrapped(model, build):
    """The model before it was wrapped, with the trained weights of the wrapped one."""
    plain = build()
    values = {}
    for layer in model.layers:
        inner = getattr(layer, "layer", None)
        for weight in layer.weights if inner is not None else ():
            values[weight.name] = weight.numpy()
    for layer in plain.layers:
        if layer.weights:
            layer.set_weights([values[weight.name] for weight in layer.weights])
    return plain


def quantized_cases(cases, name, build, exact, formats):
    tf_keras.backend.clear_session()
    tf_keras.utils.set_random_seed(7)
    plain = build()
    wrap = tfmot.quantization.keras.quantize_apply if name == "annotated" else tfmot.quantization.keras.quantize_model
    model = wrap(plain)
    images = trained(model)
    wanted = model.predict(images, verbose=0)
    with tempfile.TemporaryDirectory() as folder:
        paths = saved(model, Path(folder))
        theirs = Path(folder) / "theirs.tflite"
        theirs.write_bytes(convert(model, "dynamic"))
        reference = images, wanted, theirs, Integers(theirs)
        for kind in formats:
            cases(f"{name} {kind}", simulated, paths[kind], reference, exact)
        first = paths[formats[0]]
        if exact:
            cases(f"{name} int8-only", only_integers, first, reference)
        cases(f"{name} onnx", as_onnx, first, reference)
        if name == "cnn":
            tf_keras.backend.clear_session()
            real = unwrapped(model, build).predict(images, verbose=0)
            for kind in formats:
                cases(f"{name} {kind} none", unsimulated, paths[kind], real, images)


def pruned_cases(cases):
    tf_keras.backend.clear_session()
    tf_keras.utils.set_random_seed(7)
    prune = tfmot.sparsity.keras
    model = prune.prune_low_magnitude(cnn(), prune.ConstantSparsity(0.5, 0, frequency=1))
    images = trained(model, [prune.UpdatePruningStep()])
    wanted = model.predict(images, verbose=0)
    kernels = [weight.numpy() for layer in model.layers for weight in layer.weights if "kernel" in weight.name]
    zeros = sum(np.sum(kernel == 0) for kernel in kernels) / sum(kernel.size for kernel in kernels)
    with tempfile.TemporaryDirectory() as folder:
        for kind, path in saved(model, Path(folder)).items():
            cases(f"pruned {kind}", pruned, path, wanted, images, zeros)
    with tempfile.TemporaryDirectory() as folder:
        for kind, path in saved(prune.strip_pruning(model), Path(folder)).items():
            cases(f"pruned and stripped {kind}", pruned, path, wanted, images, zeros)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small models alone")
    parser.add_argument("--models", default=APPLICATIONS, help="applications, default %(default)s")
    options = parser.parse_args()
    command.require_binary()
    quick_averages()
    cases = Cases()
    pruned_cases(cases)
    quantized_cases(cases, "cnn", cnn, True, FORMATS)
    quantized_cases(cases, "annotated", annotated, False, FORMATS)
    if not options.quick:
        quantized_cases(cases, "sequence", sequence, False, FORMATS)
        for name in filter(None, options.models.split(",")):
            exact = name != "InceptionV3"
            quantized_cases(cases, name, lambda name=name: application(name), exact, FORMATS)
    print(f"{cases.passed} passed, {cases.failed} failed")
    return 1 if cases.failed else 0


if __name__ == "__main__":
    sys.exit(main())
