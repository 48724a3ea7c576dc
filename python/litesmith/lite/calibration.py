"""From a representative dataset to an array of samples for each input."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from .. import _litesmith


def gather(generate: Callable[[], Iterable[Any]], source: Path) -> list[np.ndarray[Any, Any]]:
    """All samples that a generator gives for the model of a file: an array ``[samples, ...]`` for each input.

    Raises:
        ValueError: If they name other inputs than the model has, or differ in shape.
    """
    inputs, *_ = _litesmith.Learner.open(source).describe()
    names = [name for name, _, _ in inputs]
    samples: list[list[np.ndarray[Any, Any]]] = [[] for _ in inputs]
    for entry in getattr(generate, "input_gen", generate)():
        # TensorFlow takes the key of the signature in front, too.
        if isinstance(entry, tuple) and len(entry) == 2 and isinstance(entry[1], dict):
            entry = entry[1]
        for place, value in enumerate(_in_order(entry, names)):
            samples[place].append(_batch(value, names[place], len(inputs[place][2])))
    if not samples[0]:
        raise ValueError("the representative dataset gives no samples")
    return [_joined(arrays, name) for arrays, name in zip(samples, names)]


def _in_order(entry: Any, names: list[str]) -> list[Any]:
    if isinstance(entry, dict):
        plain = {_plain(name): value for name, value in entry.items()}
        missing = [name for name in names if _plain(name) not in plain]
        if missing or len(plain) != len(names):
            raise ValueError(f"the representative dataset gives {sorted(entry)}, the model's inputs are {names}")
        return [plain[_plain(name)] for name in names]
    values = list(entry) if isinstance(entry, (list, tuple)) else [entry]
    if len(values) != len(names):
        raise ValueError(
            f"the representative dataset gives {len(values)} arrays a time, the model has {len(names)} inputs: {names}"
        )
    return values


def _plain(name: str) -> str:
    """A tensor's name without what TensorFlow adds to it: ``serving_default_x:0`` is ``x``."""
    name = name.removeprefix("serving_default_")
    base, _, output = name.rpartition(":")
    return base if base and output.isdigit() else name


def _batch(value: Any, name: str, rank: int) -> np.ndarray[Any, Any]:
    array = np.asarray(value)
    if array.ndim == rank - 1:
        return array[np.newaxis]
    if array.ndim != rank:
        raise ValueError(
            f"the representative dataset gives an array of shape {list(array.shape)} for input '{name}', which has "
            f"{rank} axes with that of the samples"
        )
    return array


def _joined(arrays: list[np.ndarray[Any, Any]], name: str) -> np.ndarray[Any, Any]:
    shapes = {array.shape[1:] for array in arrays}
    if len(shapes) > 1:
        first, second, *_ = (list(shape) for shape in sorted(shapes))
        raise ValueError(f"samples for input '{name}' differ in shape: {first} and {second}")
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
