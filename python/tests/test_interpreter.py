"""The interpreter: LiteRT's dictionaries, exceptions and texts, and batches of any size."""

import pathlib
import threading
import time

import numpy as np
import pytest

import litesmith as tf


@pytest.fixture(scope="module")
def file(model_path, tmp_path_factory, training):
    converter = tf.lite.TFLiteConverter.from_saved_model(model_path)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([image[None]] for image in training[0][:20])
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = tf.int8
    path = tmp_path_factory.mktemp("model") / "model.tflite"
    path.write_bytes(converter.convert())
    return path


@pytest.fixture
def interpreter(file):
    interpreter = tf.lite.Interpreter(str(file), num_threads=1)
    interpreter.allocate_tensors()
    return interpreter


@pytest.fixture(scope="module")
def images(held_out):
    return (held_out[0] - 128).astype(np.int8)


def run(interpreter, images):
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], images)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def test_details_have_keys_and_types_of_litert(interpreter):
    details = interpreter.get_input_details()[0]
    assert list(details) == [
        "name", "index", "shape", "shape_signature", "dtype", "quantization", "quantization_parameters", "sparsity_parameters",
    ]  # fmt: skip
    assert details["name"] == "image" and details["dtype"] is np.int8
    assert details["shape"].dtype == np.int32 and details["shape"].tolist() == [1, 28, 28, 1]
    assert details["shape_signature"].tolist() == [-1, 28, 28, 1]
    scale, zero_point = details["quantization"]
    assert (type(scale), type(zero_point)) == (float, int) and scale > 0
    parameters = details["quantization_parameters"]
    assert list(parameters) == ["scales", "zero_points", "quantized_dimension", "block_size"]
    assert parameters["scales"].dtype == np.float32 and parameters["zero_points"].dtype == np.int32
    assert parameters["scales"][0] == np.float32(scale)
    everything = interpreter.get_tensor_details()
    assert [entry["index"] for entry in everything] == list(range(len(everything)))
    kernels = [entry for entry in everything if len(entry["quantization_parameters"]["scales"]) > 1]
    assert kernels and all(entry["quantization"] == (0.0, 0) for entry in kernels)


def test_a_larger_batch_simply_works(interpreter, images):
    together = run(interpreter, images[:7])
    assert together.shape == (7, 10)
    assert interpreter.get_output_details()[0]["shape"].tolist() == [7, 10]
    alone = np.concatenate([run(interpreter, images[i : i + 1]) for i in range(7)])
    np.testing.assert_array_equal(together, alone)


def test_resizing_as_tensorflow_wants_it(file, images, interpreter):
    resized = tf.lite.Interpreter(model_content=pathlib.Path(file).read_bytes(), num_threads=2)
    index = resized.get_input_details()[0]["index"]
    resized.resize_tensor_input(index, [4, 28, 28, 1], strict=True)
    with pytest.raises(RuntimeError, match="not ready"):
        resized.invoke()
    resized.allocate_tensors()
    np.testing.assert_array_equal(run(resized, images[:4]), run(interpreter, images[:4]))
    with pytest.raises(RuntimeError, match="only allows mutating unknown dimensions"):
        resized.resize_tensor_input(index, [4, 30, 28, 1], strict=True)


def test_a_fixed_batch_is_resized_too(model_path, training, images):
    import subprocess
    import sys
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        fixed = f"{folder}/fixed.tflite"
        command = [sys.executable, "-m", "litesmith", "convert", str(model_path), "-o", fixed, "--batch", "1"]
        subprocess.run(command, check=True, capture_output=True)
        interpreter = tf.lite.Interpreter(fixed)
    index = interpreter.get_input_details()[0]["index"]
    assert interpreter.get_input_details()[0]["shape_signature"].tolist() == [1, 28, 28, 1]
    interpreter.allocate_tensors()
    floats = images[:3].astype(np.float32)
    with pytest.raises(ValueError, match="Got 3 but expected 1 for dimension 0 of input"):
        interpreter.set_tensor(index, floats)
    interpreter.resize_tensor_input(index, [3, 28, 28, 1])
    interpreter.allocate_tensors()
    assert run(interpreter, floats).shape == (3, 10)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda i: i.set_tensor(0, np.zeros([1, 28, 28, 1])), ValueError,
         "Cannot set tensor: Got value of type FLOAT64 but expected type INT8 for input 0, name: image "),
        (lambda i: i.set_tensor(0, np.zeros([28, 28, 1], np.int8)), ValueError,
         "Cannot set tensor: Dimension mismatch. Got 3 but expected 4 for input 0."),
        (lambda i: i.set_tensor(0, np.zeros([1, 28, 29, 1], np.int8)), ValueError,
         "Cannot set tensor: Dimension mismatch. Got 29 but expected 28 for dimension 2 of input 0."),
        (lambda i: i.set_tensor(0, "hello"), ValueError,
         "Cannot set tensor: Got value of type STRING but expected type INT8 for input 0, name: image "),
        (lambda i: i.set_tensor(-1, np.zeros([1])), ValueError, "Invalid tensor index -1 exceeds max tensor index 37"),
        (lambda i: i.get_tensor(99), ValueError, "Invalid tensor index 99 exceeds max tensor index 37"),
        (lambda i: i.get_signature_runner("nope"), ValueError, 'Invalid signature_key provided: "nope".'),
        (lambda i: i.get_signature_runner()(), ValueError,
         "Invalid number of inputs provided for running a SignatureDef, expected 1 vs provided 0"),
        (lambda i: i.get_signature_runner()(foo=1), ValueError, "Invalid Input name (foo) for SignatureDef"),
        (lambda i: tf.lite.Interpreter(), ValueError, "`model_path` or `model_content` must be specified."),
        (lambda i: tf.lite.Interpreter(model_path="x", num_threads=0), ValueError, "num_threads should >= 1"),
        (lambda i: tf.lite.Interpreter(model_path="x", num_threads="2"), ValueError, "type of num_threads should be int"),
    ],
)  # fmt: skip
def test_exceptions_are_those_of_litert(interpreter, call, error, text):
    with pytest.raises(error) as raised:
        call(interpreter)
    assert str(raised.value) == text


