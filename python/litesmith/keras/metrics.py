"""``tf.keras.metrics``: what else is measured."""

from __future__ import annotations

from typing import Any

from .described import Described


class Metric(Described):
    """A metric of Keras'; ``name`` is what it is called in results."""

    def __init__(self, name: str, dtype: str | None = None, **config: Any) -> None:
        super().__init__(**config, name=name, dtype=dtype)


class Accuracy(Metric):
    """Share of outputs that equal their targets."""

    def __init__(self, name: str = "accuracy", dtype: str | None = None) -> None:
        super().__init__(name, dtype)


class SparseCategoricalAccuracy(Metric):
    """Share of samples whose largest output is their class number."""

    def __init__(self, name: str = "sparse_categorical_accuracy", dtype: str | None = None) -> None:
        super().__init__(name, dtype)


class CategoricalAccuracy(Metric):
    """Share of samples whose largest output is where their one-hot row has its 1."""

    def __init__(self, name: str = "categorical_accuracy", dtype: str | None = None) -> None:
        super().__init__(name, dtype)


class BinaryAccuracy(Metric):
    """Share of outputs on the right side of a threshold."""

    def __init__(
        self, name: str = "binary_accuracy", dtype: str | None = None, threshold: float = 0.5
    ) -> None:
        super().__init__(name, dtype, threshold=threshold)


class SparseTopKCategoricalAccuracy(Metric):
    """Share of samples whose class number is among the ``k`` largest outputs."""

    def __init__(
        self, k: int = 5, name: str = "sparse_top_k_categorical_accuracy", dtype: str | None = None
    ) -> None:
        super().__init__(name, dtype, k=k)


class TopKCategoricalAccuracy(Metric):
    """Share of samples whose one-hot class is among the ``k`` largest outputs."""

    def __init__(
        self, k: int = 5, name: str = "top_k_categorical_accuracy", dtype: str | None = None
    ) -> None:
        super().__init__(name, dtype, k=k)


class MeanSquaredError(Metric):
    """Mean of squared differences."""

    def __init__(self, name: str = "mean_squared_error", dtype: str | None = None) -> None:
        super().__init__(name, dtype)


class RootMeanSquaredError(Metric):
    """Root of the mean of squared differences."""

    def __init__(self, name: str = "root_mean_squared_error", dtype: str | None = None) -> None:
        super().__init__(name, dtype)


class MeanAbsoluteError(Metric):
    """Mean of absolute differences."""

    def __init__(self, name: str = "mean_absolute_error", dtype: str | None = None) -> None:
        super().__init__(name, dtype)


class Precision(Metric):
    """Share of positives that are right."""

    def __init__(
        self, thresholds: float | None = None, name: str = "precision", dtype: str | None = None
    ) -> None:
        super().__init__(name, dtype, thresholds=thresholds)


class Recall(Metric):
    """Share of true ones that are found."""

    def __init__(
        self, thresholds: float | None = None, name: str = "recall", dtype: str | None = None
    ) -> None:
        super().__init__(name, dtype, thresholds=thresholds)


class AUC(Metric):
    """Area under the ROC or precision-recall curve."""

    def __init__(
        self,
        num_thresholds: int = 200,
        curve: str = "ROC",
        name: str = "auc",
        dtype: str | None = None,
        from_logits: bool = False,
    ) -> None:
        super().__init__(name, dtype, num_thresholds=num_thresholds, curve=curve, from_logits=from_logits)
