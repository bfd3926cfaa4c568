"""What runs the steps of a training run: the Protocol between the loop and a kind of strategy."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Signals:
    """What members have to agree on between two calls.

    Args:
        stop: Whether training should save and end: any member may ask.
        save: Whether a checkpoint is due: the chief decides.
        count: Steps of the next call: the chief decides.
        one_by_one: Whether calls should be of one step, since a callback wants to see each: any member may ask.
        broken_at: Which step of the call was the first whose loss was NaN or infinite; 0 for none.
    """

    stop: bool = False
    save: bool = False
    count: int = 0
    one_by_one: bool = False
    broken_at: int = 0


class Driver(Protocol):
    """Runs steps; knows the strategy, but neither epochs nor files."""

    inputs: Any
    """What the model takes, as a structure of symbolic tensors."""
    has_validation: bool
    """Whether there is anything to evaluate on."""

    def train(self, count: int, signals: Signals) -> tuple[dict[str, float], Signals]:
        """Take `count` steps; returns the metrics since the last reset and the signals that all members agreed on."""

    def evaluate(self) -> dict[str, float]:
        """The metrics of the validation split; nothing without one."""

    def reset_metrics(self) -> None:
        """Begin to count metrics from nothing."""


def flatten_logs(logs: Mapping[str, Any] | None) -> dict[str, Any]:
    """Logs of a step with nested ones in the place of their name, as Keras' `fit` reports them."""
    flat: dict[str, Any] = {}
    for name, value in (logs or {}).items():
        flat.update(flatten_logs(value) if isinstance(value, Mapping) else {name: value})
    return flat


def as_numbers(logs: Mapping[str, Any] | None) -> dict[str, float]:
    """Logs of a step as plain numbers; a metric of several numbers, such as one per class, becomes `name_0` and on."""
    numbers: dict[str, float] = {}
    for name, value in flatten_logs(logs).items():
        values = np.asarray(value, np.float64)
        if values.ndim == 0:
            numbers[name] = float(values)
        else:
            numbers.update({f"{name}_{place}": float(one) for place, one in enumerate(values.ravel())})
    return numbers
