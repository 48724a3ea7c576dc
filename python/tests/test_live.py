"""Live models of Keras 3, here on JAX: handed over, trained, and given back."""

import keras
import numpy as np
import pytest

import litesmith
from litesmith import lite, quantization, sparsity

LOSS = {
    "optimizer": keras.optimizers.Adam(2e-3),
    "loss": keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    "metrics": [keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
}


def test_a_live_model_becomes_a_file_that_computes_the_same(small_model, held_out):
    content = lite.TFLiteConverter.from_keras_model(small_model).convert()
    interpreter = lite.Interpreter(model_content=content)
    (output,) = interpreter.get_signature_runner()(image=held_out[0][:20]).values()
    np.testing.assert_allclose(output, small_model.predict(held_out[0][:20], verbose=0), atol=1e-4)


def test_trained_weights_go_back_into_keras(small_model, training, held_out):
    model = quantization.keras.quantize_model(small_model)
    model.compile(**LOSS)
    model.fit(training[0][:2000], training[1][:2000], batch_size=50, epochs=3, verbose=0)
    _, accuracy = model.evaluate(held_out[0][:500], held_out[1][:500], verbose=0)
    assert accuracy > 0.7
    live = model.to_keras()
    assert isinstance(live, keras.Model) and [layer.name for layer in live.layers][2] == "conv"
    for ours, theirs in zip(model.get_weights(), live.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    predicted = live.predict(held_out[0][:500], verbose=0).argmax(-1)
    assert np.mean(predicted == held_out[1][:500]) > 0.7
    assert not np.array_equal(small_model.get_weights()[0], live.get_weights()[0]), "the live one was left alone"


def test_training_follows_keras_step_by_step(small_model, training):
    x, y = training[0][:256], training[1][:256]
    live = keras.models.clone_model(small_model)
    live.set_weights(small_model.get_weights())
    ours = litesmith.keras.live.held(small_model)
    for model in (live, ours):
        model.compile(optimizer=keras.optimizers.SGD(0.05), loss=LOSS["loss"], metrics=["accuracy"])
    theirs = live.fit(x, y, batch_size=64, epochs=2, shuffle=False, verbose=0)
    own = ours.fit(x, y, batch_size=64, epochs=2, shuffle=False, verbose=0)
    np.testing.assert_allclose(own.history["loss"], theirs.history["loss"], rtol=1e-4)
    np.testing.assert_allclose(own.history["accuracy"], theirs.history["accuracy"], atol=0.005)
    for a, b in zip(ours.get_weights(), live.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


def test_callbacks_of_keras_work_between_epochs(small_model, training):
    model = litesmith.keras.live.held(small_model)
    model.compile(**LOSS)
    stop = keras.callbacks.EarlyStopping(monitor="loss", patience=0, mode="max")
    history = model.fit(training[0][:200], training[1][:200], epochs=5, verbose=0, callbacks=[stop])
    assert len(history.epoch) < 5


def test_layers_of_a_live_model_can_be_marked(small_model, training):
    def annotate(layer):
        if isinstance(layer, keras.layers.Dense):
            return quantization.keras.quantize_annotate_layer(layer)
        return layer

    annotated = keras.models.clone_model(small_model, clone_function=annotate)
    model = quantization.keras.quantize_apply(annotated)
    assert [rule.get("layers") for rule in model.recipe["rule"]] == [None, "hidden", "logits"]
    model.compile(**LOSS)
    model.fit(training[0][:100], training[1][:100], verbose=0)


def test_pruning_takes_live_models(small_model, training):
    model = sparsity.keras.prune_low_magnitude(small_model, sparsity.keras.ConstantSparsity(0.75, 0))
    model.compile(**LOSS)
    model.fit(training[0][:100], training[1][:100], verbose=0)
    kernel = model.get_layer("hidden").get_weights()[0]
    assert 1 - np.count_nonzero(kernel) / kernel.size == pytest.approx(0.75, abs=0.01)


def test_several_inputs_and_outputs_go_by_name_or_place():
    a, b = keras.Input((4,), name="a"), keras.Input((3,), name="b")
    joined = keras.layers.Concatenate(name="joined")([a, b])
    kind = keras.layers.Dense(3, activation="softmax", name="kind")(joined)
    size = keras.layers.Dense(1, name="size")(joined)
    model = litesmith.keras.live.held(keras.Model([a, b], [kind, size]))
    assert (model.input_names, model.output_names) == (["a", "b"], ["kind", "size"])
    random = np.random.default_rng(0)
    x = {"b": random.normal(size=(64, 3)), "a": random.normal(size=(64, 4))}
    y = {"kind": random.integers(0, 3, 64), "size": random.normal(size=64)}
    model.compile(
        loss={"kind": "sparse_categorical_crossentropy", "size": "mse"},
        loss_weights={"size": 0.5},
        metrics={"kind": ["accuracy"]},
    )
    history = model.fit(x, y, epochs=2, verbose=0)
    assert {"kind_accuracy", "kind_loss", "loss", "size_loss"} <= set(history.history)
    by_name, by_place = model.predict(x, verbose=0), model.predict([x["a"], x["b"]], verbose=0)
    assert [array.shape for array in by_name] == [(64, 3), (64, 1)]
    for one, other in zip(by_name, by_place):
        np.testing.assert_array_equal(one, other)
    converter = lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ({name: x[name][i : i + 1] for name in x} for i in range(20))
    interpreter = lite.Interpreter(model_content=converter.convert())
    outputs = interpreter.get_signature_runner()(**{name: value.astype(np.float32) for name, value in x.items()})
    assert sorted(array.shape for array in outputs.values()) == [(64, 1), (64, 3)]
