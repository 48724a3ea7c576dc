#!/usr/bin/env python3
"""The same scripts with TensorFlow and with litesmith: only their import lines differ.

    conformance/environment && python/tests/environment
    conformance/.venv/bin/python conformance/scripts.py [--scripts qat,pruning] [--speed]

Runs python/tests/scripts with both, on a small tf_keras model of Fashion-MNIST, and the files that come out in LiteRT.
Outputs of float16 files must agree to 2e-2 and of 16-bit files to 5e-2, accuracies to 2.5 points (pruning: 6). What
litesmith's interpreter gives for an int8 file must be what LiteRT gives; with --speed, on the demo's model, in less time.
Live models of Keras and tf_keras go there and back. LITESMITH_PYTHON names another Python with the package.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = ROOT / "python" / "tests" / "scripts"
ASSETS = ROOT / "crates" / "litesmith" / "assets"
LITESMITH = os.environ.get("LITESMITH_PYTHON", ROOT / "python" / ".venv" / "bin" / "python")

# Script, further arguments, and how far outputs may be apart, where that means something.
# Training is another one in each run of TensorFlow: behind two epochs of pruning its accuracies are three points apart.
CASES = {
    "dynamic_range": ([], None),
    "float16": ([], 2e-2),
    "full_integer": ([], None),
    "integer_only": ([], None),
    "integer_only_uint8": (["uint8"], None),
    "int16": ([], 5e-2),
    "qat": ([], None),
    "pruning": ([], None),
}

MAKE_MODEL = """
import sys
import numpy as np
import tf_keras as keras

keras.utils.set_random_seed(0)
data = np.load(sys.argv[1])
layers = keras.layers
model = keras.Sequential([
    layers.InputLayer((28, 28, 1), name="image"),
    layers.Conv2D(12, 3, activation="relu"),
    layers.MaxPooling2D(),
    layers.Conv2D(24, 3, use_bias=False),
    layers.BatchNormalization(momentum=0.9),
    layers.ReLU(),
    layers.MaxPooling2D(),
    layers.Flatten(),
    layers.Dense(32, activation="relu"),
    layers.Dense(10, activation="softmax"),
])
model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
model.fit(data["x"], data["y"], batch_size=50, epochs=6, verbose=0)
model.save(sys.argv[2] + "/model.keras")
model.export(sys.argv[2] + "/saved_model")
"""

# Live models of tf_keras and of Keras 3 on TensorFlow, in a process that has them and litesmith.
LIVE = """
import sys
import keras
import numpy as np
import tf_keras
import litesmith

