#!/usr/bin/env python3
"""Whole TFLite models of others: read, run and written again, against LiteRT.

    cargo build --release && conformance/.venv/bin/python conformance/tflite_models.py [--only NAME]

The trained files of the data set (`crops.FOLDER`; those that are not there are left out), and small models that
TensorFlow's converter makes here: recurrent layers as loops, variables, branches, computed shapes. Each is run several
times in a row, so that variables show. Three results are held against LiteRT's of the original: ours, and of the file
that `litesmith convert` writes again, LiteRT's and ours. Exit status 1 when one differs.
"""

import argparse
import contextlib
import io
import os
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

import command
import crops

# Of the largest output; LiteRT's own kernels differ by as much on whole models.
FLOAT_TOLERANCE = 1e-4
# Steps between integers, or twice what LiteRT's two sets of kernels differ by.
INTEGER_TOLERANCE = 4
PLAIN = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES


@dataclass(frozen=True)
class Case:
    name: str
    path: Path
    # Runs in a row; each takes one sample.
    runs: int = 2
    # Sizes of free axes behind the first.
    length: int = 1
    # XNNPACK does not prepare every file.
    resolver: OpResolverType = OpResolverType.AUTO
    # Inputs that are no random numbers, by place.
    given: dict = field(default_factory=dict)


DATA = [
    ("basic-pitch", "nmp.tflite", {}),
    ("face-detection", "face_detection_short_range.tflite", {}),
    ("face-landmark", "face_landmark.tflite", {}),
    ("hand-landmark-lite", "hand_landmark_lite.tflite", {}),
    ("iris-landmark", "iris_landmark.tflite", {}),
    ("melspectrogram", "melspectrogram.tflite", {"length": 4240, "resolver": PLAIN}),
    ("micro-okay-nabu", "okay_nabu.tflite", {"runs": 40}),
    ("pose-landmark-lite", "pose_landmark_lite.tflite", {}),
    ("selfie-segmentation", "selfie_segmentation.tflite", {}),
    ("speech-embedding", "embedding_model.tflite", {}),
    ("wakeword-hey-jarvis", "hey_jarvis.tflite", {"runs": 16}),
    ("wakeword-okay-nabu", "okay_nabu.tflite", {}),
]


def data_set():
    cases = [Case(name, crops.FOLDER / name / file, **more) for name, file, more in DATA]
    return [case for case in cases if case.path.is_file()]


def keras_model(layer):
    import keras

    keras.utils.set_random_seed(1)
    inputs = keras.Input(batch_shape=(1, 12, 5))
    return keras.Model(inputs, layer(inputs))


def recurrent():
    """Recurrent layers of a fixed batch, which become loops."""
    import keras
    import tensorflow as tf

    layers = keras.layers
    models = {
        "lstm": layers.LSTM(8, return_sequences=True),
        "gru-last": layers.GRU(8),
        "bidirectional": layers.Bidirectional(layers.LSTM(6, return_sequences=True)),
    }
    for name, layer in models.items():
        yield name, tf.lite.TFLiteConverter.from_keras_model(keras_model(layer)).convert(), {}


def functions():
    """Variables, and shapes that depend on values."""
    import tensorflow as tf

    class Variables(tf.Module):
        def __init__(self):
            self.sum = tf.Variable(tf.constant([[1.0, 2.0, 3.0, 4.0]]))
            self.count = tf.Variable(tf.zeros([1]))

        @tf.function(input_signature=[tf.TensorSpec([1, 4], tf.float32), tf.TensorSpec([1], tf.int32)])
        def call(self, x, n):
            self.sum.assign(self.sum * 0.5 + x)
            loop = [tf.constant(0)]
            tf.while_loop(lambda i: i < n[0], lambda i: (self.count.assign_add([1.0]), i + 1)[1:], loop)
            return self.sum.read_value() * self.count

    class Shapes(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([1, 4], tf.float32), tf.TensorSpec([1], tf.int32)])
        def call(self, x, n):
            n, square = n[0], tf.reshape(x, [2, 2])
            total = tf.reduce_sum(tf.cast(tf.range(n), tf.float32))
            table = tf.concat([tf.fill([n, 2], total), tf.tile(square, [n, 1])], 0)
            _, rows = tf.while_loop(
                lambda i, rows: i < n,
                lambda i, rows: (i + 1, tf.concat([rows, tf.slice(table, [i, 0], [1, 2])], 0)),
                [tf.constant(0), tf.zeros([1, 2])],
                shape_invariants=[tf.TensorShape([]), tf.TensorShape([None, 2])],
            )
            part = tf.cond(n > 2, lambda: rows * 2.0, lambda: rows[:1])
            padded = tf.pad(part, [[n, 1], [0, n]])
            spread = tf.broadcast_to(x[:, :1], tf.stack([n, 3]))
            image = tf.image.resize(tf.reshape(x, [1, 2, 2, 1]), tf.stack([n + 1, n + 2]))
            return padded, spread, image

    for name, module, count in [("variables", Variables(), 3), ("shapes", Shapes(), 2), ("more-shapes", Shapes(), 4)]:
        converter = tf.lite.TFLiteConverter.from_concrete_functions([module.call.get_concrete_function()], module)
        converter.experimental_enable_resource_variables = True
        given = {np.int32: np.array([count], np.int32)}
        yield name, converter.convert(), {"given": given, "runs": 1 if "shapes" in name else 4}


