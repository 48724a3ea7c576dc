"""The list of models, which the other modules fill."""

import inspect
from dataclasses import dataclass

SAMPLES = 5


@dataclass(frozen=True)
class Case:
    name: str
    build: object
    only_keras3: bool  # uses what tf_keras has not
    rare: bool  # a refusal is an acceptable answer

    @property
    def source(self):
        """The text that a file of the cache was made from."""
        return inspect.getsource(self.build)


CASES = {}


def case(build=None, *, only_keras3=False, rare=False):
    """Registers a model under its function's name."""
    if build is None:
        return lambda function: case(function, only_keras3=only_keras3, rare=rare)
    CASES[build.__name__] = Case(build.__name__, build, only_keras3, rare)
    return build


def image(k, size=9, channels=4, name="image"):
    return k.Input((size, size + 1, channels), name=name)
