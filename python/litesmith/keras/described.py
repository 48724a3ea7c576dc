"""Objects that are a name and options: the form in which Keras writes losses, metrics and optimizers down."""

from __future__ import annotations

from typing import Any


class Described:
    """A class of Keras' by its name, with options."""

    def __init__(self, **config: Any) -> None:
        self._config = config

    def get_config(self) -> dict[str, Any]:
        """The options."""
        return dict(self._config)

    def __repr__(self) -> str:
        options = ", ".join(f"{name}={value!r}" for name, value in self._config.items())
        return f"{type(self).__name__}({options})"


def written(thing: Any, what: str) -> Any:
    """A loss, metric or optimizer as JSON: of ours, of Keras', a function of Keras', or its name.

    Raises:
        TypeError: If it is a function of the caller's own, which runs in Python only.
    """
    if isinstance(thing, (str, dict)):
        return thing
    if isinstance(thing, Described) or _is_keras(type(thing)):
        config = {name: _plain(value) for name, value in thing.get_config().items()}
        return {"class_name": type(thing).__name__, "config": config}
    if callable(thing) and _is_keras(thing):
        return thing.__name__
    raise TypeError(f"{thing!r} is no {what}: give one of Keras' own by name or as an object")


def _is_keras(thing: Any) -> bool:
    return getattr(thing, "__module__", "").split(".")[0] in ("keras", "tf_keras")


def _plain(value: Any) -> Any:
    """A value that JSON has: numbers of NumPy's become Python's, schedules their description."""
    if isinstance(value, Described):
        return written(value, "schedule")
    if isinstance(value, dict):
        return {name: _plain(entry) for name, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    return value.item() if hasattr(value, "item") else value
