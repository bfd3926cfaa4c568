"""What a metric is: how it is computed, which way it is good, and how a loss of it is measured."""

from collections.abc import Callable, Iterable, Mapping
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
        is_per_value: Also of each class against the others, each label or each target, under its name and theirs.
        headline: Its place among the metrics of which one is shown first; None where it is not one of them.
        by_rows: From answers, labels and weights of rows, for draws of them; None where nobody draws.
    """

    name: str
    compute: Callable[[Sums], float | None]
    more_is_better: bool | None
    is_unbounded: bool = False
    is_binary: bool = False
    is_per_value: bool = False
    headline: int | None = None
    by_rows: Callable[[Any, Any, Any], RowSums] | None = None


def name_values(metrics: Iterable[Metric[Sums]], values: Mapping[str, Mapping[str, float | None]]) -> dict[str, float]:
    """`METRIC.NAME` of each class, label or target in `values`, as far as it has the metric and the rows define it."""
    named = {
        f"{metric.name}.{name}": each.get(metric.name)
        for name, each in values.items()
        for metric in metrics
        if metric.is_per_value
    }
    return {name: value for name, value in named.items() if value is not None}


def compute_all(metrics: Iterable[Metric[Sums]], sums: Sums) -> dict[str, float]:
    """The metrics that the rows define, by name."""
    values = {metric.name: metric.compute(sums) for metric in metrics}
    return {name: float(value) for name, value in values.items() if value is not None}