def made(folder, only):
    """Files that TensorFlow makes, as cases."""
    # Keras tells of every export.
    with contextlib.redirect_stdout(io.StringIO()):
        files = [file for maker in (recurrent, functions) for file in maker()]
    cases = []
    for name, content, more in files:
        path = folder / f"{name}.tflite"
        path.write_bytes(content)
        if only in name:
            cases.append(Case(name, path, **more))
    return cases


def interpreter(path, shapes, resolver):
    result = Interpreter(str(path), num_threads=2, experimental_op_resolver_type=resolver)
    for detail, shape in zip(result.get_input_details(), shapes, strict=True):
        if tuple(detail["shape"]) != shape:
            result.resize_tensor_input(detail["index"], shape)
    result.allocate_tensors()
    return result


def samples(case):
    """For each input all samples, one after another along the first axis, by the tensors' names."""
    random = np.random.default_rng(7)
    trained = {model.path: model for model in crops.present()}
    details = Interpreter(str(case.path)).get_input_details()
    if case.path in trained and len(details) == 1:
        return {details[0]["name"]: trained[case.path].inputs(case.runs, crops.HELD_OUT)}
    arrays = {}
    for detail in details:
        stated = detail["shape_signature"] if len(detail["shape_signature"]) else detail["shape"]
        shape = [case.runs, *(case.length if size < 0 else size for size in stated[1:])]
        dtype = detail["dtype"]
        if dtype in case.given:
            arrays[detail["name"]] = np.repeat(case.given[dtype], case.runs, axis=0)
        elif np.issubdtype(dtype, np.integer):
            limits = np.iinfo(dtype)
            arrays[detail["name"]] = random.integers(limits.min, limits.max, shape, endpoint=True).astype(dtype)
        else:
            # Samples of different size reach both branches of a model that has two.
            scale = 4.0 ** (np.arange(case.runs) % 4).reshape(-1, *[1] * (len(shape) - 1))
            arrays[detail["name"]] = (random.uniform(0, 1, shape) * scale).astype(np.float32)
    return arrays


def litert(path, arrays, resolver):
    """Outputs in order, those of all runs one after another."""
    shapes = [(1, *value.shape[1:]) for value in arrays.values()]
    runner = interpreter(path, shapes, resolver)
    names = {detail["name"]: detail["index"] for detail in runner.get_input_details()}
    runs = []
    for i in range(len(next(iter(arrays.values())))):
        for name, value in arrays.items():
            runner.set_tensor(names[name], value[i : i + 1])
        runner.invoke()
        runs.append([runner.get_tensor(detail["index"]).copy() for detail in runner.get_output_details()])
    return [np.concatenate(parts) for parts in zip(*runs, strict=True)]


def difference(ours, theirs):
    """(what they differ by, what is allowed) of the worst output."""
    if len(ours) != len(theirs):
        raise ValueError(f"{len(ours)} outputs instead of {len(theirs)}")
    worst = (0.0, 1.0)
    for one, other in zip(ours, theirs, strict=True):
        if one.dtype != other.dtype or one.shape != other.shape:
            raise ValueError(f"{one.dtype} {one.shape} instead of {other.dtype} {other.shape}")
        distance = float(np.abs(one.astype(np.float64) - other.astype(np.float64)).max(initial=0))
        allowed = INTEGER_TOLERANCE
        if np.issubdtype(other.dtype, np.floating):
            distance /= max(float(np.abs(other).max(initial=0)), 1e-30)
            allowed = FLOAT_TOLERANCE
        worst = max(worst, (distance, allowed), key=lambda pair: pair[0] / pair[1])
    return worst


def check(case, folder):
    """(passed, text)"""
    arrays = samples(case)
    theirs = litert(case.path, arrays, case.resolver)
    slack = 0
    if not any(np.issubdtype(value.dtype, np.floating) for value in theirs):
        slack = 2 * difference(litert(case.path, arrays, OpResolverType.BUILTIN_REF), theirs)[0]
    again = folder / f"{case.name}-again.tflite"
    command.succeed("convert", case.path, "--output", again)
    results = {
        "ours": command.infer(case.path, arrays),
        "written again": litert(again, arrays, case.resolver),
        "ours of that": command.infer(again, arrays),
    }
    passed, texts = True, []
    for name, result in results.items():
        distance, allowed = difference(result, theirs)
        passed &= distance <= max(allowed, slack)
        texts.append(f"{name} {distance:.2g}")
    return passed, f"{', '.join(texts)} ({len(arrays)} inputs, {case.runs} runs)"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="only models whose name contains this")
    options = parser.parse_args()
    command.require_binary()
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        here = data_set()
        print(f"{len(here)} of {len(DATA)} files of the data set are present.")
        cases = [case for case in here if options.only in case.name] + made(folder, options.only)
        for case in cases:
            try:
                passed, text = check(case, folder)
            except (command.Failed, ValueError, RuntimeError) as error:
                passed, text = False, str(error).replace("\n", " ")[:300]
            failed += not passed
            print(f"{'pass' if passed else 'FAIL'}  {case.name}: {text}", flush=True)
    print(f"{len(cases) - failed} of {len(cases)} pass.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
