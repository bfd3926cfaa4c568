"""What a metric is: how it is computed, which way it is good, and how a loss of it is measured."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from trainwright_components.metrics.bootstrap import RowSums

Sums = TypeVar("Sums")


@dataclass(frozen=True, kw_only=True)
class Metric(Generic[Sums]):
    """A number about the answers of a model.

    Args:
        compute: From what a tally has added up; None where the rows do not define it.
        more_is_better: None where neither more nor less is.
        is_unbounded: An error without an upper bound: what may be lost of it is a share of its value.
        is_binary: Of two classes only.
        is_per_class: Also of each class against the others, under its name and that of the class.
        headline: Its place among the metrics of which one is shown first; None where it is not one of them.
        by_rows: From answers, labels and weights of rows, for draws of them; None where nobody draws.
    """

    name: str
    compute: Callable[[Sums], float | None]
    more_is_better: bool | None
    is_unbounded: bool = False
    is_binary: bool = False
    is_per_class: bool = False
    headline: int | None = None
    by_rows: Callable[[Any, Any, Any], RowSums] | None = None


def compute_all(metrics: Iterable[Metric[Sums]], sums: Sums) -> dict[str, float]:
    """The metrics that the rows define, by name."""
    values = {metric.name: metric.compute(sums) for metric in metrics}
    return {name: float(value) for name, value in values.items() if value is not None}
