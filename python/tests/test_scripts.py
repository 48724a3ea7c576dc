"""Scripts as people write them: only the import lines are changed."""

import numpy as np
import pytest
from conftest import ASSETS

import litesmith

CALIBRATION, TRAINING = ASSETS / "fashion-calibration.npz", ASSETS / "fashion-train.npz"


@pytest.mark.parametrize("name", ["dynamic_range", "float16", "full_integer", "integer_only"])
def test_post_training_quantization(run_script, accuracy, model_path, tmp_path, name):
    file = tmp_path / "model.tflite"
    run_script(name, model_path, CALIBRATION, file)
    assert accuracy(file) > 0.91
    smaller = {"dynamic_range": 60_000, "float16": 90_000}.get(name, 56_000)
    assert file.stat().st_size < smaller


def test_integers_throughout_with_unsigned_bytes_outside(run_script, accuracy, model_path, tmp_path):
    file = tmp_path / "model.tflite"
    printed = run_script("integer_only", model_path, CALIBRATION, file, "uint8")
    assert "numpy.uint8" in printed
    assert accuracy(file) > 0.91


def test_quantization_aware_training(run_script, accuracy, model_path, tmp_path):
    file = tmp_path / "model.tflite"
    printed = run_script("qat", model_path, TRAINING, file, warnings="error")
    assert "Quant test accuracy: 0.8" in printed or "Quant test accuracy: 0.9" in printed
    assert accuracy(file) > 0.88
    interpreter = litesmith.lite.Interpreter(model_path=str(file))
    types = [details["dtype"] for details in interpreter.get_tensor_details()]
    # Everything inside is integers; input and output are not.
    assert types.count(np.float32) == 2


def test_pruning_with_and_without_what_tensorflow_needs(run_script, accuracy, model_path, tmp_path):
    usual, bare = tmp_path / "usual.tflite", tmp_path / "bare.tflite"
    run_script("pruning", model_path, TRAINING, usual, "summaries", warnings="error")
    run_script("pruning", model_path, TRAINING, bare, "bare", warnings="error")
    assert usual.read_bytes() == bare.read_bytes()
    assert accuracy(usual) > 0.8
    interpreter = litesmith.lite.Interpreter(model_path=str(usual))
    interpreter.allocate_tensors()
    (dense,) = [d["index"] for d in interpreter.get_tensor_details() if list(d["shape"]) == [10, 160]]
    assert np.mean(interpreter.get_tensor(dense) == 0) == pytest.approx(0.8, abs=0.01)


def test_pruning_for_xnnpack_is_relaxed_and_says_so(run_script, accuracy, model_path, tmp_path):
    file = tmp_path / "model.tflite"
    printed = run_script("pruning_xnnpack", model_path, TRAINING, file)
    assert "is the relaxed policy" in printed
    assert file.stat().st_size < 42_000
    assert accuracy(file) > 0.85
