"""Decide whether a model may be served: limits on metrics, and the model that is served now."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from trainwright_components.datasets.task import Task
from trainwright_components.metrics.bootstrap import Difference
from trainwright_components.metrics.table import METRICS
from trainwright_components.metrics.thresholds import Threshold, more_is_better

_ROUNDING = 1e-9  # 0.8 - 0.7 is more than 0.1 in floating point
_ADVICE_BELOW_BASELINE = (
    "improve the model (look at its inputs and loss, train longer, tune it), or serve it all the same with "
    "evaluation.allow_below_baseline=true"
)


class NotComparable(Exception):
    """Why a champion cannot be compared on these rows; never leaves this component."""


class CheckKind(StrEnum):
    """What a check compares with."""

    FINITE = "finite"
    THRESHOLD = "threshold"
    SLICE_THRESHOLD = "slice_threshold"
    CHAMPION = "champion"
    BASELINE = "baseline"


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that was looked at, whether or not it passed.

    Args:
        value: Of the model; None where these rows do not define the metric.
        limit: What `value` was compared with; None where there was nothing to compare with.
        message: One sentence for a person.
        advice: What to do about it; empty where it passed.
    """

    kind: CheckKind
    metric: str
    passed: bool
    value: float | None
    limit: float | None
    message: str
    advice: str = ""

    def to_mapping(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return asdict(self) | {"kind": str(self.kind)}


def check_thresholds(
    thresholds: Iterable[Threshold],
    metrics: Mapping[str, float],
    slices: Mapping[str, Mapping[str, float]],
) -> list[Check]:
    """Compare `metrics` of all rows and of each slice with their limits."""
    checks = []
    for threshold in thresholds:
        name = threshold.metric
        kind = CheckKind.THRESHOLD
        checks += _check_bounds(kind, name, metrics.get(name), threshold.min, threshold.max, where="")
        low, high = threshold.min_in_slices, threshold.max_in_slices
        for where, values in slices.items():
            checks += _check_bounds(
                CheckKind.SLICE_THRESHOLD, name, values.get(name), low, high, where=f" where {where}"
            )
        if not slices:
            checks += [_not_sliced(name, limit) for limit in (low, high) if limit is not None]
    return checks


def check_finite(metrics: Mapping[str, float]) -> list[Check]:
    """A check that fails for each metric that is NaN or infinite; none for the others."""
    return [
        Check(
            kind=CheckKind.FINITE,
            metric=name,
            passed=False,
            value=None,
            limit=None,
            message=f"{name} is {value} on these rows",
            advice=f"find the rows that make {name} so, or compile the model without it",
        )
        for name, value in metrics.items()
        if not math.isfinite(value)
    ]


def is_defined(value: float | None) -> bool:
    """Whether a metric was computed and can be compared."""
    return value is not None and math.isfinite(value)


def _not_sliced(metric: str, limit: float) -> Check:
    return Check(
        kind=CheckKind.SLICE_THRESHOLD,
        metric=metric,
        passed=False,
        value=None,
        limit=limit,
        message=f"{metric} has a limit in slices, but the rows were not sliced",
        advice=f"name categorical features in evaluation.slices, or change evaluation.thresholds.{metric}",
    )


def _check_bounds(
    kind: CheckKind, name: str, value: float | None, low: float | None, high: float | None, *, where: str
) -> list[Check]:
    bounds = [(limit, is_low) for limit, is_low in ((low, True), (high, False)) if limit is not None]
    return [_check_bound(kind, name, value, limit, is_low=is_low, where=where) for limit, is_low in bounds]


def _check_bound(kind: CheckKind, name: str, value: float | None, limit: float, *, is_low: bool, where: str) -> Check:
    if value is None or not math.isfinite(value):
        found = "" if value is None else f" ({value})"
        message = f"{name}{where} is not defined on these rows{found}, so it cannot be held against {limit:g}"
        passed, value = False, None
    else:
        passed = value >= limit if is_low else value <= limit
        relation = ("at least" if is_low else "at most") if passed else ("below" if is_low else "above")
        shown, shown_limit = _apart(value, limit)
        message = f"{name}{where} is {shown}, {relation} {shown_limit}"
    advice = "" if passed else f"improve the model, or change evaluation.thresholds.{name}"
    return Check(kind=kind, metric=name, passed=passed, value=value, limit=limit, message=message, advice=advice)


def check_champion(
    metric: str,
    task: Task,
    value: float | None,
    champion: float | None,
    *,
    tolerance: float,
    version: str,
    answers_alike: bool = False,
) -> Check:
    """The model's `value` must not be worse than the `champion`'s by more than `tolerance`.

    Of an unbounded error the tolerance is a share of the champion's value, else it is in units of the metric. A
    model whose `answers_alike` those of the champion but for rounding is not worse, whatever the metric says.

    Raises:
        NotComparable: These rows do not define the metric.
    """
    if value is None or champion is None or not math.isfinite(value) or not math.isfinite(champion):
        raise NotComparable(f"{metric} is not defined on these rows")
    loss = champion - value if more_is_better(metric, task) else value - champion
    is_share = METRICS[task][metric].is_unbounded
    allowed = tolerance * abs(champion) if is_share else tolerance
    passed = answers_alike or loss <= allowed + _ROUNDING * max(abs(champion), abs(value))
    slack = f"{100 * tolerance:.4g}%" if is_share else f"{tolerance:.4g}"
    verdict = ("not worse" if passed else "worse") + (f" by more than {slack}" if tolerance else "")
    shown, shown_champion = _apart(value, champion)
    return Check(
        kind=CheckKind.CHAMPION,
        metric=metric,
        passed=passed,
        value=value,
        limit=champion,
        message=f"{metric} is {shown}, {verdict} than {shown_champion} of the champion (version {version})",
        advice="" if passed else "improve the model, or allow the loss with evaluation.champion_tolerance",
    )


def incomparable_champion(metric: str, reason: object, *, version: str, may_be_replaced: bool) -> Check:
    """A champion that exists but could not be scored: in the way, unless it was said that it may be replaced."""
    verdict = "is replaced as asked" if may_be_replaced else "cannot be compared"
    return Check(
        kind=CheckKind.CHAMPION,
        metric=metric,
        passed=may_be_replaced,
        value=None,
        limit=None,
        message=f"the champion (version {version}) {verdict}: {reason}",
        advice=""
        if may_be_replaced
        else "if this is another model, give it a model_name of its own; to let it take the champion's place, set "
        "evaluation.replace_incomparable_champion=true",
    )


def undefined_metric(metric: str, *, version: str) -> Check:
    """The model has no number that could be held against the champion's, so it takes nobody's place."""
    return Check(
        kind=CheckKind.CHAMPION,
        metric=metric,
        passed=False,
        value=None,
        limit=None,
        message=f"{metric} is not defined on these rows, so the model cannot be held against the champion (version "
        f"{version})",
        advice="choose another evaluation.champion_metric, or a split with rows that define it",
    )


def no_champion(metric: str) -> Check:
    """A check that passes because there is nothing to compare with."""
    message = "no model is served yet, so there is no champion to compare with"
    return Check(kind=CheckKind.CHAMPION, metric=metric, passed=True, value=None, limit=None, message=message)


def check_baseline(
    metric: str,
    value: float | None,
    baseline: float | None,
    *,
    difference: Difference | None,
    more_is_better: bool,
    name: str,
    is_allowed: bool,
) -> Check:
    """The model's `value` must not be worse beyond chance than that of the baseline `name`."""
    if value is None or baseline is None or difference is None:
        message = f"{metric} is not defined on these rows, so the model is not compared with the baseline ({name})"
        return Check(kind=CheckKind.BASELINE, metric=metric, passed=True, value=value, limit=baseline, message=message)
    is_behind, is_better = (value < baseline, value > baseline)[:: 1 if more_is_better else -1]
    is_worse = is_behind and difference.is_worse(more_is_better=more_is_better)
    relation = "better" if is_better else "worse beyond chance" if is_worse else "not worse beyond chance"
    shown, shown_baseline = _apart(value, baseline)
    allowed = ", which evaluation.allow_below_baseline allows" if is_worse and is_allowed else ""
    return Check(
        kind=CheckKind.BASELINE,
        metric=metric,
        passed=not is_worse or is_allowed,
        value=value,
        limit=baseline,
        message=f"{metric} is {shown}, {relation} than {shown_baseline} of the baseline ({name}){allowed}: the 95 % "
        f"interval of the difference is {difference.low:+.3g} to {difference.high:+.3g} on {difference.rows:,} rows",
        advice="" if not is_worse or is_allowed else _ADVICE_BELOW_BASELINE,
    )


def _apart(value: float, other: float) -> tuple[str, str]:
    """Both with four significant digits, or as many as integers have and as it takes to tell them apart."""
    fewest = max(4, min(15, len(f"{max(abs(value), abs(other)):.0f}")))
    digits = next((count for count in range(fewest, 17) if f"{value:.{count}g}" != f"{other:.{count}g}"), fewest)
    return f"{value:.{digits}g}", f"{other:.{digits}g}"
