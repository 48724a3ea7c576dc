"""The cases of `support.py`: small models for every layer class, every operation of keras.ops, every application."""

from support_cases import applications, layers, operations, recurrent
from support_cases.registry import Case, random_inputs

LAYERS = {**layers.CASES, **recurrent.CASES}
OPERATIONS = operations.CASES
APPLICATIONS = applications.CASES

__all__ = ["APPLICATIONS", "LAYERS", "OPERATIONS", "Case", "random_inputs"]
