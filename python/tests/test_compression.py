"""Quantization-aware training and pruning: whole models, single layers, and both together."""

import csv

import numpy as np
import pytest

import litesmith as tfmot
from litesmith import lite, sparsity
from litesmith.keras import layers, models

LOSS = {"loss": "sparse_categorical_crossentropy", "optimizer": "adam", "metrics": ["accuracy"]}


@pytest.fixture
def model(model_path):
    return models.load_model(model_path)


def float_tensors(model):
    converter = lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [lite.Optimize.DEFAULT]
    interpreter = lite.Interpreter(model_content=converter.convert())
    return sum(details["dtype"] is np.float32 for details in interpreter.get_tensor_details())


def zeros(model, name):
    kernel = model.get_layer(name).get_weights()[0]
    return 1 - np.count_nonzero(kernel) / kernel.size


def test_a_quantized_model_is_measured_before_and_behind_training(model, training, held_out, tmp_path):
    aware = tfmot.quantization.keras.quantize_model(model)
    assert model.recipe is None, "the model that it was made of stays what it was"
    with pytest.raises(RuntimeError, match="must compile"):
        aware.fit(*training)
    aware.compile(**LOSS)
    _, before = aware.evaluate(held_out[0][:300], held_out[1][:300], verbose=0)
    assert before > 0.88
    assert np.mean(aware.predict(held_out[0][:300], verbose=0).argmax(-1) == held_out[1][:300]) > 0.88
    aware.fit(training[0][:400], training[1][:400], batch_size=50, epochs=1, verbose=0)
    _, behind = aware.evaluate(held_out[0][:300], held_out[1][:300], verbose=0)
    assert behind > 0.8
    aware.save(tmp_path / "aware.keras")
    with tfmot.quantization.keras.quantize_scope():
        again = models.load_model(tmp_path / "aware.keras")
    assert float_tensors(aware) == float_tensors(again) == 2
    predicted = aware.predict(held_out[0][:100], verbose=0).argmax(-1)
    assert np.mean(again.predict(held_out[0][:100], verbose=0).argmax(-1) == predicted) > 0.97


def test_an_integer_model_agrees_with_its_simulation(model, training, held_out):
    aware = tfmot.quantization.keras.quantize_model(model)
    aware.compile(**LOSS)
    aware.fit(training[0][:400], training[1][:400], batch_size=50, verbose=0)
    converter = lite.TFLiteConverter.from_keras_model(aware)
    converter.optimizations = [lite.Optimize.DEFAULT]
    interpreter = lite.Interpreter(model_content=converter.convert())
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], held_out[0][:300])
    interpreter.invoke()
    given = interpreter.get_tensor(interpreter.get_output_details()[0]["index"]).argmax(-1)
    assert np.mean(aware.predict(held_out[0][:300], verbose=0).argmax(-1) == given) > 0.98


def test_only_layers_that_are_annotated_are_quantized(model, training):
    def annotate(layer):
        if isinstance(layer, layers.Dense):
            return tfmot.quantization.keras.quantize_annotate_layer(layer)
        return layer

    with pytest.raises(ValueError, match="at least one layer"):
        tfmot.quantization.keras.quantize_apply(model)
    annotated = models.clone_model(model, clone_function=annotate)
    aware = tfmot.quantization.keras.quantize_apply(annotated)
    aware.compile(**LOSS)
    aware.fit(training[0][:200], training[1][:200], verbose=0)
    assert float_tensors(aware) > 10
    everything = tfmot.quantization.keras.quantize_apply(tfmot.quantization.keras.quantize_annotate_model(model))
    everything.compile(**LOSS)
    everything.fit(training[0][:200], training[1][:200], verbose=0)
    assert float_tensors(everything) == 2


