"""Models that are loaded, trained, measured, asked and saved."""

import csv

import numpy as np
import pytest

import litesmith as tf


@pytest.fixture
def model(model_path):
    return tf.keras.models.load_model(model_path)


def compiled(model, **options):
    arguments = {"optimizer": "adam", "loss": "sparse_categorical_crossentropy", "metrics": ["accuracy"]} | options
    model.compile(**arguments)
    return model


def test_a_loaded_model_says_what_it_is(model, held_out):
    assert (model.name, model.input_shape, model.output_shape) == ("fashion", (None, 28, 28, 1), (None, 10))
    assert model.layers[1].name == "rescale" and model.layers[0].class_name == "InputLayer"
    stem = model.get_layer("stem")
    assert isinstance(stem, tf.keras.layers.Conv2D) and not isinstance(stem, tf.keras.layers.Dense)
    assert [weight.shape for weight in stem.get_weights()] == [(3, 3, 1, 24)]
    assert model.count_params() == sum(weight.size for weight in model.get_weights()) == 39_482
    with pytest.raises(ValueError, match="No such layer: nothing"):
        model.get_layer("nothing")
    lines = []
    model.summary(print_fn=lines.append)
    assert lines[-1] == "Total params: 39,482"
    predicted = model.predict(held_out[0][:200], verbose=0)
    assert predicted.shape == (200, 10) and np.mean(predicted.argmax(-1) == held_out[1][:200]) > 0.9
    np.testing.assert_array_equal(model(held_out[0][:3]), predicted[:3])


def test_fit_gives_a_history_and_evaluate_what_keras_gives(model, training, capsys):
    x, y = training
    compiled(model, loss=tf.keras.losses.SparseCategoricalCrossentropy(from_logits=False))
    history = model.fit(x[:600], y[:600], batch_size=100, epochs=2, validation_split=0.1)
    assert isinstance(history, tf.keras.callbacks.History) and model.history is history
    assert list(history.history) == ["accuracy", "loss", "val_accuracy", "val_loss"]
    assert history.epoch == [0, 1] and history.history["accuracy"][1] > 0.85
    printed = capsys.readouterr().out
    assert "Epoch 1/2" in printed and "6/6 - " in printed and "val_loss" in printed
    loss, accuracy = model.evaluate(x[:600], y[:600], verbose=0)
    assert 0 < loss < 1 and accuracy > 0.85
    assert model.evaluate(x[:600], y[:600], verbose=0, return_dict=True) == {"loss": loss, "accuracy": accuracy}
    compiled(model, metrics=None)
    assert isinstance(model.evaluate(x[:100], y[:100], verbose=0), float)


def test_training_twice_gives_the_same_bits(model_path, training):
    x, y = training[0][:300], training[1][:300]
    weights = []
    for _ in range(2):
        model = compiled(tf.keras.models.load_model(model_path))
        model.fit(x, y, batch_size=50, epochs=1, verbose=0)
        weights.append(model.get_weights())
    assert all(np.array_equal(a, b) for a, b in zip(*weights))


