"""``tfmot.sparsity``."""

from . import keras

__all__ = ["keras"]
