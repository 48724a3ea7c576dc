"""The converter: TensorFlow's attributes, what they mean and what they refuse."""

import json
import warnings

import numpy as np
import pytest

import litesmith as tf


def representative(images, count=20):
    return lambda: ([image[None]] for image in images[:count])


def types(content):
    interpreter = tf.lite.Interpreter(model_content=content)
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    return inputs[0]["dtype"], outputs[0]["dtype"]


@pytest.fixture
def converter(model_path):
    return tf.lite.TFLiteConverter.from_saved_model(str(model_path))


def test_without_optimizations_the_model_stays_float(converter, held_out, model_path):
    content = converter.convert()
    assert isinstance(content, bytes) and types(content) == (np.float32, np.float32)
    assert converter.report["quantized_operators"] == 0
    interpreter = tf.lite.Interpreter(model_content=content)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], held_out[0][:50])
    interpreter.invoke()
    given = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    expected = tf.keras.models.load_model(model_path).predict(held_out[0][:50], verbose=0)
    np.testing.assert_allclose(given, expected, atol=1e-4)


def test_dicts_and_lists_of_samples_give_the_same_file(converter, training):
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = representative(training[0])
    by_place = converter.convert()
    for entries in (
        lambda: ({"image": image[None]} for image in training[0][:20]),
        lambda: ({"serving_default_image:0": image[None]} for image in training[0][:20]),
        lambda: (("serving_default", {"image": training[0][i : i + 5]}) for i in range(0, 20, 5)),
        tf.lite.RepresentativeDataset(representative(training[0])),
    ):
        converter.representative_dataset = entries
        assert converter.convert() == by_place


@pytest.mark.parametrize("kind", [tf.int8, tf.uint8, np.int8])
def test_integer_interfaces(converter, training, kind):
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = representative(training[0])
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = kind
    expected = getattr(kind, "as_numpy_dtype", kind)
    assert types(converter.convert()) == (expected, expected)
    assert converter.report["float_operators"] == []


def test_activations_of_16_bits(converter, training):
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = representative(training[0])
    converter.target_spec.supported_ops = [
        tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
    ]
    converter.inference_input_type = converter.inference_output_type = tf.int16
    assert types(converter.convert()) == (np.int16, np.int16)


def test_calibration_images_of_another_size_are_refused(converter, training):
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    larger = np.pad(training[0][:10], [(0, 0), (2, 2), (2, 2), (0, 0)])
    converter.representative_dataset = representative(larger)
    with pytest.raises(ValueError) as raised:
        converter.convert()
    for part in ("image", "28", "32"):
        assert part in str(raised.value)


@pytest.mark.parametrize(
    ("generate", "text"),
    [
        (lambda x: [], "gives no samples"),
        (lambda x: [[x[:1], x[:1]]], "gives 2 arrays a time, the model has 1 inputs: ['image']"),
        (lambda x: [{"picture": x[:1]}], "gives ['picture'], the model's inputs are ['image']"),
        (lambda x: [[x[0, :, :, 0]]], "of shape [28, 28] for input 'image', which has 4 axes"),
        (lambda x: [[x[:1]], [x[:1, :20]]], "differ in shape: [20, 28, 1] and [28, 28, 1]"),
    ],
)
def test_samples_that_do_not_fit_are_refused(converter, training, generate, text):
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: iter(generate(training[0]))
    with pytest.raises(ValueError) as raised:
        converter.convert()
    assert text in str(raised.value)


def test_options_that_contradict_each_other_are_refused_as_tensorflow_does(converter, training):
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.inference_input_type = tf.int8
    with pytest.raises(ValueError, match="inference_input_type and inference_output_type must be tf.float32"):
        converter.convert()
    converter.inference_input_type = tf.float32
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    with pytest.raises(ValueError, match="representative_dataset is required when specifying TFLITE_BUILTINS_INT8"):
        converter.convert()
    converter.representative_dataset = representative(training[0])
    converter.target_spec.supported_types = [tf.float16]
    with pytest.raises(ValueError, match="As full integer quantization has been enabled"):
        converter.convert()
    with pytest.raises(NotImplementedError, match="from_saved_model"):
        tf.lite.TFLiteConverter.from_concrete_functions([])


def test_what_has_no_effect_is_said(converter, training):
    with pytest.warns(tf.LitesmithWarning, match="allow_custom_ops = True has no effect"):
        converter.allow_custom_ops = True
    with pytest.warns(tf.LitesmithWarning, match="no attribute optimisations"):
        converter.optimisations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = representative(training[0])
    with pytest.warns(tf.LitesmithWarning, match="without optimizations"):
        converter.convert()
    converter.representative_dataset = None
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS, tf.lite.OpsSet.SELECT_TF_OPS]
    with pytest.warns(tf.LitesmithWarning, match="SELECT_TF_OPS has no effect"):
        converter.convert()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        converter.experimental_new_converter = True
        converter.allow_custom_ops = False


def test_weights_with_one_scale_where_that_is_asked_for(converter, training):
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = representative(training[0])
    converter._experimental_disable_per_channel = True
    interpreter = tf.lite.Interpreter(model_content=converter.convert())
    details = interpreter.get_tensor_details()
    assert max(len(entry["quantization_parameters"]["scales"]) for entry in details) == 1


def test_unsupported_layers_are_all_named():
    import keras

    @keras.saving.register_keras_serializable("tests")
    class Own(keras.layers.Layer):
        def call(self, x):
            return x

    x = keras.Input((4,))
    model = keras.Model(x, Own(name="second")(Own(name="first")(x)))
    with pytest.raises(NotImplementedError) as raised:
        tf.lite.TFLiteConverter.from_keras_model(model)
    assert isinstance(raised.value, tf.UnsupportedError) and raised.value.exit_code == 3
    assert "'first'" in str(raised.value) and "'second'" in str(raised.value)


def test_a_missing_model_is_a_value_error(tmp_path):
    with pytest.raises(ValueError, match="nothing_there"):
        tf.lite.TFLiteConverter.from_saved_model(tmp_path / "nothing_there").convert()
    with pytest.raises(TypeError, match="dict is no model"):
        tf.lite.TFLiteConverter.from_keras_model(json.loads("{}"))
