"""The package itself: quick to import, typed, small, and the command line."""

import functools
import pathlib
import signal
import subprocess
import sys
import time

import pytest

import litesmith

PACKAGE = pathlib.Path(litesmith.__file__).parent


def python(*arguments, **options):
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, **options)


def test_the_import_is_quick_and_brings_nothing_but_numpy():
    program = (
        "import sys, time; start = time.perf_counter(); import litesmith; print(time.perf_counter() - start); "
        "litesmith.lite.Interpreter, litesmith.keras.Model, litesmith.quantization, litesmith.sparsity; "
        "print([name for name in ('tensorflow', 'keras', 'jax', 'torch') if name in sys.modules])"
    )
    times = []
    for _ in range(5):
        seconds, brought = python("-c", program).stdout.splitlines()
        times.append(float(seconds))
        assert brought == "[]"
    assert min(times) < 0.1


def test_the_command_line_is_in_it(model_path, tmp_path):
    assert python("-m", "litesmith", "--version").stdout == f"litesmith {litesmith.__version__}\n"
    shown = python("-m", "litesmith", "inspect", str(model_path), "--json")
    assert shown.returncode == 0 and '"schema_version": 1' in shown.stdout
    refused = python("-m", "litesmith", "convert", str(model_path), "-o", str(tmp_path / "a.tflite"), "--quantize", "int8")
    assert refused.returncode == 2 and "needs calibration data" in refused.stderr


def test_types_hold(tmp_path):
    checked = python("-m", "mypy", "--strict", "--package", "litesmith", cwd=tmp_path)
    assert checked.returncode == 0, checked.stdout


def test_scripts_get_types(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import litesmith as tf\n"
        "interpreter = tf.lite.Interpreter('model.tflite', num_threads=2)\n"
        "reveal_type(interpreter.get_tensor(0))\n"
        "interpreter.set_tensor('0', 1)\n"
    )
    shown = python("-m", "mypy", str(script), cwd=tmp_path).stdout
    assert "numpy.ndarray" in shown and 'incompatible type "str"' in shown and "Found 1 error" in shown


def test_progress_is_shown_where_lines_can_be_written_over():
    import io

    from litesmith.progress import Progress

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    for stream, shown in [(Terminal(), True), (io.StringIO(), False)]:
        progress = Progress(stream)
        progress.stage("calibrate", 4)
        progress.advance(2, "half")
        progress.clear()
        text = stream.getvalue()
        assert ("calibrate ████████████░░░░░░░░░░░░ 2/4  half" in text) == shown
        assert text.endswith("\r") == shown
    with pytest.warns(litesmith.LitesmithWarning, match="look at this"):
        Progress(io.StringIO()).note("look at this")


def test_ctrl_c_ends_training(model_path, tmp_path):
    script = tmp_path / "long.py"
    script.write_text(
        "import sys, numpy as np, litesmith as tf\n"
        "model = tf.keras.models.load_model(sys.argv[1])\n"
        "model.compile('adam', 'sparse_categorical_crossentropy')\n"
        "before = model.get_weights()[-1].copy()\n"
        "x, y = np.zeros([5000, 28, 28, 1], np.float32), np.zeros(5000)\n"
        "begins = tf.keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: print('goes on', flush=True))\n"
        "try:\n"
        "    model.fit(x, y, epochs=1000, verbose=0, callbacks=[begins])\n"
        "except KeyboardInterrupt:\n"
        "    print('interrupted', (before != model.get_weights()[-1]).any())\n"
    )
    # A shell's background jobs ignore the signal, and so would what they start.
    heeds = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    command = [sys.executable, script, model_path]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, preexec_fn=heeds)
    assert process.stdout.readline() == "goes on\n"
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60)[0].endswith("interrupted True\n")


def test_the_native_part_has_no_symbols_and_is_small():
    (native,) = PACKAGE.glob("_litesmith*.so")
    assert native.stat().st_size < 40 << 20


@pytest.mark.parametrize("name", ["tflite", "nothing"])
def test_what_is_not_there_is_told(name):
    with pytest.raises(AttributeError, match="of TensorFlow's modules it has data, keras, lite"):
        getattr(litesmith, name)
