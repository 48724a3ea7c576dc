"""``tfmot.quantization``."""

from . import keras

__all__ = ["keras"]
