"""``tf.keras.Model``: a model that is trained, measured, asked and saved."""

from __future__ import annotations

import json
import math
import os
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from .. import _litesmith
from ..errors import LitesmithWarning
from ..progress import Progress
from . import optimizers
from .callbacks import Callback, History, warn_of_steps
from .described import written
from .layers import Layer, handle
from .pruned import Pruning, merged
from .samples import inputs_of, is_batches, joined, targets_of

Array = np.ndarray[Any, Any]


class Model:
    """A model of a Keras file, or of a live one.

    It is trained by litesmith: batches, losses, metrics and optimizers follow Keras 3. What it was quantized or
    pruned for (`litesmith.quantization.keras`, `litesmith.sparsity.keras`) it keeps through `fit`, `save` and the
    converter.
    """

    def __init__(self, learner: _litesmith.Learner) -> None:
        self.learner = learner
        inputs, outputs, self.format, learnt, configuration = learner.describe()
        self.input_names = [name for name, _, _ in inputs]
        self.output_names = [name for name, _ in outputs]
        self._shapes = [shape for _, _, shape in inputs], [shape for _, shape in outputs]
        self._dtypes = [dtype for _, dtype, _ in inputs]
        self._configuration: dict[str, Any] = json.loads(configuration) if configuration else {}
        #: Losses, metrics and so on as JSON; `None` before they are known.
        compiled = self._configuration.get("compile_config")
        self.compiled: dict[str, Any] | None = {} if compiled else None
        self.optimizer: Any = _optimizer((compiled or {}).get("optimizer") or "adam")
        #: The recipe of simulated integers, if there are any.
        self.recipe: dict[str, Any] | None = {} if learnt else None
        self.pruning: Pruning | None = None
        #: The library of the live model that it came from.
        self.library: str | None = None
        self.stop_training = False
        self.history: History | None = None

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Model:
        """Reads a model file."""
        return cls(_litesmith.Learner.open(os.fspath(path)))

    @classmethod
    def from_bytes(cls, content: bytes) -> Model:
        """Reads the bytes of a model file."""
        return cls(_litesmith.Learner.from_bytes(content))

    def copy(self) -> Model:
        """A model of its own with the same weights, quantized and pruned for the same; not compiled."""
        copy = Model.from_bytes(self.to_bytes())
        copy.compiled, copy.recipe, copy.pruning = None, self.recipe, self.pruning
        copy.library = self.library
        return copy

    # What it is.

    @property
    def name(self) -> str:
        """The model's name in its file."""
        return str(self._configuration.get("config", {}).get("name", "model"))

    @property
    def input_shape(self) -> Any:
        """The shape of the input, with ``None`` for free sizes; a list of them for several."""
        return _shape(self._shapes[0])

    @property
    def output_shape(self) -> Any:
        """The shape of the output, with ``None`` for free sizes; a list of them for several."""
        return _shape(self._shapes[1])

    @cached_property
    def layers(self) -> list[Layer]:
        """The layers, as handles."""
        return list(self._handles(self._configuration.get("config", {}).get("layers", []), ""))

    def _handles(self, configurations: Sequence[dict[str, Any]], prefix: str) -> list[Layer]:
        sequential = self._configuration.get("class_name") == "Sequential"
        layers = []
        for configuration in configurations:
            config = configuration.get("config", {})
            if sequential and configuration["class_name"] == "InputLayer":
                continue
            name = prefix + config.get("name", configuration.get("name", ""))
            layers.append(handle(configuration["class_name"], name, config, self._weights_of))
        return layers

    def get_layer(self, name: str | None = None, index: int | None = None) -> Layer:
        """A layer by its name or its place.

        Raises:
            ValueError: If there is none.
        """
        if index is not None:
            return self.layers[index]
        for layer in self.layers:
            if layer.name == name:
                return layer
        known = [layer.name for layer in self.layers]
        raise ValueError(f"No such layer: {name}. Existing layers are: {known}.")

    def get_weights(self) -> list[Array]:
        """Copies of all weights, as Keras orders and shapes them."""
        return [value for _, _, _, value in self.learner.weights()]

    @property
    def weights(self) -> list[Array]:
        """Copies of all weights."""
        return self.get_weights()

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Gives all weights other values, in the order of `get_weights`.

        Raises:
            ValueError: If they do not fit.
        """
        own = self.get_weights()
        values = [np.asarray(value, mine.dtype) for value, mine in zip(weights, own)]
        self.learner.set_weights(values + [np.asarray(value) for value in weights[len(own) :]])

    def _weights_of(self, layer: str) -> list[Array]:
        weights = self.learner.weights()
        return [value for owner, _, _, value in weights if owner == layer or owner.startswith(layer + "/")]

    def count_params(self) -> int:
        """Number of weights."""
        return sum(weight.size for weight in self.get_weights())

    def summary(self, print_fn: Callable[[str], Any] = print) -> None:
        """Prints the layers with their numbers of weights."""
        counts: dict[str, int] = {}
        for layer in self.layers:
            counts[f"{layer.name} ({layer.class_name})"] = sum(w.size for w in layer.get_weights())
        width = max((len(name) for name in counts), default=0)
        print_fn(f'Model: "{self.name}"')
        for name, count in counts.items():
            print_fn(f"  {name:<{width}}  {count:>12,}")
        print_fn(f"Total params: {self.count_params():,}")

    # Training.

    def compile(
        self,
        optimizer: Any = "rmsprop",
        loss: Any = None,
        loss_weights: Any = None,
        metrics: Any = None,
        weighted_metrics: Any = None,
        run_eagerly: bool = False,
        steps_per_execution: int = 1,
        jit_compile: Any = "auto",
        auto_scale_loss: bool = True,
    ) -> None:
        """Says what is made small, what is measured, and how weights follow gradients.

        Args:
            optimizer: Of `litesmith.keras.optimizers`, of Keras, or its name.
            loss: Of `litesmith.keras.losses`, of Keras, or its name; for several outputs a list, or a dict by name.
            loss_weights: Factors of the losses, in the same form.
            metrics: A list; for several outputs a list of lists, or a dict by name.
            weighted_metrics: As ``metrics``; samples have no weights here.

        Raises:
            TypeError: If one of them is a function of the caller's own.
        """
        if run_eagerly or steps_per_execution != 1 or jit_compile not in ("auto", True, False):
            text = "run_eagerly, steps_per_execution and jit_compile have no effect: nothing runs in Python"
            warnings.warn(text, LitesmithWarning, stacklevel=2)
        measured = [_metrics(given, self.output_names) for given in (metrics, weighted_metrics)]
        self.optimizer = _optimizer(optimizer)
        self.compiled = {
            "losses": _each(loss, self.output_names, lambda one: written(one, "loss")),
            "loss_weights": _each(loss_weights, self.output_names, float),
            "metrics": {"named": {name: measured[0][name] + measured[1][name] for name in self.output_names}},
        }
        if self.compiled["losses"] is None:
            self.compiled.pop("losses")
        self.learner.recompile()

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: Any = "auto",
        callbacks: Any = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: bool = True,
        class_weight: dict[int, float] | None = None,
        sample_weight: Any = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        validation_batch_size: int | None = None,
        validation_freq: int = 1,
        workers: int = 1,
        use_multiprocessing: bool = False,
        seed: int = 0,
    ) -> History:
        """Trains the model.

        Args:
            x: Samples ``[samples, ...]``: an array, a list or a dict by name for several inputs, or an iterable of
                batches ``(x, y)``, which is read into memory.
            y: What the outputs should give, ``[samples]`` class numbers or ``[samples, ...]`` values.
            batch_size: Samples in a step; 32 where left out.
            epochs: Number of the last epoch.
            verbose: 0 shows nothing, 1 a bar for each epoch, 2 a line.
            callbacks: See `litesmith.keras.callbacks`; those of Keras between epochs work, too.
            validation_split: Share of the samples, from the end, that only measure.
            validation_data: ``(x, y)`` or batches, instead.
            class_weight: A factor of the loss for each class.
            seed: What the order of samples and dropout follow from; that of the first call counts until `compile`.

        Returns:
            The losses and metrics of each epoch.

        Raises:
            RuntimeError: If the model is not compiled.
            ValueError: If samples do not fit the model, or a loss is no number.
        """
        if sample_weight is not None:
            raise ValueError("weights of samples are not supported; weights of classes are (class_weight)")
        if validation_freq != 1:
            raise ValueError("every epoch is validated: leave validation_freq out")
        if is_batches(x):
            batch_size = batch_size or _first_batch(x)
            x, y = joined(x, steps_per_epoch)
        elif steps_per_epoch is not None:
            raise ValueError("steps_per_epoch is for batches; arrays are learnt from as a whole")
        batch_size = batch_size or 32
        samples = self._samples(x, y)
        validation = None
        if validation_data is not None:
            if is_batches(validation_data):
                validation_data = joined(validation_data, validation_steps)
            if len(validation_data) > 2:
                raise ValueError("weights of samples are not supported; weights of classes are (class_weight)")
            validation = self._samples(*validation_data)
        more: dict[str, Any] = {"validation_split": validation_split, "shuffle": shuffle, "seed": seed}
        if class_weight is not None:
            more["class_weights"] = {str(label): float(weight) for label, weight in class_weight.items()}

        def lesson() -> _litesmith.Lesson:
            options = self._options(batch_size, epochs - initial_epoch) | more
            return _litesmith.Lesson(json.dumps(options), samples, validation)

        count = len(samples[0][0])
        count = math.floor(count * (1 - validation_split)) if validation is None else count
        steps = math.ceil(count / batch_size)
        return self._epochs(lesson, range(initial_epoch, epochs), steps, _verbosity(verbose), callbacks)

    def _epochs(
        self,
        make_lesson: Callable[[], _litesmith.Lesson],
        epochs: range,
        steps: int,
        verbose: int,
        callbacks: Any,
    ) -> History:
        history = History()
        given = callbacks if isinstance(callbacks, (list, tuple)) else [callbacks] if callbacks else []
        called: list[Callback] = [*given, history]
        self.stop_training = False
        self.history = history
        for callback in called:
            warn_of_steps(callback)
            callback.set_model(self)
            callback.set_params({"epochs": epochs.stop, "steps": steps, "verbose": verbose})
        _call(called, "on_train_begin", {})
        logs: dict[str, float] = {}
        lesson: _litesmith.Lesson | None = None
        for epoch in epochs:
            _call(called, "on_epoch_begin", epoch, {})
            # Callbacks may have changed the learning rate by now.
            lesson = lesson or make_lesson()
            self._follow_learning_rate()
            progress = Progress(sys.stdout, quiet=verbose != 1)
            if verbose:
                print(f"Epoch {epoch + 1}/{epochs.stop}")
            start = time.monotonic()
            try:
                report = json.loads(self.learner.epoch(lesson, progress))
            finally:
                progress.clear()
            logs = _logs(report)
            if verbose:
                line = " - ".join(f"{name}: {value:.4f}" for name, value in logs.items())
                print(f"{steps}/{steps} - {time.monotonic() - start:.0f}s - {line}", flush=True)
            _call(called, "on_epoch_end", epoch, logs)
            if self.stop_training:
                break
        _call(called, "on_train_end", logs)
        if self.pruning is not None:
            self.pruning.warn_if_short(self.learner.sparsity(), self.learner.steps())
        return history

    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        verbose: Any = "auto",
        sample_weight: Any = None,
        steps: int | None = None,
        callbacks: Any = None,
        return_dict: bool = False,
    ) -> Any:
        """The loss, or a list of it and all metrics (a dict with ``return_dict``), on samples.

        With simulated integers these are the simulation's. Before any training its ranges are those of these
        samples.

        Raises:
            RuntimeError: If the model is not compiled.
            ValueError: If samples do not fit the model.
        """
        if sample_weight is not None:
            raise ValueError("weights of samples are not supported")
        if is_batches(x):
            batch_size = batch_size or _first_batch(x)
            x, y = joined(x, steps)
        options = self._options(batch_size or 32, 1)
        lesson = _litesmith.Lesson(json.dumps(options), self._samples(x, y), None)
        progress = Progress(sys.stdout, quiet=_verbosity(verbose) != 1)
        try:
            results = self.learner.evaluate(lesson, progress)
        finally:
            progress.clear()
        if _verbosity(verbose):
            print(" - ".join(f"{name}: {value:.4f}" for name, value in results), flush=True)
        if return_dict:
            return dict(results)
        values = [value for _, value in results]
        return values[0] if len(values) == 1 else values

    def predict(
        self, x: Any, batch_size: int | None = None, verbose: Any = "auto", steps: int | None = None, callbacks: Any = None
    ) -> Any:
        """What the model gives for samples: an array ``[samples, ...]``, or a list of them for several outputs.

        Raises:
            ValueError: If samples do not fit the model.
        """
        if is_batches(x):
            x, _ = joined(x, steps)
        recipe = None if self.recipe is None else json.dumps(self.recipe)
        progress = Progress(sys.stdout, quiet=_verbosity(verbose) != 1)
        try:
            inputs = self._fitted(inputs_of(x, self.input_names))
            outputs = self.learner.predict(inputs, batch_size or 32, recipe, None, progress)
        finally:
            progress.clear()
        return outputs[0] if len(outputs) == 1 else outputs

    def __call__(self, x: Any, training: bool = False) -> Any:
        """As `predict`, for one batch."""
        if training:
            raise ValueError("single steps of training do not run in Python; use fit")
        return self.predict(x, verbose=0)

    # Files.

    def to_bytes(self) -> bytes:
        """The bytes of its Keras file with the weights as they are."""
        return self.learner.to_bytes()

    def save(self, filepath: str | os.PathLike[str], overwrite: bool = True, **options: Any) -> None:
        """Writes its Keras file: the configuration word for word, with the weights as they are.

        What quantization-aware training has learnt goes with it, in a member that Keras ignores.

        Raises:
            ValueError: If the extension is not that of the file which the model came from.
        """
        path, extension = Path(filepath), ".h5" if self.format == "H5" else ".keras"
        if path.suffix != extension:
            raise ValueError(f"{path}: what came from a {extension} file is written as one again")
        if path.exists() and not overwrite:
            raise ValueError(f"{path} exists")
        if ignored := set(options) - {"include_optimizer", "save_format"}:
            raise TypeError(f"save has no option {sorted(ignored)[0]}")
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            temporary.write_bytes(self.to_bytes())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)

    def to_keras(self) -> Any:
        """A live model with the weights as they are: of the library that this one came from, else of Keras.

        Raises:
            ImportError: If that is not installed.
        """
        from .live import live

        return live(self)

    # Details.

    def take_up_marks(self) -> None:
        """What layers are marked for becomes the model's."""
        if marked := [layer for layer in self.layers if layer.prune is not None]:
            self.pruning = merged([(layer.name, layer.prune) for layer in marked])

    def _follow_learning_rate(self) -> None:
        """Takes up what a callback has made of the optimizer's learning rate."""
        optimizer, known = written(self.optimizer, "optimizer"), self.learner.learning_rate()
        rate = optimizer["config"].get("learning_rate") if isinstance(optimizer, dict) else None
        if isinstance(rate, (int, float)) and known is not None and not math.isclose(known, rate, rel_tol=1e-6):
            self.learner.set_learning_rate(rate)

    def _options(self, batch_size: int, epochs: int) -> dict[str, Any]:
        if self.compiled is None:
            raise RuntimeError(
                "You must compile your model before training/testing. Use `model.compile(optimizer, loss)`."
            )
        options = {name: value for name, value in self.compiled.items() if value is not None}
        return options | {
            "optimizer": written(self.optimizer, "optimizer"),
            "epochs": max(epochs, 1),
            "batch_size": batch_size,
            "shuffle": True,
            "seed": 0,
            "quantize_aware": self.recipe,
            "prune": None if self.pruning is None else self.pruning.options(),
        }

    def _samples(self, x: Any, y: Any) -> tuple[list[Array], list[tuple[str, Array]]]:
        return self._fitted(inputs_of(x, self.input_names)), targets_of(y, self.output_names)

    def _fitted(self, arrays: list[Array]) -> list[Array]:
        """Integers of the caller's that stand for real numbers, as those."""
        floats = [dtype.startswith("float") for dtype in self._dtypes]
        return [
            array.astype(np.float32) if real and array.dtype == object else array
            for array, real in zip(arrays, floats)
        ]


