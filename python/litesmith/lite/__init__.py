"""``tf.lite``: the converter and the interpreter."""

from __future__ import annotations

from .converter import TFLiteConverter
from .interpreter import Interpreter, OpResolverType, SignatureRunner
from .target import OpsSet, Optimize, RepresentativeDataset, TargetSpec

__all__ = [
    "Interpreter",
    "OpResolverType",
    "OpsSet",
    "Optimize",
    "RepresentativeDataset",
    "SignatureRunner",
    "TFLiteConverter",
    "TargetSpec",
    "experimental",
]


class experimental:
    """What scripts find under ``tf.lite.experimental``."""

    OpResolverType = OpResolverType
