"""``tf.keras.callbacks``: what happens between epochs."""

from __future__ import annotations

import csv
import math
import os
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..errors import LitesmithWarning

if TYPE_CHECKING:
    from .model import Model

Logs = dict[str, float]


class Callback:
    """Is told when training and its epochs begin and end. Steps are not told: they do not run in Python."""

    model: Model
    params: dict[str, Any]

    def set_model(self, model: Model) -> None:
        """The model that is trained."""
        self.model = model

    def set_params(self, params: dict[str, Any]) -> None:
        """``epochs``, ``steps`` and ``verbose``."""
        self.params = params

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Before the first epoch."""

    def on_train_end(self, logs: Logs | None = None) -> None:
        """After the last epoch."""

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Before an epoch, from 0."""

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """After an epoch; ``logs`` holds the losses and metrics."""


_OF_STEPS = ("on_train_batch_begin", "on_train_batch_end", "on_batch_begin", "on_batch_end")


def warn_of_steps(callback: Any) -> None:
    """Warns where a callback of the caller's own waits for steps, which are not told."""
    own = type(callback)
    if own.__module__.split(".")[0] in ("litesmith", "keras", "tf_keras"):
        return
    if missed := [name for name in _OF_STEPS if name in vars(own)]:
        text = f"{own.__name__}.{missed[0]} is not called: steps do not run in Python"
        warnings.warn(text, LitesmithWarning, stacklevel=4)


class LambdaCallback(Callback):
    """Calls functions."""

    def __init__(
        self,
        on_epoch_begin: Callable[..., Any] | None = None,
        on_epoch_end: Callable[..., Any] | None = None,
        on_train_begin: Callable[..., Any] | None = None,
        on_train_end: Callable[..., Any] | None = None,
    ) -> None:
        for name, function in {
            "on_epoch_begin": on_epoch_begin,
            "on_epoch_end": on_epoch_end,
            "on_train_begin": on_train_begin,
            "on_train_end": on_train_end,
        }.items():
            if function is not None:
                setattr(self, name, function)


class _Watching(Callback):
    """Looks at a metric, and knows what is better."""

    def __init__(self, monitor: str, mode: str, min_delta: float) -> None:
        if mode not in ("auto", "min", "max"):
            raise ValueError(f"mode must be auto, min or max, not {mode}")
        self.monitor, self.min_delta = monitor, abs(min_delta)
        upward = any(word in monitor for word in ("acc", "auc", "precision", "recall"))
        self.upward = mode == "max" or (mode == "auto" and upward)
        self.best: float | None = None

    def value(self, logs: Logs | None) -> float | None:
        """The metric's value, if it is there."""
        if self.monitor in (logs or {}):
            return float((logs or {})[self.monitor])
        known = ", ".join(logs or {})
        text = f"{type(self).__name__} watches {self.monitor}, which is not there; there are {known}"
        warnings.warn(text, LitesmithWarning, stacklevel=3)
        return None

    def improves(self, value: float, reference: float | None) -> bool:
        """Whether a value is better than another by more than ``min_delta``."""
        if reference is None:
            return True
        return value - self.min_delta > reference if self.upward else value + self.min_delta < reference


class EarlyStopping(_Watching):
    """Ends training when a metric has not got better for ``patience`` epochs."""

    def __init__(
        self,
        monitor: str = "val_loss",
        min_delta: float = 0,
        patience: int = 0,
        verbose: int = 0,
        mode: str = "auto",
        baseline: float | None = None,
        restore_best_weights: bool = False,
        start_from_epoch: int = 0,
    ) -> None:
        super().__init__(monitor, mode, min_delta)
        self.patience, self.verbose, self.baseline = patience, verbose, baseline
        self.restore_best_weights, self.start_from_epoch = restore_best_weights, start_from_epoch
        self.stopped_epoch, self.wait = 0, 0
        self.best_weights: list[Any] | None = None

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self.best, self.best_weights, self.stopped_epoch, self.wait = None, None, 0, 0

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        value = self.value(logs)
        if value is None or epoch < self.start_from_epoch:
            return
        self.wait += 1
        if self.restore_best_weights and self.best_weights is None:
            self.best_weights = self.model.get_weights()
        if self.improves(value, self.best):
            self.best = value
            if self.restore_best_weights:
                self.best_weights = self.model.get_weights()
            if self.baseline is None or self.improves(value, self.baseline):
                self.wait = 0
            return
        if self.wait >= self.patience and epoch > 0:
            self.stopped_epoch, self.model.stop_training = epoch, True

    def on_train_end(self, logs: Logs | None = None) -> None:
        if self.stopped_epoch > 0 and self.verbose:
            print(f"Epoch {self.stopped_epoch + 1}: early stopping")
        if self.restore_best_weights and self.best_weights is not None:
            self.model.set_weights(self.best_weights)


