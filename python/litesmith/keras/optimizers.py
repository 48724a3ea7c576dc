"""``tf.keras.optimizers``: how weights follow gradients, by Keras' rules and defaults."""

from __future__ import annotations

from typing import Any

from .described import Described


class Optimizer(Described):
    """An optimizer of Keras'. ``learning_rate`` may be changed between epochs where it is a number."""

    def __init__(self, learning_rate: Any, name: str, **config: Any) -> None:
        super().__init__(**config, name=name)
        self.learning_rate = learning_rate

    @property
    def lr(self) -> Any:
        """The learning rate, by its old name."""
        return self.learning_rate

    @lr.setter
    def lr(self, rate: Any) -> None:
        self.learning_rate = rate

    def get_config(self) -> dict[str, Any]:
        """The options."""
        return {**super().get_config(), "learning_rate": self.learning_rate}


class SGD(Optimizer):
    """Gradient descent."""

    def __init__(
        self,
        learning_rate: Any = 0.01,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        name: str = "SGD",
        **config: Any,
    ) -> None:
        limits = {"clipnorm": clipnorm, "clipvalue": clipvalue, "global_clipnorm": global_clipnorm}
        own = {"momentum": momentum, "nesterov": nesterov, "weight_decay": weight_decay}
        super().__init__(learning_rate, name, **own, **limits, **config)


class RMSprop(Optimizer):
    """Gradients divided by a running average of their size."""

    def __init__(
        self,
        learning_rate: Any = 0.001,
        rho: float = 0.9,
        momentum: float = 0.0,
        epsilon: float = 1e-7,
        centered: bool = False,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        name: str = "rmsprop",
        **config: Any,
    ) -> None:
        limits = {"clipnorm": clipnorm, "clipvalue": clipvalue, "global_clipnorm": global_clipnorm}
        own = {"rho": rho, "momentum": momentum, "epsilon": epsilon, "centered": centered}
        super().__init__(learning_rate, name, **own, weight_decay=weight_decay, **limits, **config)


class Adam(Optimizer):
    """Running averages of gradients and of their squares."""

    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        name: str = "adam",
        **config: Any,
    ) -> None:
        limits = {"clipnorm": clipnorm, "clipvalue": clipvalue, "global_clipnorm": global_clipnorm}
        own = {"beta_1": beta_1, "beta_2": beta_2, "epsilon": epsilon, "amsgrad": amsgrad}
        super().__init__(learning_rate, name, **own, weight_decay=weight_decay, **limits, **config)


class AdamW(Adam):
    """Adam with weight decay."""

    def __init__(
        self, learning_rate: Any = 0.001, weight_decay: float = 0.004, name: str = "adamw", **config: Any
    ) -> None:
        super().__init__(learning_rate, weight_decay=weight_decay, name=name, **config)


class legacy:
    """The optimizers by the names that old scripts use."""

    SGD, RMSprop, Adam = SGD, RMSprop, Adam


class schedules:
    """Learning rates that follow the number of steps."""

    class ExponentialDecay(Described):
        """``initial_learning_rate * decay_rate ** (step / decay_steps)``."""

        def __init__(
            self,
            initial_learning_rate: float,
            decay_steps: int,
            decay_rate: float,
            staircase: bool = False,
            name: str = "ExponentialDecay",
        ) -> None:
            super().__init__(
                initial_learning_rate=initial_learning_rate,
                decay_steps=decay_steps,
                decay_rate=decay_rate,
                staircase=staircase,
                name=name,
            )

    class PiecewiseConstantDecay(Described):
        """``values[i]`` up to step ``boundaries[i]``."""

        def __init__(
            self, boundaries: list[int], values: list[float], name: str = "PiecewiseConstant"
        ) -> None:
            super().__init__(boundaries=boundaries, values=values, name=name)

    class PolynomialDecay(Described):
        """From the first to the last learning rate by a power of the step."""

        def __init__(
            self,
            initial_learning_rate: float,
            decay_steps: int,
            end_learning_rate: float = 0.0001,
            power: float = 1.0,
            cycle: bool = False,
            name: str = "PolynomialDecay",
        ) -> None:
            super().__init__(
                initial_learning_rate=initial_learning_rate,
                decay_steps=decay_steps,
                end_learning_rate=end_learning_rate,
                power=power,
                cycle=cycle,
                name=name,
            )

    class InverseTimeDecay(Described):
        """``initial_learning_rate / (1 + decay_rate * step / decay_steps)``."""

        def __init__(
            self,
            initial_learning_rate: float,
            decay_steps: int,
            decay_rate: float,
            staircase: bool = False,
            name: str = "InverseTimeDecay",
        ) -> None:
            super().__init__(
                initial_learning_rate=initial_learning_rate,
                decay_steps=decay_steps,
                decay_rate=decay_rate,
                staircase=staircase,
                name=name,
            )

    class CosineDecay(Described):
        """Half a cosine down to ``alpha`` of the first rate, perhaps after warming up."""

        def __init__(
            self,
            initial_learning_rate: float,
            decay_steps: int,
            alpha: float = 0.0,
            name: str = "CosineDecay",
            warmup_target: float | None = None,
            warmup_steps: int = 0,
        ) -> None:
            super().__init__(
                initial_learning_rate=initial_learning_rate,
                decay_steps=decay_steps,
                alpha=alpha,
                name=name,
                warmup_target=warmup_target,
                warmup_steps=warmup_steps,
            )
