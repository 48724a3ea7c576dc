"""Layers as handles: what a model's file says of each, and what is asked for it. They are not built here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np


class Layer:
    """A layer of a model: ``name``, the ``class_name`` that it has in Keras, its options and weights."""

    class_name = "Layer"

    def __init__(self, *_arguments: Any, **_options: Any) -> None:
        raise NotImplementedError(
            "layers are not built here; build the model with Keras (on any backend) and hand it over, or load it "
            "with litesmith.keras.models.load_model"
        )

    name: str
    #: Whether it is to be quantized, and how it is to be pruned, where its model is rebuilt with it.
    quantize: bool
    prune: Any
    _config: dict[str, Any]
    _weights: Callable[[str], list[np.ndarray[Any, Any]]]

    def get_config(self) -> dict[str, Any]:
        """The options as the file has them."""
        return dict(self._config)

    def get_weights(self) -> list[np.ndarray[Any, Any]]:
        """Copies of its weights, as Keras orders and shapes them."""
        return self._weights(self.name)

    @property
    def weights(self) -> list[np.ndarray[Any, Any]]:
        """Copies of its weights."""
        return self.get_weights()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} name={self.name}>"


_classes: dict[str, type[Layer]] = {}


def class_of(name: str) -> type[Layer]:
    """The class of all layers that Keras calls so, for ``isinstance(layer, tf.keras.layers.Dense)``."""
    if name not in _classes:
        _classes[name] = type(name, (Layer,), {"class_name": name, "__module__": __name__})
    return _classes[name]


def handle(
    class_name: str, name: str, config: dict[str, Any], weights: Callable[[str], list[Any]]
) -> Layer:
    """A layer of a model."""
    layer = object.__new__(class_of(class_name))
    layer.name, layer._config, layer._weights = name, config, weights
    layer.quantize, layer.prune = False, None
    return layer


def copy_of(layer: Layer) -> Layer:
    """Another handle of the same layer."""
    copy = handle(layer.class_name, layer.name, layer._config, layer._weights)
    copy.quantize, copy.prune = layer.quantize, layer.prune
    return copy


def __getattr__(name: str) -> type[Layer]:
    if name[:1].isupper():
        return class_of(name)
    raise AttributeError(f"litesmith.keras.layers has no '{name}'")