def _shape(shapes: list[list[int]]) -> Any:
    told = [tuple(None if size < 0 else size for size in shape) for shape in shapes]
    return told[0] if len(told) == 1 else told


def _each(given: Any, names: list[str], write: Callable[[Any], Any]) -> dict[str, Any] | None:
    """What is given for all outputs, one by one, or by name."""
    if given is None:
        return None
    if isinstance(given, (list, tuple)):
        if len(given) != len(names):
            raise ValueError(f"{len(given)} are given for the {len(names)} outputs {names}")
        given = dict(zip(names, given))
    # A dict with a class is one that Keras has written down.
    if isinstance(given, dict) and "class_name" not in given:
        return {"named": {name: write(one) for name, one in given.items() if one is not None}}
    return {"all": write(given)}


def _metrics(given: Any, names: list[str]) -> dict[str, list[Any]]:
    """A list of metrics for each output."""

    def listed(one: Any) -> list[Any]:
        several = one if isinstance(one, (list, tuple)) else [] if one is None else [one]
        return [written(metric, "metric") for metric in several]

    if isinstance(given, dict):
        if unknown := set(given) - set(names):
            raise ValueError(f"metrics are given for {sorted(unknown)}, the model's outputs are {names}")
        return {name: listed(given.get(name)) for name in names}
    nested = isinstance(given, (list, tuple)) and any(isinstance(one, (list, tuple)) for one in given)
    if nested and len(given) != len(names):
        raise ValueError(f"{len(given)} lists of metrics are given for the {len(names)} outputs {names}")
    return {name: listed(given[place] if nested else given) for place, name in enumerate(names)}


