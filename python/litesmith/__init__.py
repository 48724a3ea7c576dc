"""Makes neural networks small and fast on a CPU, without TensorFlow.

Scripts for TensorFlow Lite and its model optimization toolkit run with only their import lines changed::

    import litesmith as tf          # tf.lite.*, tf.int8, tf.keras.*
    import litesmith as tfmot       # tfmot.quantization.keras, tfmot.sparsity.keras
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ._litesmith import VERSION as __version__
from .dtypes import DType, float16, float32, float64, int8, int16, int32, int64, uint8
from .errors import (
    BrokenError,
    CheckError,
    FailedError,
    LimitError,
    LitesmithError,
    LitesmithWarning,
    UnsupportedError,
    UsageError,
)

if TYPE_CHECKING:
    from . import data, keras, lite, quantization, sparsity

_PARTS = ("data", "keras", "lite", "quantization", "sparsity")

__all__ = [
    "BrokenError",
    "CheckError",
    "DType",
    "FailedError",
    "LimitError",
    "LitesmithError",
    "LitesmithWarning",
    "UnsupportedError",
    "UsageError",
    "__version__",
    "data",
    "float16",
    "float32",
    "float64",
    "int16",
    "int32",
    "int64",
    "int8",
    "keras",
    "lite",
    "quantization",
    "sparsity",
    "uint8",
]


def __getattr__(name: str) -> Any:
    # Parts are loaded when they are asked for, so that the import is quick.
    if name in _PARTS:
        return importlib.import_module(f".{name}", __name__)
    raise AttributeError(f"litesmith has no '{name}'; of TensorFlow's modules it has {', '.join(_PARTS)}")


def __dir__() -> list[str]:
    return __all__
