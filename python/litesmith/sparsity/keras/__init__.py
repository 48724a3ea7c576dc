"""``tfmot.sparsity.keras``: models that are pruned while they are trained."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import LitesmithWarning
from ...keras.callbacks import Callback, Logs
from ...keras.layers import Layer
from ...keras.live import held, library_of
from ...keras.model import Model
from ...keras.pruned import Pruning

__all__ = [
    "ConstantSparsity",
    "PolynomialDecay",
    "PruneForLatencyOnXNNPack",
    "PruningSummaries",
    "PruningSchedule",
    "UpdatePruningStep",
    "prune_low_magnitude",
    "prune_scope",
    "strip_pruning",
]

# What marks a layer of a live model.
_MARK = "_litesmith_prune"


@dataclasses.dataclass(frozen=True)
class PruningSchedule:
    """Which share of the weights is pruned at which step."""

    initial_sparsity: float | None
    final_sparsity: float
    begin_step: int
    end_step: int
    power: float
    frequency: int


class ConstantSparsity(PruningSchedule):
    """The same share from ``begin_step`` on; ``end_step`` -1 is the end of training."""

    def __init__(
        self, target_sparsity: float, begin_step: int, end_step: int = -1, frequency: int = 100
    ) -> None:
        super().__init__(None, target_sparsity, begin_step, end_step, 3.0, frequency)


class PolynomialDecay(PruningSchedule):
    """From one share to another, fast at first."""

    def __init__(
        self,
        initial_sparsity: float,
        final_sparsity: float,
        begin_step: int,
        end_step: int,
        power: float = 3,
        frequency: int = 100,
    ) -> None:
        super().__init__(initial_sparsity, final_sparsity, begin_step, end_step, float(power), frequency)


class PruneForLatencyOnXNNPack:
    """Prunes 1x1 convolutions of step 1, which XNNPACK has sparse kernels for."""

    def __init__(self) -> None:
        text = (
            "PruneForLatencyOnXNNPack is the relaxed policy here: it prunes every 1x1 convolution of step 1, and asks "
            "nothing of the layers around them"
        )
        warnings.warn(text, LitesmithWarning, stacklevel=2)


def prune_low_magnitude(
    to_prune: Any,
    pruning_schedule: PruningSchedule = ConstantSparsity(0.5, 0),
    block_size: tuple[int, int] = (1, 1),
    block_pooling_type: str = "AVG",
    pruning_policy: Any = None,
    sparsity_m_by_n: tuple[int, int] | None = None,
) -> Any:
    """A model that loses the weights of least magnitude while it is trained, with the same weights now.

    ``fit`` needs no `UpdatePruningStep`, and the converter no `strip_pruning`.

    Args:
        to_prune: A model of `litesmith.keras`, or a live one of Keras 3 or tf_keras; or one of its layers, in the
            function of ``clone_model``.
        pruning_schedule: `PolynomialDecay` or `ConstantSparsity`.
        block_size: Weights of a matrix ``[in, out]`` that go together.
        block_pooling_type: How large a block is: ``AVG`` or ``MAX`` of its magnitudes.
        pruning_policy: `PruneForLatencyOnXNNPack`, or all layers with kernels.
        sparsity_m_by_n: Instead of blocks: ``(2, 4)`` prunes 2 of each 4 inputs.
    """
    pruning = _pruning(pruning_schedule, tuple(block_size), block_pooling_type, pruning_policy, sparsity_m_by_n)
    if isinstance(to_prune, Layer):
        to_prune.prune = pruning
        return to_prune
    if not isinstance(to_prune, Model) and library_of(to_prune) is None:
        # A layer of a live model.
        object.__setattr__(to_prune, _MARK, pruning)
        return to_prune
    model = held(to_prune).copy()
    model.pruning = pruning
    return model


def _pruning(
    schedule: PruningSchedule,
    block: tuple[int, ...],
    pooling: str,
    policy: Any,
    m_by_n: tuple[int, int] | None,
) -> Pruning:
    if policy is not None and not isinstance(policy, PruneForLatencyOnXNNPack):
        raise NotImplementedError(f"the policy {type(policy).__name__} is not supported")
    structure = "unstructured"
    if m_by_n is not None:
        structure = f"{m_by_n[1] - m_by_n[0]}:{m_by_n[1]}"
    elif block != (1, 1):
        largest = {"AVG": "", "MAX": ":max"}[pooling.upper()]
        # Blocks are named from the output here, from the input there.
        structure = f"block:{block[1]}x{block[0]}{largest}"
    return Pruning(
        initial_sparsity=schedule.initial_sparsity,
        sparsity=schedule.final_sparsity,
        begin=schedule.begin_step,
        end=None if schedule.end_step < 0 else schedule.end_step,
        frequency=schedule.frequency,
        power=schedule.power,
        policy="all" if policy is None else "xnnpack",
        structure=structure,
    )


def strip_pruning(model: Any) -> Model:
    """A model of the weights as they are, zeros included, that is not pruned further."""
    stripped = held(model).copy()
    stripped.pruning = None
    return stripped


class UpdatePruningStep(Callback):
    """Needed by TensorFlow to prune at all; here `fit` does it."""


class PruningSummaries(Callback):
    """Writes the share of zeros of every layer behind each epoch into ``log_dir/pruning.csv``."""

    def __init__(self, log_dir: str, update_freq: Any = "epoch") -> None:
        if not log_dir:
            raise ValueError("`log_dir` must be provided")
        if update_freq != "epoch":
            raise ValueError("summaries are written behind epochs: update_freq='epoch'")
        self.path = Path(log_dir) / "pruning.csv"

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path, "w", newline="") as file:
            csv.writer(file).writerow(["epoch", "layer", "variable", "sparsity"])

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        with open(self.path, "a", newline="") as file:
            writer = csv.writer(file)
            for layer, variable, trained, value in self.model.learner.weights():
                if trained and value.ndim > 1:
                    writer.writerow([epoch, layer, variable, 1 - np.count_nonzero(value) / value.size])


@contextlib.contextmanager
def prune_scope() -> Iterator[None]:
    """Needed by TensorFlow to load pruned models; here they are read without it."""
    yield
