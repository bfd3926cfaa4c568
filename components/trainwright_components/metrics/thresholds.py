"""Limits that a person sets to metrics: read, and refused where there is no such metric. Compares nothing."""

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from trainwright_components.datasets.task import Task
from trainwright_components.errors import InvalidSetting
from trainwright_components.hints import did_you_mean
from trainwright_components.metrics.table import METRICS

KERAS_PREFIX = "keras_"
_BOUNDS = ("min", "max", "min_in_slices", "max_in_slices")


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """Limits of one metric over all rows, and in each slice."""

    metric: str
    min: float | None = None
    max: float | None = None
    min_in_slices: float | None = None
    max_in_slices: float | None = None


def known_metrics(task: Task, value_names: Iterable[str], keras_metrics: Iterable[str] = ()) -> tuple[str, ...]:
    """The names that a threshold can have; `recall.CLASS` is of one class, `rmse.TARGET` of one target of several."""
    values = tuple(value_names)
    metrics = METRICS[task].values()
    has_two_classes = task is Task.CLASSIFICATION and len(values) == 2
    names = [each.name for each in metrics if has_two_classes or not each.is_binary]
    per_value = [f"{each.name}.{name}" for name in values for each in metrics if each.is_per_value]
    return (*names, *per_value, *keras_metrics)


def parse_thresholds(thresholds: Mapping[str, Any], *, task: Task, known: tuple[str, ...]) -> tuple[Threshold, ...]:
    """Read `{"accuracy": 0.9, "log_loss": {"max": 0.3}}`.

    A bare number is a minimum where more is better and a maximum where less is.

    Raises:
        InvalidSetting: An unknown metric or bound, or a limit that is not a number.
    """
    return tuple(_parse(name, limits, task=task, known=known) for name, limits in thresholds.items())


def check_before_data(
    thresholds: Mapping[str, Any], tasks: Collection[Task] = tuple(Task), *, has_slices: bool = True
) -> None:
    """Refuse what no dataset makes right; names of classes and of the model's own metrics are not known yet.

    Args:
        thresholds: As `parse_thresholds` takes them.
        tasks: What the model may be for.
        has_slices: Whether the rows will be sliced.

    Raises:
        InvalidSetting: As `parse_thresholds`, or one metric is of a classification and another of a regression, or a
            limit is for slices that nobody asked for.
    """
    fitting = {name: {task for task in tasks if _may_have(name, task)} for name in thresholds}
    for name, limits in thresholds.items():
        known = tuple(each for task in tasks for each in METRICS[task])
        task = min(fitting[name], default=min(tasks))
        parsed = _parse(name, limits, task=task, known=(name,) if fitting[name] else known)
        if not has_slices and (parsed.min_in_slices, parsed.max_in_slices) != (None, None):
            raise InvalidSetting(
                f"evaluation.thresholds: {name} has a limit in slices, but evaluation.slices names no feature"
            )
    if thresholds and not set.intersection(*fitting.values()):
        raise InvalidSetting(f"evaluation.thresholds: no model has all of {', '.join(thresholds)}")


def _may_have(name: str, task: Task) -> bool:
    stem, dot, _ = name.partition(".")
    found = METRICS[task].get(stem)
    return name.startswith(KERAS_PREFIX) or (found is not None and (found.is_per_value or not dot))


def _parse(name: str, limits: Any, *, task: Task, known: tuple[str, ...]) -> Threshold:
    if name not in known:
        raise InvalidSetting(f"evaluation.thresholds: no metric is called {name!r}{did_you_mean(name, known)}")
    if not isinstance(limits, Mapping):
        better = more_is_better(name, task)
        if better is None:
            raise InvalidSetting(
                f'evaluation.thresholds: say whether {name} has a {{"min": ...}} or a {{"max": ...}}, got {limits!r}'
            )
        limits = {"min" if better else "max": limits}
    for bound, limit in limits.items():
        if bound not in _BOUNDS:
            raise InvalidSetting(f"evaluation.thresholds: {name} has no bound {bound!r}{did_you_mean(bound, _BOUNDS)}")
        if isinstance(limit, bool) or not isinstance(limit, int | float) or math.isnan(limit):
            raise InvalidSetting(f"evaluation.thresholds: {bound} of {name} must be a number, got {limit!r}")
    return Threshold(metric=name, **{bound: float(limit) for bound, limit in limits.items()})


def more_is_better(metric: str, task: Task) -> bool | None:
    """Whether a larger value of `metric` is a better one; None where that is not known."""
    found = METRICS[task].get(metric.split(".")[0])
    return found.more_is_better if found else None
