"""What people give to fit, evaluate and predict, as arrays for each input and output of a model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Sized
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def inputs_of(x: Any, names: Sequence[str]) -> list[Array]:
    """An array ``[samples, ...]`` for each input, in the model's order: of an array, a list or a dict by name.

    Raises:
        ValueError: If there are more or fewer, or of other names.
    """
    return [array for _, array in _named(x, names, "inputs")]


def targets_of(y: Any, names: Sequence[str]) -> list[tuple[str, Array]]:
    """What outputs should give, ``[samples, ...]`` each, with the output's name."""
    if y is None:
        return []
    if isinstance(y, dict):
        return [(name, y[name]) for name in names if name in y]
    return _named(y, names, "outputs")


def _named(values: Any, names: Sequence[str], what: str) -> list[tuple[str, Array]]:
    if isinstance(values, dict):
        if set(values) != set(names):
            raise ValueError(f"there are arrays for {sorted(values)}, the model's {what} are {list(names)}")
        values = [values[name] for name in names]
    elif len(names) == 1:
        single = isinstance(values, (list, tuple)) and len(values) == 1 and hasattr(values[0], "shape")
        values = [values[0] if single else values]
    elif not isinstance(values, (list, tuple)) or len(values) != len(names):
        raise ValueError(f"the model has {len(names)} {what}: {list(names)}; give a list or a dict of as many arrays")
    return [(name, np.asarray(value)) for name, value in zip(names, values)]


def is_batches(x: Any) -> bool:
    """Whether these are batches of samples rather than arrays: a data set, a generator, a Sequence of Keras'."""
    return not isinstance(x, (list, tuple, dict)) and not hasattr(x, "shape") and hasattr(x, "__iter__")


def joined(batches: Iterable[Any], steps: int | None = None) -> tuple[Any, Any]:
    """All samples of batches ``(x, y)`` or ``x``; of the first ``steps`` where a number is given.

    Raises:
        ValueError: If there is no batch, or one has weights of samples.
    """
    taken: list[Any] = []
    # What gives batches by number, as Keras' Sequence, may go on for ever when it is walked through.
    count = len(batches) if isinstance(batches, Sized) and hasattr(batches, "__getitem__") else steps
    for batch in batches:
        taken.append(batch if isinstance(batch, tuple) else (batch, None))
        if count is not None and len(taken) >= (count if steps is None else min(count, steps)):
            break
    if not taken:
        raise ValueError("there are no samples")
    if any(len(batch) > 2 for batch in taken):
        raise ValueError("weights of samples are not supported; weights of classes are (class_weight)")
    return _stack([batch[0] for batch in taken]), _stack([batch[1] for batch in taken if len(batch) > 1])


def _stack(parts: list[Any]) -> Any:
    first = parts[0] if parts else None
    if first is None:
        return None
    if isinstance(first, (list, tuple)):
        return [_stack([part[place] for part in parts]) for place in range(len(first))]
    if isinstance(first, dict):
        return {name: _stack([part[name] for part in parts]) for name in first}
    return np.concatenate([np.asarray(part) for part in parts])
