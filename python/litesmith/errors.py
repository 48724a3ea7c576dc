"""What goes wrong, by whom it can be mended. Each class is also the usual one of Python's for its kind."""

from __future__ import annotations


class LitesmithError(Exception):
    """Any error of litesmith; ``exit_code`` is that of the command line."""

    exit_code = 1


class FailedError(LitesmithError, OSError):
    """The machine failed: a full disk, a path that cannot be written."""


class UsageError(LitesmithError, ValueError):
    """The request cannot be met as it stands."""

    exit_code = 2


class UnsupportedError(LitesmithError, NotImplementedError):
    """Layers or operators are not supported; the text lists all of them."""

    exit_code = 3


class CheckError(LitesmithError, RuntimeError):
    """The result computes something else than its source, or a gate was not met."""

    exit_code = 4


class BrokenError(LitesmithError, ValueError):
    """A file or array is broken or does not fit."""

    exit_code = 5


class LimitError(LitesmithError, MemoryError):
    """A limit of memory was hit."""

    exit_code = 6


class LitesmithWarning(UserWarning):
    """Something that the user should know: an option without effect, a result that is doubtful."""
