"""``tf.data.Dataset`` as far as scripts use it to feed samples: arrays, cut into batches."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np


class Dataset:
    """Elements one after the other: arrays, or tuples or dicts of them. It can be walked through again."""

    def __init__(self, make: Callable[[], Iterator[Any]]) -> None:
        self._make = make

    def __iter__(self) -> Iterator[Any]:
        return self._make()

    @staticmethod
    def from_tensor_slices(tensors: Any) -> Dataset:
        """The entries along the first axis of an array, or of each array of a tuple or dict."""
        arrays = _each(tensors, np.asarray)
        counts = {len(array) for array in _leaves(arrays)}
        if len(counts) != 1:
            raise ValueError(f"all arrays need the same number of entries, these have {sorted(counts)}")
        count = counts.pop()
        return Dataset(lambda: (_each(arrays, lambda array, i=i: array[i]) for i in range(count)))

    @staticmethod
    def from_generator(generator: Callable[[], Iterator[Any]], **_signature: Any) -> Dataset:
        """What a generator yields; its signature is not needed."""
        return Dataset(lambda: iter(generator()))

    def batch(self, batch_size: int, drop_remainder: bool = False) -> Dataset:
        """So many elements at a time, stacked along a new first axis."""

        def batches() -> Iterator[Any]:
            elements = iter(self)
            while chunk := list(itertools.islice(elements, batch_size)):
                if len(chunk) == batch_size or not drop_remainder:
                    yield _stack(chunk)

        return Dataset(batches)

    def take(self, count: int) -> Dataset:
        """The first elements; all for -1."""
        return Dataset(lambda: itertools.islice(iter(self), None if count < 0 else count))

    def skip(self, count: int) -> Dataset:
        """All but the first elements."""
        return Dataset(lambda: itertools.islice(iter(self), count, None))

    def map(self, function: Callable[..., Any], num_parallel_calls: int | None = None) -> Dataset:
        """What a function makes of each element; tuples are its arguments."""
        return Dataset(lambda: (function(*e) if isinstance(e, tuple) else function(e) for e in self))

    def shuffle(self, buffer_size: int, seed: int | None = None) -> Dataset:
        """The elements in random order."""

        def shuffled() -> Iterator[Any]:
            elements = list(self)
            order = np.random.default_rng(seed).permutation(len(elements))
            return (elements[i] for i in order)

        return Dataset(shuffled)

    def prefetch(self, buffer_size: int | None = None) -> Dataset:
        """The same elements."""
        return self

    def cache(self) -> Dataset:
        """The same elements, made once."""
        kept: list[Any] = []

        def again() -> Iterator[Any]:
            if not kept:
                kept.extend(self)
            return iter(kept)

        return Dataset(again)

    def as_numpy_iterator(self) -> Iterator[Any]:
        """The elements."""
        return iter(self)


AUTOTUNE = -1


def _each(tensors: Any, function: Callable[..., Any]) -> Any:
    if isinstance(tensors, tuple):
        return tuple(_each(tensor, function) for tensor in tensors)
    if isinstance(tensors, dict):
        return {name: _each(tensor, function) for name, tensor in tensors.items()}
    return function(tensors)


def _leaves(tensors: Any) -> Iterator[Any]:
    if isinstance(tensors, (tuple, dict)):
        for tensor in tensors.values() if isinstance(tensors, dict) else tensors:
            yield from _leaves(tensor)
    else:
        yield tensors


def _stack(chunk: list[Any]) -> Any:
    first = chunk[0]
    if isinstance(first, tuple):
        return tuple(_stack([element[place] for element in chunk]) for place in range(len(first)))
    if isinstance(first, dict):
        return {name: _stack([element[name] for element in chunk]) for name in first}
    return np.stack([np.asarray(element) for element in chunk])