data = np.load(sys.argv[1])
x, y = data["x"][:500], data["y"][:500]
image = keras.Input((28, 28, 1), name="image")
dense = keras.layers.Dense(10, activation="softmax")(keras.layers.Flatten()(image))
for library, live in [(tf_keras, tf_keras.models.load_model(sys.argv[2])), (keras, keras.Model(image, dense))]:
    content = litesmith.lite.TFLiteConverter.from_keras_model(live).convert()
    interpreter = litesmith.lite.Interpreter(model_content=content)
    (output,) = interpreter.get_signature_runner()(image=x[:50]).values()
    np.testing.assert_allclose(output, live.predict(x[:50], verbose=0), atol=1e-4)
    aware = litesmith.quantization.keras.quantize_model(live)
    aware.compile(library.optimizers.Adam(1e-3), library.losses.SparseCategoricalCrossentropy(), metrics=["accuracy"])
    history = aware.fit(x, y, batch_size=50, epochs=2, verbose=0)
    back = aware.to_keras()
    assert isinstance(back, library.Model), type(back)
    for ours, theirs in zip(aware.get_weights(), back.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    pruned = litesmith.sparsity.keras.prune_low_magnitude(live, litesmith.sparsity.keras.ConstantSparsity(0.5, 0))
    pruned.compile("adam", "sparse_categorical_crossentropy")
    pruned.fit(x, y, verbose=0)
    zeros = [np.mean(w == 0) for w in pruned.to_keras().get_weights() if np.ndim(w) > 1]
    np.testing.assert_allclose(zeros, 0.5, atol=0.01)
    print(f"live model of {library.__name__}: accuracy {history.history['accuracy'][-1]:.3f}, weights came back")
"""


def environment():
    # Keras 2 is what TFMOT works with.
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "", "KERAS_BACKEND": "tensorflow"}
    return os.environ | quiet | {"TF_USE_LEGACY_KERAS": "1"}


def call(command, folder):
    done = subprocess.run(list(map(str, command)), cwd=folder, capture_output=True, text=True, env=environment())
    if done.returncode != 0:
        sys.exit(f"{command[1]}: exit code {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    return done.stdout


def with_litesmith(name, folder):
    text = (SCRIPTS / f"{name}.py").read_text()
    text = text.replace("import tensorflow as tf", "import litesmith as tf")
    text = text.replace("import tensorflow_model_optimization as tfmot", "import litesmith as tfmot")
    script = folder / f"{name}.py"
    script.write_text(text)
    return script


def infer(python, script, file, data, folder):
    output = folder / "outputs.npz"
    call([python, script, file, data, output], folder)
    with np.load(output) as arrays:
        return {name: arrays[name] for name in arrays.files}


def unit_images(folder):
    """The images in 0..1: neither of TensorFlow's tools takes a Rescaling layer."""
    paths = {}
    for name in ("train", "test"):
        with np.load(ASSETS / f"fashion-{name}.npz") as data:
            paths[name] = folder / f"{name}.npz"
            np.savez(paths[name], x=data["x"].astype(np.float32) / 255, y=data["y"])
    return paths


def compare(case, folder, data):
    arguments, near = CASES[case]
    script = case.removesuffix("_uint8")
    source = folder / ("saved_model" if script == "int16" else "model.keras")
    theirs, ours = folder / f"{case}-tensorflow.tflite", folder / f"{case}-litesmith.tflite"
    call([sys.executable, SCRIPTS / f"{script}.py", source, data["train"], theirs, *arguments], folder)
    call([LITESMITH, with_litesmith(script, folder), source, data["train"], ours, *arguments], folder)
    results = [infer(sys.executable, SCRIPTS / "inference.py", file, data["test"], folder) for file in (theirs, ours)]
    accuracies = [float(result["accuracy"]) for result in results]
    difference = float(np.abs(results[0]["outputs"].astype(np.float64) - results[1]["outputs"]).max())
    sizes = [file.stat().st_size for file in (theirs, ours)]
    print(
        f"{case}: TensorFlow {accuracies[0]:.3f}, {sizes[0]:,} bytes; litesmith {accuracies[1]:.3f}, {sizes[1]:,} bytes; "
        f"outputs differ by {difference:.2g}",
        flush=True,
    )
    problems = []
    if accuracies[1] < accuracies[0] - (0.06 if script == "pruning" else 0.025):
        problems.append(f"{case}: litesmith's accuracy is lower")
    if near is not None and difference > near:
        problems.append(f"{case}: outputs differ by {difference:.2g}, more than {near}")
    return problems


def live_models(folder, data):
    """Hands live models over and takes them back."""
    place = call([LITESMITH, "-c", "import litesmith, os; print(os.path.dirname(litesmith.__file__))"], folder)
    (folder / "packages").mkdir()
    (folder / "packages" / "litesmith").symlink_to(place.strip())
    (folder / "live.py").write_text(LIVE)
    os.environ["PYTHONPATH"] = str(folder / "packages")
    print(call([sys.executable, folder / "live.py", data["train"], folder / "model.keras"], folder), end="", flush=True)
    del os.environ["PYTHONPATH"]


def compare_interpreters(folder, data, speed):
    """The same int8 files in both interpreters, by the same script."""
    demo = folder / "demo.tflite"
    script = with_litesmith("integer_only", folder)
    call([LITESMITH, script, ASSETS / "fashion.keras", ASSETS / "fashion-calibration.npz", demo], folder)
    files = [(file, data["test"]) for kind in ("integer_only*", "qat") for file in folder.glob(f"{kind}-litesmith.tflite")]
    problems = []
    for file, images in [*sorted(files), (demo, ASSETS / "fashion-test.npz")]:
        theirs = infer(sys.executable, SCRIPTS / "inference.py", file, images, folder)
        ours = infer(LITESMITH, with_litesmith("inference", folder), file, images, folder)
        equal = np.array_equal(theirs["outputs"], ours["outputs"])
        times = float(theirs["microseconds"]), float(ours["microseconds"])
        print(f"{file.name}: LiteRT {times[0]:.1f} us, litesmith {times[1]:.1f} us a call, values equal: {equal}")
        if not equal:
            problems.append(f"{file.name}: the interpreters give different values")
        if speed and file == demo and times[1] >= times[0]:
            problems.append(f"{file.name}: litesmith is slower than LiteRT")
    return problems


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scripts", default=",".join(CASES), help="which of the scripts, separated by commas")
    parser.add_argument("--speed", action="store_true", help="litesmith's interpreter must be the faster one")
    options = parser.parse_args()
    problems = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = unit_images(folder)
        (folder / "make_model.py").write_text(MAKE_MODEL)
        call([sys.executable, folder / "make_model.py", data["train"], folder], folder)
        for case in options.scripts.split(","):
            problems += compare(case, folder, data)
        live_models(folder, data)
        problems += compare_interpreters(folder, data, options.speed)
    for problem in problems:
        print(f"FAILED {problem}")
    if not problems:
        print("the same scripts do the same")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
