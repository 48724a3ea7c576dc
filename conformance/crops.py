"""Trained models of the data set, and inputs for them: crops of photographs, and sounds.

The files lie in the folder that $LITESMITH_DATA names, else ~/.cache/litesmith-data. Models whose file is not there are
left out. Inputs are seeded; those for calibration and those that are held out for testing differ.
"""

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

import data

FOLDER = Path(os.environ.get("LITESMITH_DATA", Path.home() / ".cache/litesmith-data"))
CALIBRATION, HELD_OUT = data.CALIBRATION, data.HELD_OUT


@dataclass(frozen=True)
class Trained:
    """A trained model; `make` gives `count` inputs for a purpose, one array, samples along the first axis."""

    name: str
    path: Path
    make: object
    classifier: bool = False

    def inputs(self, count, purpose):
        return np.asarray(self.make(count, purpose), np.float32)


def images(size, scale, offset, gray=False):
    """Crops of photographs as `pixel / scale + offset`."""

    def make(count, purpose):
        pixels = data.crops(count, size, purpose).astype(np.float32)
        if gray:
            # ITU-R BT.601, as Pillow makes gray of colours.
            pixels = (pixels @ np.array([0.299, 0.587, 0.114], np.float32))[..., None]
        return pixels / scale + offset

    return make


def sounds(count, samples, rate, purpose):
    """count,samples: a few gliding harmonic tones with breaks over a little noise, in [-1, 1]."""
    random = np.random.default_rng(100 + purpose)
    time = np.arange(samples) / rate
    result = np.empty((count, samples), np.float32)
    for i in range(count):
        sound = random.normal(0, 10 ** random.uniform(-4, -2), samples)
        for _ in range(random.integers(1, 4)):
            pitch = 80 * 2 ** random.uniform(0, 4) * 2 ** (0.3 * np.sin(2 * np.pi * random.uniform(0.2, 3) * time))
            phase = 2 * np.pi * np.cumsum(pitch) / rate
            loudness = np.clip(np.sin(2 * np.pi * random.uniform(0.5, 4) * time + random.uniform(0, 6)), 0, 1)
            for harmonic in range(1, 6):
                sound += loudness * random.uniform(0, 0.2) / harmonic * np.sin(harmonic * phase)
        result[i] = sound / max(1, np.abs(sound).max())
    return result


@cache
def litert(path, shape):
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    # Without XNNPACK, which cannot prepare the spectrogram's dynamic shapes.
    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(str(path), num_threads=1, experimental_op_resolver_type=plain)
    interpreter.resize_tensor_input(interpreter.get_input_details()[0]["index"], shape)
    interpreter.allocate_tensors()
    return interpreter


def computed(path, value):
    """The first output of a TFLite file."""
    interpreter = litert(path, value.shape)
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], value)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"]).copy()


def mel_frames(count, purpose, frames=76):
    """count,frames,32,1: spectra as the speech embedding takes them."""
    spectrogram = FOLDER / "melspectrogram/melspectrogram.tflite"
    # 160 samples a frame, and three frames that the first window needs.
    sound = sounds(count, (frames + 3) * 160, 16000, purpose) * 32767
    spectra = [computed(spectrogram, sound[i : i + 1])[0, 0] for i in range(count)]
    return np.stack(spectra)[:, :frames, :, None] / 10 + 2


def embeddings(count, purpose):
    """count,16,96: what the wake word head takes, a new embedding every eight frames."""
    path = FOLDER / "speech-embedding/embedding_model.tflite"
    mel = mel_frames(count, purpose, 76 + 15 * 8).astype(np.float32)
    rows = [[computed(path, mel[i : i + 1, 8 * k : 8 * k + 76]).reshape(96) for k in range(16)] for i in range(count)]
    return np.array(rows)


TRAINED = [
    Trained("efficientnet-lite0", FOLDER / "imagenet-keras/efficientnet_lite0.keras", images(224, 128, -127 / 128), True),
    Trained("mobilenet-v1", FOLDER / "imagenet-keras/mobilenet_v1.keras", images(224, 127.5, -1), True),
    Trained("fer-emotion", FOLDER / "fer-emotion/emotion_model.hdf5", images(64, 127.5, -1, gray=True), True),
    Trained("face-detection", FOLDER / "face-detection/face_detection_short_range.tflite", images(128, 127.5, -1)),
    Trained("face-landmark", FOLDER / "face-landmark/face_landmark.tflite", images(192, 255, 0)),
    Trained("iris-landmark", FOLDER / "iris-landmark/iris_landmark.tflite", images(64, 255, 0)),
    Trained("hand-landmark-lite", FOLDER / "hand-landmark-lite/hand_landmark_lite.tflite", images(224, 255, 0)),
    Trained("pose-landmark-lite", FOLDER / "pose-landmark-lite/pose_landmark_lite.tflite", images(256, 255, 0)),
    Trained("speech-embedding", FOLDER / "speech-embedding/embedding_model.tflite", mel_frames),
    Trained("wakeword-okay-nabu", FOLDER / "wakeword-okay-nabu/okay_nabu.tflite", embeddings),
    Trained("basic-pitch", FOLDER / "basic-pitch/nmp.tflite", lambda n, p: sounds(n, 43844, 22050, p)[..., None]),
]


def present(names=None):
    """The models that are here, or those of them that are named."""
    return [model for model in TRAINED if model.path.is_file() and (not names or model.name in names)]
