"""How a model is pruned while it is trained."""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any

from ..errors import LitesmithWarning


@dataclasses.dataclass(frozen=True)
class Pruning:
    """What goes, when, and where: what litesmith's options say."""

    initial_sparsity: float | None
    sparsity: float
    begin: int
    end: int | None
    frequency: int
    power: float
    policy: str = "all"
    structure: str = "unstructured"
    #: The layers that are pruned; all that the policy takes where left out.
    layers: tuple[str, ...] | None = None

    def options(self) -> dict[str, Any]:
        """As JSON."""
        rules: list[dict[str, Any]] = []
        if self.layers is not None:
            rules = [{"skip": True}, *({"layers": name, "skip": False} for name in self.layers)]
        options = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        options.pop("layers")
        return options | {"recipe": {"rule": rules}}

    def warn_if_short(self, reached: float | None, steps: int) -> None:
        """Warns where training has ended before the schedule."""
        if reached is not None and self.end is not None and steps <= self.end and reached < self.sparsity - 0.02:
            text = f"pruning stands at {reached:.3f} after {steps} steps: the schedule ends at step {self.end}"
            warnings.warn(text, LitesmithWarning, stacklevel=4)


def merged(marks: list[tuple[str, Pruning]]) -> Pruning:
    """The pruning of a model of which layers are marked.

    Raises:
        NotImplementedError: If they have different schedules.
    """
    first = marks[0][1]
    if any(pruning != first for _, pruning in marks):
        raise NotImplementedError("layers of a model are pruned by one schedule; mark all of them alike")
    return dataclasses.replace(first, layers=tuple(name for name, _ in marks))
