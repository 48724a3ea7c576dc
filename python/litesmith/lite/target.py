"""What a conversion is for: TensorFlow's names."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable
from typing import Any


class Optimize(enum.Enum):
    """How a model is made smaller: all but ``EXPERIMENTAL_SPARSITY`` mean the same, quantization."""

    DEFAULT = "DEFAULT"
    OPTIMIZE_FOR_SIZE = "OPTIMIZE_FOR_SIZE"
    OPTIMIZE_FOR_LATENCY = "OPTIMIZE_FOR_LATENCY"
    #: Leaves zeros out of weights that have many of them.
    EXPERIMENTAL_SPARSITY = "EXPERIMENTAL_SPARSITY"


class OpsSet(enum.Enum):
    """Which operators a model may have."""

    TFLITE_BUILTINS = "TFLITE_BUILTINS"
    SELECT_TF_OPS = "SELECT_TF_OPS"
    #: Integers only; with ``TFLITE_BUILTINS`` beside it, operators without integer kernel stay float.
    TFLITE_BUILTINS_INT8 = "TFLITE_BUILTINS_INT8"
    #: Weights of 8 bits, activations of 16.
    EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8 = (
        "EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8"
    )
    EXPERIMENTAL_STABLEHLO_OPS = "EXPERIMENTAL_STABLEHLO_OPS"

    def __str__(self) -> str:
        return self.value


class TargetSpec:
    """Operators and types of the converted model."""

    def __init__(
        self,
        supported_ops: Iterable[OpsSet] | None = None,
        supported_types: Iterable[Any] | None = None,
        experimental_select_user_tf_ops: Iterable[str] | None = None,
        experimental_supported_backends: Iterable[str] | None = None,
    ) -> None:
        self.supported_ops: Iterable[OpsSet] = (
            [OpsSet.TFLITE_BUILTINS] if supported_ops is None else list(supported_ops)
        )
        #: ``[float16]``: weights of half precision.
        self.supported_types: Iterable[Any] = list(supported_types or [])
        self.experimental_select_user_tf_ops = list(experimental_select_user_tf_ops or [])
        self.experimental_supported_backends = list(experimental_supported_backends or [])


class RepresentativeDataset:
    """A generator of samples, as ``converter.representative_dataset`` takes it, too."""

    def __init__(self, input_gen: Callable[[], Iterable[Any]]) -> None:
        self.input_gen = input_gen

    def __call__(self) -> Iterable[Any]:
        return self.input_gen()
