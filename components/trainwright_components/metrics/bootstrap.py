"""How far two models' values of one metric may be apart by chance: the paired bootstrap, over rows that both answered.

Efron's percentile interval: rows are drawn with replacement, and both models are scored on the same draw. A metric
takes part as sums over rows, so that a draw costs one product of matrices. Where rows belong together, such as those of
one patient, whole groups are drawn: rows alone would make the interval too narrow (the cluster bootstrap; Field and
Welsh, Journal of the Royal Statistical Society B 69, 2007).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

THRESHOLD = 0.5
"""A label of several with a probability above this is predicted, as in Keras."""
RESAMPLES = 2_000
CONFIDENCE = 0.95
_DRAWN_AT_ONCE = 2_000_000
_ROUNDING = 1e-9  # equal sums of products differ in their last digits


@dataclass(frozen=True, kw_only=True)
class RowSums:
    """A metric as a function of sums over rows.

    Args:
        columns: `(rows, sums)`, with the weights of the rows in them.
        value: From sums `(draws, sums)` to the metric `(draws,)`; NaN where they do not define it.
    """

    columns: Floats
    value: Callable[[Floats], Floats]

    def by_group(self, groups: NDArray[Any]) -> "RowSums":
        """The same of groups in place of rows; `groups` has one value for each row, `(rows,)`."""
        _, places = np.unique(groups, return_inverse=True)
        columns: Floats = np.zeros((int(places.max(initial=-1)) + 1, self.columns.shape[1]))
        np.add.at(columns, places, self.columns)
        return RowSums(columns=columns, value=self.value)


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One model's metric minus another's on `rows` rows, and the ends of its 95 % interval.

    `groups` is how many groups of rows were drawn; None where each row was drawn by itself.
    """

    value: float
    low: float
    high: float
    rows: int
    groups: int | None = None

    def is_worse(self, *, more_is_better: bool) -> bool:
        """Whether all of the interval is on the bad side of 0."""
        slack = _ROUNDING * max(abs(self.low), abs(self.high))
        return self.high < -slack if more_is_better else self.low > slack


def compare_paired(
    one: RowSums, other: RowSums, *, groups: NDArray[Any] | None = None, resamples: int = RESAMPLES, seed: int = 0
) -> Difference | None:
    """The difference of `one` to `other`, whose rows are the same; None where the rows do not define it.

    Rows with the same value in `groups`, `(rows,)`, are drawn together.
    """
    asked = len(one.columns)
    if groups is not None:
        one, other = one.by_group(groups), other.by_group(groups)
    rows, width = one.columns.shape
    both = np.concatenate([one.columns, other.columns], axis=1)

    def difference(sums: Floats) -> Floats:
        return one.value(sums[:, :width]) - other.value(sums[:, width:])

    random = np.random.default_rng(seed)
    at_once = max(1, _DRAWN_AT_ONCE // max(rows, 1))
    drawn = []
    for start in range(0, resamples, at_once):
        count = min(at_once, resamples - start)
        places = random.integers(rows, size=(count, rows)) + rows * np.arange(count)[:, None]
        times = np.bincount(places.ravel(), minlength=count * rows).reshape(count, rows)
        drawn.append(difference(times @ both))
    found = np.concatenate(drawn)
    value, found = difference(both.sum(axis=0, keepdims=True)), found[np.isfinite(found)]
    if not np.isfinite(value[0]) or not found.size:
        return None
    low, high = np.quantile(found, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    drawn_groups = None if groups is None else rows
    return Difference(value=float(value[0]), low=float(low), high=float(high), rows=asked, groups=drawn_groups)


def accuracy_sums(probabilities: NDArray[np.float32], labels: NDArray[np.int64], weights: Floats) -> RowSums:
    """Of `(rows, classes)` and the classes' indices `(rows,)`."""
    is_right = probabilities.argmax(axis=1) == labels
    return RowSums(
        columns=np.stack([weights * is_right, weights], axis=1), value=lambda sums: _divide(sums[:, 0], sums[:, 1])
    )


def micro_f1_sums(probabilities: NDArray[np.float32], labels: NDArray[np.int64], weights: Floats) -> RowSums:
    """Of `(rows, labels)`, whose labels are 0 and 1."""
    found, has = probabilities > THRESHOLD, labels == 1
    right, all_named = (found & has).sum(axis=1), found.sum(axis=1) + has.sum(axis=1)
    columns = np.stack([2 * weights * right, weights * all_named], axis=1)
    return RowSums(columns=columns, value=lambda sums: _divide(sums[:, 0], sums[:, 1]))


def rmse_sums(predictions: NDArray[np.float32], labels: NDArray[np.float32], weights: Floats) -> RowSums:
    """Of `(rows,)` or `(rows, values)`; the mean over the values."""
    errors = predictions.reshape(len(labels), -1).astype(np.float64) - labels.reshape(len(labels), -1)
    columns = np.concatenate([weights[:, None] * errors**2, weights[:, None]], axis=1)
    return RowSums(columns=columns, value=lambda sums: np.sqrt(_divide(sums[:, :-1], sums[:, -1:])).mean(axis=1))


def auc_sums(probabilities: NDArray[np.float32], labels: NDArray[np.int64], weights: Floats) -> RowSums:
    """Of the second class of two, or the mean over each against the rest.

    An AUC is no mean over rows. To first order it moves with the shares of the other side that each row is ranked
    right against: the structural components of DeLong, DeLong and Clarke-Pearson (Biometrics 44, 1988).
    """
    count = probabilities.shape[1]
    parts, areas = [], []
    for index in range(count) if count > 2 else range(1, count):
        is_class, scores = labels == index, probabilities[:, index]
        positive, negative = np.where(is_class, weights, 0.0), np.where(is_class, 0.0, weights)
        if positive.sum() <= 0 or negative.sum() <= 0:
            continue
        shares = np.where(is_class, _share_below(scores, negative), 1 - _share_below(scores, positive))
        parts += [positive * shares, positive, negative * shares, negative]
        areas.append(float(positive @ shares / positive.sum()))

    def value(sums: Floats) -> Floats:
        """The mean over the classes that have rows on both sides of a draw."""
        four = sums.reshape(len(sums), -1, 4)
        each = _divide(four[..., 0], four[..., 1]) + _divide(four[..., 2], four[..., 3]) - np.array(areas)
        there = np.isfinite(each)
        return _divide(np.where(there, each, 0).sum(axis=1), there.sum(axis=1))

    columns = np.stack(parts, axis=1) if parts else np.zeros((len(labels), 0))
    return RowSums(columns=columns, value=value)


def _share_below(scores: NDArray[np.float32], weights: Floats) -> Floats:
    """For each score the share of `weights` with a lower one, and half of those with the same."""
    _, places = np.unique(scores, return_inverse=True)
    each = np.bincount(places, weights)
    shares: Floats = (np.cumsum(each) - each / 2)[places] / weights.sum()
    return shares


def _divide(part: Floats, whole: NDArray[Any]) -> Floats:
    quotient: Floats = np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)
    return quotient
