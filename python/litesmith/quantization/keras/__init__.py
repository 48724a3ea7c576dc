"""``tfmot.quantization.keras``: models that are trained to be quantized."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from ...keras.layers import Layer
from ...keras.live import held
from ...keras.model import Model

__all__ = ["quantize_annotate_layer", "quantize_annotate_model", "quantize_apply", "quantize_model", "quantize_scope"]

# What marks a layer of a live model.
_MARK = "_litesmith_quantize"


def quantize_model(to_quantize: Any, quantized_layer_name_prefix: str = "quant_") -> Model:
    """A model that simulates integers of 8 bits while it is trained, with the same weights.

    Every layer that the converter would quantize is simulated; there is no list of layers that are refused. The
    result is compiled and fitted as usual, and converts to integers without samples. Names of layers stay.

    Args:
        to_quantize: A model of `litesmith.keras`, or a live one of Keras 3 or tf_keras.
    """
    model = held(to_quantize).copy()
    model.recipe = {}
    return model


def quantize_annotate_layer(to_annotate: Any, quantize_config: Any = None) -> Any:
    """Marks a layer for `quantize_apply`, which leaves all others float. Returns the layer."""
    if quantize_config is not None:
        raise NotImplementedError("a QuantizeConfig runs in Python; layers are quantized as the converter does it")
    if isinstance(to_annotate, Layer):
        to_annotate.quantize = True
    else:
        object.__setattr__(to_annotate, _MARK, True)
    return to_annotate


def quantize_annotate_model(to_annotate: Any) -> Any:
    """Marks all layers of a model for `quantize_apply`. Returns the model."""
    for layer in to_annotate.layers:
        quantize_annotate_layer(layer)
    return to_annotate


def quantize_apply(model: Any, scheme: Any = None, quantized_layer_name_prefix: str = "quant_") -> Model:
    """As `quantize_model`, but for the layers only that are marked.

    Raises:
        ValueError: If no layer is marked.
    """
    if scheme is not None and type(scheme).__name__ != "Default8BitQuantizeScheme":
        raise NotImplementedError(f"the scheme {type(scheme).__name__} is not supported; leave it out")
    marked = [pattern for layer in model.layers if _is_marked(layer) for pattern in _patterns(layer)]
    if not marked:
        raise ValueError(
            "`model` must contain at least one layer which have been annotated with `quantize_annotate*`."
        )
    quantized = held(model).copy()
    # Later rules win.
    rules: list[dict[str, Any]] = [{"skip": True}]
    rules += [{"layers": pattern, "skip": False} for pattern in marked]
    quantized.recipe = {"rule": rules}
    return quantized


def _is_marked(layer: Any) -> bool:
    return layer.quantize if isinstance(layer, Layer) else getattr(layer, _MARK, False)


def _patterns(layer: Any) -> list[str]:
    """The names of a layer, and of those that it is made of."""
    made_of_others = any(part in layer.get_config() for part in ("layer", "layers"))
    return [layer.name, f"{layer.name}/*"] if made_of_others else [layer.name]


@contextlib.contextmanager
def quantize_scope(*_custom_objects: Any) -> Iterator[None]:
    """Needed by TensorFlow to load quantized models; here they are read without it."""
    yield
