"""Live models of Keras 3 (any backend) and tf_keras: written to a file that litesmith reads."""

from __future__ import annotations

import importlib
import tempfile
from pathlib import Path
from typing import Any

from .model import Model


def library_of(model: Any) -> str | None:
    """``keras`` or ``tf_keras`` for a live model of theirs."""
    for parent in type(model).__mro__:
        name = parent.__module__.split(".")[0]
        if name in ("keras", "tf_keras") and parent.__name__ in ("Model", "Sequential", "Functional"):
            return name
    return None


def held(model: Any) -> Model:
    """A model as litesmith holds it; a live one is saved to a temporary file and read.

    Raises:
        TypeError: If it is no model.
        NotImplementedError: If it has layers that are not supported; all of them are listed.
    """
    if isinstance(model, Model):
        return model
    library = library_of(model)
    if library is None:
        raise TypeError(f"{type(model).__name__} is no model of litesmith.keras, Keras or tf_keras")
    with tempfile.TemporaryDirectory(prefix="litesmith-") as folder:
        path = Path(folder) / "model.keras"
        model.save(path)
        taken = Model.from_bytes(path.read_bytes())
    taken.library = library
    return taken


def live(model: Model) -> Any:
    """The model as one of the library that it came from, else of Keras, with its weights as they are."""
    library = importlib.import_module(model.library or "keras")
    with tempfile.TemporaryDirectory(prefix="litesmith-") as folder:
        path = Path(folder) / ("model.h5" if model.format == "H5" else "model.keras")
        path.write_bytes(model.to_bytes())
        return library.models.load_model(path, compile=False)