def test_schedules_prune_without_callbacks(model, training, tmp_path):
    schedule = sparsity.keras.PolynomialDecay(0.2, 0.6, begin_step=0, end_step=7, frequency=1)
    pruned = tfmot.sparsity.keras.prune_low_magnitude(model, pruning_schedule=schedule)
    assert zeros(pruned, "block3_project") < 0.01
    pruned.compile(**LOSS)
    summaries = sparsity.keras.PruningSummaries(log_dir=str(tmp_path / "logs"))
    pruned.fit(training[0][:200], training[1][:200], batch_size=50, epochs=2, verbose=0, callbacks=[summaries])
    assert zeros(pruned, "block3_project") == pytest.approx(0.6, abs=0.01)
    assert zeros(pruned, "block3_depthwise") < 0.01
    rows = list(csv.DictReader(open(tmp_path / "logs" / "pruning.csv")))
    last = {row["layer"]: float(row["sparsity"]) for row in rows if row["epoch"] == "1"}
    assert last["block3_project"] == pytest.approx(0.6, abs=0.01)
    stripped = sparsity.keras.strip_pruning(pruned)
    assert stripped.pruning is None
    content = [lite.TFLiteConverter.from_keras_model(one).convert() for one in (pruned, stripped)]
    assert content[0] == content[1]


def test_a_schedule_goes_on_from_fit_to_fit_and_short_training_is_told(model, training):
    schedule = sparsity.keras.PolynomialDecay(0.2, 0.8, begin_step=0, end_step=100, frequency=1)
    pruned = sparsity.keras.prune_low_magnitude(model, pruning_schedule=schedule)
    pruned.compile(**LOSS)
    shares = []
    for _ in range(2):
        with pytest.warns(tfmot.LitesmithWarning, match="the schedule ends at step 100"):
            pruned.fit(training[0][:200], training[1][:200], batch_size=50, verbose=0)
        shares.append(zeros(pruned, "block3_project"))
    assert 0.2 < shares[0] < shares[1] < 0.6


def test_single_layers_blocks_and_patterns(model, training):
    def annotate(layer):
        if isinstance(layer, layers.Dense):
            return sparsity.keras.prune_low_magnitude(
                layer, pruning_schedule=sparsity.keras.ConstantSparsity(0.5, 0), sparsity_m_by_n=(2, 4)
            )
        return layer

    pruned = models.clone_model(model, clone_function=annotate)
    pruned.compile(**LOSS)
    pruned.fit(training[0][:100], training[1][:100], verbose=0)
    kernel = pruned.get_layer("classes").get_weights()[0]
    groups = np.count_nonzero(kernel.T.reshape(10, -1, 4), axis=-1)
    assert (groups == 2).all() and zeros(pruned, "block3_project") < 0.01
    blocks = sparsity.keras.prune_low_magnitude(
        model, sparsity.keras.ConstantSparsity(0.5, 0), block_size=(4, 1), block_pooling_type="MAX"
    )
    blocks.compile(**LOSS)
    blocks.fit(training[0][:100], training[1][:100], verbose=0)
    kernel = blocks.get_layer("classes").get_weights()[0]
    counts = np.count_nonzero(kernel.reshape(-1, 4, 10), axis=1)
    assert set(np.unique(counts)) <= {0, 4}


def test_pruned_and_quantized_at_once(model, training):
    schedule = sparsity.keras.ConstantSparsity(0.5, begin_step=0, frequency=1)
    both = tfmot.quantization.keras.quantize_model(sparsity.keras.prune_low_magnitude(model, schedule))
    both.compile(**LOSS)
    both.fit(training[0][:200], training[1][:200], verbose=0)
    assert zeros(both, "block3_project") == pytest.approx(0.5, abs=0.01)
    assert float_tensors(both) == 2


def test_what_runs_in_python_is_refused(model):
    with pytest.raises(NotImplementedError, match="QuantizeConfig"):
        tfmot.quantization.keras.quantize_annotate_layer(model.layers[2], quantize_config=object())
    with pytest.raises(NotImplementedError, match="scheme"):
        tfmot.quantization.keras.quantize_apply(model, scheme=object())
    with pytest.raises(NotImplementedError, match="policy"):
        sparsity.keras.prune_low_magnitude(model, pruning_policy=object())
