"""``tf.keras.models``: models from files, and models made of others."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from .layers import Layer, copy_of
from .live import held
from .model import Model

__all__ = ["Model", "clone_model", "load_model", "save_model"]


def load_model(
    filepath: str | os.PathLike[str],
    custom_objects: dict[str, Any] | None = None,
    compile: bool = True,
    safe_mode: bool = True,
) -> Model:
    """Reads a `.keras` or `.h5` file of any Keras, or another file that litesmith reads. No code in it is run.

    Args:
        filepath: The file.
        custom_objects: Not needed: layers of the caller's own are not supported.
        compile: Whether losses, metrics and the optimizer that the file names are taken up.
        safe_mode: Has no other value here: nothing in a file is trusted.

    Raises:
        ValueError: If the file is missing or broken.
        NotImplementedError: If it has layers that are not supported; all of them are listed.
    """
    model = Model.open(filepath)
    if not compile:
        model.compiled = None
    return model


def save_model(model: Any, filepath: str | os.PathLike[str], overwrite: bool = True, **options: Any) -> None:
    """As ``model.save``."""
    held(model).save(filepath, overwrite=overwrite, **options)


def clone_model(model: Any, clone_function: Callable[[Layer], Any] | None = None) -> Model:
    """A model of its own with the same layers and weights.

    ``clone_function`` is asked for each layer; it marks those that ``quantize_annotate_layer`` or
    ``prune_low_magnitude`` are to act on.
    """
    copy = held(model).copy()
    for layer in copy.layers:
        # What the function marks is a handle of the copy's, and not of the model that it came from.
        marked = clone_function(copy_of(layer)) if clone_function else layer
        if not isinstance(marked, Layer):
            raise TypeError(f"clone_function gives {marked!r} for '{layer.name}', which is no layer")
        layer.quantize, layer.prune = marked.quantize, marked.prune
    copy.take_up_marks()
    return copy