class ReduceLROnPlateau(_Watching):
    """Multiplies the learning rate by ``factor`` when a metric has not got better for ``patience`` epochs."""

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        verbose: int = 0,
        mode: str = "auto",
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
    ) -> None:
        super().__init__(monitor, mode, min_delta)
        self.factor, self.patience, self.verbose = factor, patience, verbose
        self.cooldown, self.min_lr = cooldown, min_lr
        self.wait, self.rest = 0, 0

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        value = self.value(logs)
        if value is None:
            return
        if self.rest > 0:
            self.rest, self.wait = self.rest - 1, 0
        if self.improves(value, self.best):
            self.best, self.wait = value, 0
        elif self.rest == 0:
            self.wait += 1
            rate = float(self.model.optimizer.learning_rate)
            if self.wait >= self.patience and rate > self.min_lr:
                self.model.optimizer.learning_rate = max(rate * self.factor, self.min_lr)
                self.rest, self.wait = self.cooldown, 0
                if self.verbose:
                    print(f"Epoch {epoch + 1}: learning rate {self.model.optimizer.learning_rate}")


class LearningRateScheduler(Callback):
    """Sets the learning rate of each epoch: ``schedule(epoch)`` or ``schedule(epoch, learning_rate)``."""

    def __init__(self, schedule: Callable[..., float], verbose: int = 0) -> None:
        self.schedule, self.verbose = schedule, verbose

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        rate = self.model.optimizer.learning_rate
        try:
            self.model.optimizer.learning_rate = float(self.schedule(epoch, rate))
        except TypeError:
            self.model.optimizer.learning_rate = float(self.schedule(epoch))
        if self.verbose:
            print(f"Epoch {epoch + 1}: learning rate {self.model.optimizer.learning_rate}")


class ModelCheckpoint(_Watching):
    """Saves the model behind epochs; ``{epoch}`` and names of metrics in the path are filled in."""

    def __init__(
        self,
        filepath: str | os.PathLike[str],
        monitor: str = "val_loss",
        verbose: int = 0,
        save_best_only: bool = False,
        save_weights_only: bool = False,
        mode: str = "auto",
        save_freq: str = "epoch",
    ) -> None:
        super().__init__(monitor, mode, 0.0)
        if save_weights_only:
            raise NotImplementedError("weights are not saved alone; leave save_weights_only out")
        if save_freq != "epoch":
            raise NotImplementedError("models are saved behind epochs: save_freq='epoch'")
        self.filepath, self.verbose, self.save_best_only = os.fspath(filepath), verbose, save_best_only

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if self.save_best_only:
            value = self.value(logs)
            if value is None or not self.improves(value, self.best):
                return
            self.best = value
        path = self.filepath.format(epoch=epoch + 1, **(logs or {}))
        self.model.save(path)
        if self.verbose:
            print(f"Epoch {epoch + 1}: saved to {path}")


class CSVLogger(Callback):
    """Writes the results of epochs into a table."""

    def __init__(self, filename: str | os.PathLike[str], separator: str = ",", append: bool = False) -> None:
        self.filename, self.separator, self.append = filename, separator, append

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._head = not (self.append and os.path.exists(self.filename) and os.path.getsize(self.filename))
        if not self.append:
            open(self.filename, "w").close()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        with open(self.filename, "a", newline="") as file:
            writer = csv.writer(file, delimiter=self.separator)
            if self._head:
                writer.writerow(["epoch", *(logs or {})])
                self._head = False
            writer.writerow([epoch, *(logs or {}).values()])


class TerminateOnNaN(Callback):
    """Ends training when a loss is no number, which litesmith reports as an error by itself."""

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if not math.isfinite((logs or {}).get("loss", 0.0)):
            self.model.stop_training = True


class TensorBoard(Callback):
    """Has no effect: no summaries are written."""

    def __init__(self, log_dir: str = "logs", **_options: Any) -> None:
        text = "TensorBoard has no effect: no summaries are written"
        warnings.warn(text, LitesmithWarning, stacklevel=2)


class History(Callback):
    """What the epochs have shown: ``history`` has a list for each loss and metric."""

    def __init__(self) -> None:
        self.history: dict[str, list[float]] = {}
        self.epoch: list[int] = []

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self.epoch.append(epoch)
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(value)
