"""``tf.keras`` as far as scripts need it that train, prune or convert models which they have."""

from __future__ import annotations

from . import callbacks, layers, losses, metrics, models, optimizers
from .callbacks import History
from .model import Model

__all__ = ["History", "Model", "callbacks", "layers", "losses", "metrics", "models", "optimizers"]


def __getattr__(name: str) -> object:
    raise AttributeError(
        f"litesmith.keras has no '{name}'; it has {', '.join(__all__)}. Models are built with Keras itself, on any backend, "
        "and handed over as they are"
    )
