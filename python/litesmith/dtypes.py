"""Element types by TensorFlow's names: ``litesmith.int8`` is what ``tf.int8`` is in scripts."""

from __future__ import annotations

from typing import Any


class DType:
    """An element type. It equals its name and NumPy's type of the same name."""

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def as_numpy_dtype(self) -> Any:
        """NumPy's scalar type."""
        import numpy

        return numpy.dtype(self.name).type

    def __eq__(self, other: object) -> bool:
        return name_of(other) == self.name

    def __hash__(self) -> int:
        return hash(self.name)

    def __repr__(self) -> str:
        return f"litesmith.{self.name}"


def name_of(dtype: object) -> str | None:
    """The name of a type given as ours, TensorFlow's, NumPy's or by name; ``None`` for anything else."""
    if isinstance(dtype, str):
        return dtype
    name = getattr(dtype, "name", None)
    if isinstance(name, str):
        return name
    return dtype.__name__ if isinstance(dtype, type) else None


float16 = DType("float16")
float32 = DType("float32")
float64 = DType("float64")
int8 = DType("int8")
int16 = DType("int16")
int32 = DType("int32")
int64 = DType("int64")
uint8 = DType("uint8")
bool_ = DType("bool")
