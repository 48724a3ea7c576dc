"""How long work is shown, in terminals and notebooks, and how notes become warnings."""

from __future__ import annotations

import sys
import warnings
from typing import TextIO

from .errors import LitesmithWarning

_WIDTH = 24


def shows(stream: TextIO) -> bool:
    """Whether a line that is written over again looks right: in a terminal or a notebook."""
    notebook = type(stream).__module__.startswith("ipykernel")
    return notebook or bool(getattr(stream, "isatty", bool)())


class Progress:
    """Hears of stages and notes. Stages are shown as a bar on ``stream`` where that shows."""

    def __init__(self, stream: TextIO | None = None, quiet: bool = False) -> None:
        self.stream = sys.stderr if stream is None else stream
        self.visible = not quiet and shows(self.stream)
        self.name, self.steps, self.length = "", 0, 0

    def stage(self, name: str, steps: int) -> None:
        """A stage of so many steps begins; 0 where nobody knows how many."""
        self.name, self.steps = name, steps
        self.draw(name)

    def advance(self, done: int, status: str) -> None:
        """So many steps of the stage are done."""
        share = min(done / self.steps, 1.0) if self.steps else 0.0
        bar = "█" * round(share * _WIDTH)
        self.draw(f"{self.name} {bar:░<{_WIDTH}} {done}/{self.steps}  {status}")

    def note(self, text: str) -> None:
        """Something that the user should know."""
        self.clear()
        warnings.warn(text, LitesmithWarning, stacklevel=3)

    def draw(self, text: str) -> None:
        """Writes over the line."""
        if self.visible:
            text = text.rstrip()
            print(f"\r{text:<{self.length}}", end="", file=self.stream, flush=True)
            self.length = len(text)

    def clear(self) -> None:
        """Takes the line away."""
        if self.visible and self.length:
            print(f"\r{'':<{self.length}}\r", end="", file=self.stream, flush=True)
            self.length = 0
