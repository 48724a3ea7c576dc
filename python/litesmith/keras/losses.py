"""``tf.keras.losses``: what is made small. Options mean what they mean in Keras."""

from __future__ import annotations

from typing import Any

from .described import Described

_MEAN = "sum_over_batch_size"


class Loss(Described):
    """A loss of Keras'."""

    def __init__(self, reduction: str, name: str, **config: Any) -> None:
        super().__init__(**config, reduction=reduction, name=name)


class SparseCategoricalCrossentropy(Loss):
    """Cross-entropy of class numbers ``[batch]`` and logits or probabilities ``[batch, classes]``."""

    def __init__(
        self,
        from_logits: bool = False,
        ignore_class: int | None = None,
        reduction: str = _MEAN,
        name: str = "sparse_categorical_crossentropy",
    ) -> None:
        super().__init__(reduction, name, from_logits=from_logits, ignore_class=ignore_class)


class CategoricalCrossentropy(Loss):
    """Cross-entropy of one-hot rows and logits or probabilities, both ``[batch, classes]``."""

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str = _MEAN,
        name: str = "categorical_crossentropy",
    ) -> None:
        super().__init__(reduction, name, from_logits=from_logits, label_smoothing=label_smoothing, axis=axis)


class BinaryCrossentropy(Loss):
    """Cross-entropy of zeros and ones and logits or probabilities of the same shape."""

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str = _MEAN,
        name: str = "binary_crossentropy",
    ) -> None:
        super().__init__(reduction, name, from_logits=from_logits, label_smoothing=label_smoothing, axis=axis)


class MeanSquaredError(Loss):
    """Mean of squared differences."""

    def __init__(self, reduction: str = _MEAN, name: str = "mean_squared_error") -> None:
        super().__init__(reduction, name)


class MeanAbsoluteError(Loss):
    """Mean of absolute differences."""

    def __init__(self, reduction: str = _MEAN, name: str = "mean_absolute_error") -> None:
        super().__init__(reduction, name)


class MeanAbsolutePercentageError(Loss):
    """Mean of absolute differences in percent of the targets."""

    def __init__(self, reduction: str = _MEAN, name: str = "mean_absolute_percentage_error") -> None:
        super().__init__(reduction, name)


class MeanSquaredLogarithmicError(Loss):
    """Mean of squared differences of ``log(1 + x)``."""

    def __init__(self, reduction: str = _MEAN, name: str = "mean_squared_logarithmic_error") -> None:
        super().__init__(reduction, name)


class Huber(Loss):
    """Squared below ``delta``, linear above."""

    def __init__(self, delta: float = 1.0, reduction: str = _MEAN, name: str = "huber_loss") -> None:
        super().__init__(reduction, name, delta=delta)


class LogCosh(Loss):
    """Mean of the logarithm of the hyperbolic cosine of differences."""

    def __init__(self, reduction: str = _MEAN, name: str = "log_cosh") -> None:
        super().__init__(reduction, name)


class KLDivergence(Loss):
    """Kullback-Leibler divergence of two distributions."""

    def __init__(self, reduction: str = _MEAN, name: str = "kl_divergence") -> None:
        super().__init__(reduction, name)


class Poisson(Loss):
    """Loss of counts."""

    def __init__(self, reduction: str = _MEAN, name: str = "poisson") -> None:
        super().__init__(reduction, name)


class Hinge(Loss):
    """Hinge loss of targets -1 and 1."""

    def __init__(self, reduction: str = _MEAN, name: str = "hinge") -> None:
        super().__init__(reduction, name)


class SquaredHinge(Loss):
    """Squared hinge loss of targets -1 and 1."""

    def __init__(self, reduction: str = _MEAN, name: str = "squared_hinge") -> None:
        super().__init__(reduction, name)


class CategoricalHinge(Loss):
    """Hinge loss of one-hot rows."""

    def __init__(self, reduction: str = _MEAN, name: str = "categorical_hinge") -> None:
        super().__init__(reduction, name)


class CosineSimilarity(Loss):
    """Minus the cosine of the angle between targets and outputs."""

    def __init__(self, axis: int = -1, reduction: str = _MEAN, name: str = "cosine_similarity") -> None:
        super().__init__(reduction, name, axis=axis)


# Keras has functions of these names, too; here each is the name that `compile` takes.
sparse_categorical_crossentropy = "sparse_categorical_crossentropy"
categorical_crossentropy = "categorical_crossentropy"
binary_crossentropy = "binary_crossentropy"
mean_squared_error = mse = "mean_squared_error"
mean_absolute_error = mae = "mean_absolute_error"