def test_what_is_saved_is_loaded_again(model, training, held_out, tmp_path):
    compiled(model).fit(training[0][:300], training[1][:300], verbose=0)
    path = tmp_path / "trained.keras"
    model.save(path)
    again = tf.keras.models.load_model(path)
    np.testing.assert_array_equal(
        again.predict(held_out[0][:50], verbose=0), model.predict(held_out[0][:50], verbose=0)
    )
    import keras

    live = keras.models.load_model(path, compile=False)
    for ours, theirs in zip(model.get_weights(), live.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    with pytest.raises(ValueError, match="written as one again"):
        model.save(tmp_path / "trained.h5")
    with pytest.raises(ValueError, match="exists"):
        model.save(path, overwrite=False)


def test_callbacks_between_epochs(model, training, tmp_path):
    x, y = training[0][:200], training[1][:200]
    epochs, rates = [], []

    class Own(tf.keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            epochs.append((epoch, sorted(logs)))
            rates.append(self.model.learner.learning_rate())

    callbacks = [
        Own(),
        tf.keras.callbacks.LearningRateScheduler(lambda epoch: 2e-3 / 2**epoch),
        tf.keras.callbacks.CSVLogger(tmp_path / "log.csv"),
        tf.keras.callbacks.ModelCheckpoint(tmp_path / "best-{epoch}.keras", monitor="accuracy", save_best_only=True),
    ]
    compiled(model).fit(x, y, epochs=3, verbose=0, callbacks=callbacks)
    assert epochs == [(epoch, ["accuracy", "loss"]) for epoch in range(3)]
    np.testing.assert_allclose(rates, [2e-3, 1e-3, 5e-4])
    assert [row[0] for row in csv.reader(open(tmp_path / "log.csv"))] == ["epoch", "0", "1", "2"]
    assert (tmp_path / "best-1.keras").exists()


def test_early_stopping_restores_the_best_weights(model, training):
    x, y = training[0][:200], training[1][:200]
    kept = []
    keep = tf.keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: kept.append(model.get_weights()))
    stop = tf.keras.callbacks.EarlyStopping(monitor="loss", patience=1, mode="max", restore_best_weights=True)
    history = compiled(model).fit(x, y, epochs=6, verbose=0, callbacks=[keep, stop])
    assert len(history.epoch) < 6
    best = int(np.argmax(history.history["loss"]))
    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), kept[best]))


def test_steps_are_not_told_and_that_is_said(model, training):
    class Own(tf.keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            raise AssertionError("this is not called")

    with pytest.warns(tf.LitesmithWarning, match="Own.on_train_batch_end is not called"):
        compiled(model).fit(training[0][:50], training[1][:50], verbose=0, callbacks=[Own()])


def test_data_sets_of_batches_are_learnt_from(model_path, training):
    x, y = training[0][:100], training[1][:100]
    by_array, by_batches = (compiled(tf.keras.models.load_model(model_path)) for _ in range(2))
    by_array.fit(x, y, batch_size=20, shuffle=False, verbose=0)
    by_batches.fit(tf.data.Dataset.from_tensor_slices((x, y)).batch(20), shuffle=False, verbose=0)
    assert all(np.array_equal(a, b) for a, b in zip(by_array.get_weights(), by_batches.get_weights()))


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda m, x, y: m.fit(x, y), RuntimeError, "You must compile your model before training/testing"),
        (lambda m, x, y: compiled(m, loss="nothing").fit(x, y), ValueError, "nothing"),
        (lambda m, x, y: compiled(m, optimizer="nothing"), ValueError, "'nothing' is no optimizer"),
        (lambda m, x, y: compiled(m, loss=lambda a, b: 0), TypeError, "is no loss"),
        (lambda m, x, y: compiled(m).fit(x[:, :20], y), ValueError, "image"),
        (lambda m, x, y: compiled(m).fit(x, y[:-1]), ValueError, "image"),
        (lambda m, x, y: compiled(m).fit(x, y + 5, verbose=0), ValueError, "10 classes"),
        (lambda m, x, y: compiled(m).fit(x, y, sample_weight=y), ValueError, "weights of samples are not supported"),
        (lambda m, x, y: m(x, training=True), ValueError, "use fit"),
    ],
)
def test_what_cannot_be_is_refused(model, training, call, error, text):
    model.compiled = None
    with pytest.raises(error) as raised:
        call(model, training[0][:60], training[1][:60])
    assert text in str(raised.value)


def test_layers_are_not_built_here():
    with pytest.raises(NotImplementedError, match="build the model with Keras"):
        tf.keras.layers.Dense(10)
    with pytest.raises(AttributeError, match="no 'Sequential'.*built with Keras itself"):
        tf.keras.Sequential
