"""Small models that use every ordinary Keras layer, built alike with Keras 3 and tf_keras.

Each function of the modules takes the package (`keras` or `tf_keras`) and returns a model. A model is about one thing,
so that a failure says what is wrong.
"""

from layer_models import (  # noqa: F401
    activations,
    combining,
    convolutions,
    normalization,
    recurrent,
    sequences,
    shapes,
    structure,
)
from layer_models.registry import CASES, SAMPLES

__all__ = ["CASES", "SAMPLES"]
