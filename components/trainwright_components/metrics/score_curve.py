"""ROC and precision-recall numbers of a stream of scores, in bounded memory."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

DEFAULT_CAPACITY = 100_000
CURVE_POINTS = 100


@dataclass(frozen=True, kw_only=True)
class RocCurve:
    """Points from (0, 0) to (1, 1), thresholds falling; the first threshold, which no score reaches, is cut to 1."""

    false_positive_rates: tuple[float, ...]
    true_positive_rates: tuple[float, ...]
    thresholds: tuple[float, ...]


class ScoreCurve:
    """How many positives and negatives have each score.

    Exact up to `capacity` different scores. Beyond that neighbouring scores are merged in pairs, which can move the AUC
    by no more than about `1 / capacity`.
    """

    def __init__(self, capacity: int = DEFAULT_CAPACITY) -> None:
        self._capacity = capacity
        self._scores: Floats = np.empty(0)
        self._positives: Floats = np.empty(0)
        self._negatives: Floats = np.empty(0)
        self._waiting: list[tuple[Floats, Floats, Floats]] = []
        self._waiting_count = 0

    def add(self, scores: Floats, is_positive: NDArray[np.bool_], weights: Floats) -> None:
        """Count more scores; all three are `(n,)`."""
        self._waiting.append((scores, np.where(is_positive, weights, 0.0), np.where(is_positive, 0.0, weights)))
        self._waiting_count += len(scores)
        if self._waiting_count > self._capacity:
            self._merge()

    def auc(self) -> float | None:
        """Area under the ROC curve; None without positives or without negatives."""
        rates = self._rates()
        if rates is None:
            return None
        false_rates, true_rates, _ = rates
        return float(np.trapezoid(true_rates, false_rates))

    def average_precision(self) -> float | None:
        """Sum over thresholds of precision times the recall gained; None without positives."""
        self._merge()
        found = np.cumsum(self._positives[::-1])
        taken = found + np.cumsum(self._negatives[::-1])
        if not len(found) or found[-1] <= 0:
            return None
        precision = np.divide(found, taken, out=np.zeros_like(found), where=taken > 0)
        return float(np.sum(np.diff(found, prepend=0.0) * precision) / found[-1])

    def roc(self, points: int = CURVE_POINTS) -> RocCurve | None:
        """The ROC curve thinned to at most `points` points, evenly spread along its length."""
        rates = self._rates()
        if rates is None:
            return None
        false_rates, true_rates, thresholds = rates
        keep = _thin(false_rates + true_rates, points)
        return RocCurve(
            false_positive_rates=tuple(false_rates[keep].tolist()),
            true_positive_rates=tuple(true_rates[keep].tolist()),
            thresholds=tuple(thresholds[keep].tolist()),
        )

    def _rates(self) -> tuple[Floats, Floats, Floats] | None:
        self._merge()
        if self._positives.sum() <= 0 or self._negatives.sum() <= 0:
            return None
        true_rates, false_rates = (
            np.concatenate([[0.0], np.cumsum(counts[::-1])]) for counts in (self._positives, self._negatives)
        )
        true_rates, false_rates = true_rates / true_rates[-1], false_rates / false_rates[-1]
        thresholds = np.concatenate([[max(1.0, self._scores[-1])], self._scores[::-1]])
        return false_rates, true_rates, thresholds

    def _merge(self) -> None:
        if not self._waiting:
            return
        scores, positives, negatives = (
            np.concatenate([old, *new])
            for old, new in zip(
                (self._scores, self._positives, self._negatives), zip(*self._waiting, strict=True), strict=True
            )
        )
        self._waiting, self._waiting_count = [], 0
        self._scores, groups = np.unique(scores, return_inverse=True)
        self._positives = np.bincount(groups, positives).astype(np.float64)
        self._negatives = np.bincount(groups, negatives).astype(np.float64)
        while len(self._scores) > self._capacity:
            starts = np.arange(0, len(self._scores), 2)
            self._positives = np.add.reduceat(self._positives, starts)
            self._negatives = np.add.reduceat(self._negatives, starts)
            self._scores = self._scores[starts]


def _thin(path: Floats, points: int) -> NDArray[np.intp]:
    if len(path) <= points:
        return np.arange(len(path))
    wanted = np.searchsorted(path, np.linspace(path[0], path[-1], points))
    return np.unique(np.concatenate([[0], wanted[1:-1], [len(path) - 1]]))