def _optimizer(given: Any) -> Any:
    """The object of an optimizer that is named, or that Keras has written down."""
    config: dict[str, Any] = {}
    name = given
    if isinstance(given, dict) and "class_name" in given:
        name, config = given["class_name"], given.get("config", {})
    if not isinstance(name, str):
        return given
    known = {name.lower(): getattr(optimizers, name) for name in ("SGD", "RMSprop", "Adam", "AdamW")}
    if name.lower() not in known:
        raise ValueError(f"'{name}' is no optimizer; there are {', '.join(known)}")
    return known[name.lower()](**config)


def _verbosity(verbose: Any) -> int:
    return 1 if verbose == "auto" else int(verbose)


def _logs(report: dict[str, Any]) -> dict[str, float]:
    """Losses and metrics in Keras' order."""
    hidden = ("learning_rate", "seconds", "sparsity")
    names = sorted(name for name in report if name not in hidden)
    own = [name for name in names if not name.startswith("val_")]
    return {name: report[name] for name in own + [name for name in names if name not in own]}


def _first_batch(batches: Any) -> int | None:
    """How many samples a batch has, where that can be seen without using it up."""
    if iter(batches) is batches:
        return None
    first = batches[0] if hasattr(batches, "__getitem__") else next(iter(batches))
    while isinstance(first, (tuple, list, dict)):
        first = next(iter(first.values())) if isinstance(first, dict) else first[0]
    return len(first)


def _call(callbacks: list[Callback], method: str, *arguments: Any) -> None:
    for callback in callbacks:
        getattr(callback, method)(*arguments)