def test_missing_and_broken_files_are_value_errors(tmp_path):
    with pytest.raises(ValueError, match="Could not open '/nonexistent.tflite'."):
        tf.lite.Interpreter("/nonexistent.tflite")
    with pytest.raises(ValueError, match="not a valid Flatbuffer"):
        tf.lite.Interpreter(model_content=b"hello")
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(b"\x1c\0\0\0TFL3" + bytes(40))
    with pytest.raises(ValueError):
        tf.lite.Interpreter(str(broken))


def test_before_allocation_nothing_is_there(file):
    interpreter = tf.lite.Interpreter(str(file))
    index = interpreter.get_input_details()[0]["index"]
    with pytest.raises(RuntimeError, match="Invoke called on model that is not ready."):
        interpreter.invoke()
    with pytest.raises(ValueError, match="Tensor data is null. Run allocate_tensors\\(\\) first"):
        interpreter.get_tensor(index)
    with pytest.raises(ValueError, match="Tensor is unallocated. Try calling allocate_tensors\\(\\) first"):
        interpreter.set_tensor(index, np.zeros([1, 28, 28, 1], np.int8))


def test_lists_views_and_other_orders_of_elements_are_taken(interpreter, images):
    expected = run(interpreter, images[:2])
    strided = np.zeros([2, 28, 28, 2], np.int8)
    strided[..., :1] = images[:2]
    np.testing.assert_array_equal(run(interpreter, strided[..., :1]), expected)
    np.testing.assert_array_equal(run(interpreter, np.asfortranarray(images[:2])), expected)


def test_tensors_that_are_shared(interpreter, images):
    input_view = interpreter.tensor(interpreter.get_input_details()[0]["index"])
    output_view = interpreter.tensor(interpreter.get_output_details()[0]["index"])
    input_view()[:] = images[:1]
    output = output_view()
    interpreter.invoke()
    expected = output.copy()
    assert expected.any()
    input_view().fill(0)
    interpreter.invoke()
    assert (output != expected).any(), "the array is the one that was handed out"
    np.testing.assert_array_equal(run(interpreter, images[:1]), expected)


def test_signature_runners(file, interpreter, images):
    signatures = interpreter.get_signature_list()
    assert list(signatures) == ["serving_default"] and signatures["serving_default"]["inputs"] == ["image"]
    runner = tf.lite.Interpreter(str(file)).get_signature_runner("serving_default")
    (name,) = runner.get_output_details()
    np.testing.assert_array_equal(runner(image=images[:3])[name], run(interpreter, images[:3]))
    assert runner.get_input_details()["image"]["shape"].tolist() == [3, 28, 28, 1]


def test_every_tensor_can_be_kept(file, images):
    interpreter = tf.lite.Interpreter(str(file), experimental_preserve_all_tensors=True)
    interpreter.allocate_tensors()
    run(interpreter, images[:1])
    arrays = [interpreter.get_tensor(details["index"]) for details in interpreter.get_tensor_details()]
    assert len(arrays) == 37 and all(isinstance(array, np.ndarray) for array in arrays)


def test_two_threads_run_two_interpreters_at_a_time(file, images):
    batch = np.repeat(images[:200], 4, axis=0)
    interpreters = [tf.lite.Interpreter(str(file), num_threads=1) for _ in range(2)]
    for one in interpreters:
        one.allocate_tensors()
    expected = run(interpreters[0], batch)
    ticks, results = [], {}
    threads = [threading.Thread(target=lambda i=i: results.update({i: run(interpreters[i], batch)})) for i in range(2)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        ticks.append(time.perf_counter())
        time.sleep(0.0005)
    assert len(ticks) > 3, "Python went on meanwhile"
    for result in results.values():
        np.testing.assert_array_equal(result, expected)


def test_a_call_costs_little(tmp_path):
    import keras

    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4), keras.layers.Dense(2)])
    content = tf.lite.TFLiteConverter.from_keras_model(model).convert()
    interpreter = tf.lite.Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    index, output = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    x = np.zeros([1, 8], np.float32)

    def call():
        interpreter.set_tensor(index, x)
        interpreter.invoke()
        interpreter.get_tensor(output)

    def best():
        start = time.perf_counter()
        for _ in range(200):
            call()
        return (time.perf_counter() - start) / 200

    # 2 microseconds on a quiet machine, the Rust call included.
    assert min(best() for _ in range(30)) < 20e-6
