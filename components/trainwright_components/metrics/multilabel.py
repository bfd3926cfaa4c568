"""Numbers about predicted probabilities of independent labels, added up batch by batch."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from trainwright_components.errors import InvalidData, InvalidModule
from trainwright_components.metrics.bootstrap import THRESHOLD, micro_f1_sums
from trainwright_components.metrics.classification import SMALLEST_PROBABILITY, ClassScores
from trainwright_components.metrics.metric import Metric, compute_all, name_values
from trainwright_components.metrics.score_curve import DEFAULT_CAPACITY, ScoreCurve

Floats = NDArray[np.float64]

_MIN_CAPACITY = 1_000


@dataclass(frozen=True, kw_only=True)
class MultilabelScores:
    """What a model of several labels did.

    Args:
        metrics: Without those that the rows do not define, such as the AUC where no label has both answers.
        labels: Of each label by itself; `support` is the weight of the rows that have it.
        total: Weight of all rows.
    """

    rows: int
    metrics: dict[str, float]
    labels: tuple[ClassScores, ...]
    total: float

    @property
    def named_metrics(self) -> dict[str, float]:
        """Also those of each label, such as `f1.LABEL`."""
        return self.metrics | name_values(MULTILABEL_METRICS, {each.name: vars(each) for each in self.labels})


@dataclass(frozen=True, kw_only=True)
class MultilabelSums:
    """What a tally has added up; arrays are `(labels,)` weights of rows.

    Args:
        right: With a label that was predicted.
        predicted: For which a label was predicted.
        support: With a label.
        all_right: All of whose labels are told right, and no other is predicted.
        loss: Weighted cross entropies.
    """

    total: float
    right: Floats
    predicted: Floats
    support: Floats
    all_right: float
    loss: Floats
    curves: tuple[ScoreCurve, ...]

    @cached_property
    def precision(self) -> Floats:
        """Of each label; so are `recall`, `f1`, `aucs` and `average_precisions`. 0 where nothing was predicted."""
        return _ratio(self.right, self.predicted)

    @cached_property
    def recall(self) -> Floats:
        """Share of a label's rows for which it was predicted."""
        return _ratio(self.right, self.support)

    @cached_property
    def f1(self) -> Floats:
        """Harmonic means of precision and recall."""
        return _ratio(2 * self.right, self.support + self.predicted)

    @cached_property
    def aucs(self) -> list[float | None]:
        """None of a label that all rows have, or none."""
        return [curve.auc() for curve in self.curves]

    @cached_property
    def average_precisions(self) -> list[float | None]:
        """None of a label that no row has."""
        return [curve.average_precision() for curve in self.curves]


class MultilabelTally:
    """Adds up batches; its size depends on the number of labels and `capacity`, not on the rows."""

    def __init__(self, names: tuple[str, ...], *, capacity: int = DEFAULT_CAPACITY) -> None:
        self.names = names
        self.rows = 0
        self._total = self._all_right = 0.0
        self._right, self._predicted, self._support, self._loss = np.zeros((4, len(names)))
        each = max(_MIN_CAPACITY, capacity // len(names))
        self._curves = tuple(ScoreCurve(each) for _ in names)

    def add(self, probabilities: NDArray[np.float32], labels: NDArray[np.int64], weights: Floats | None = None) -> None:
        """Add a batch.

        Args:
            probabilities: `(n, labels)`.
            labels: `(n, labels)` of 0 and 1.
            weights: `(n,)`; ones when absent.
        """
        _check(probabilities, labels)
        if weights is not None and not np.isfinite(weights).all():
            raise InvalidData("a weight of these rows is NaN or infinite; leave out such rows")
        weights = np.ones(len(labels)) if weights is None else weights.astype(np.float64)
        has, found = labels == 1, probabilities > THRESHOLD
        self.rows += len(labels)
        self._total += float(weights.sum())
        self._all_right += float(weights @ (has == found).all(axis=1))
        self._right += weights @ (has & found)
        self._predicted += weights @ found
        self._support += weights @ has
        scores = probabilities.astype(np.float64)
        chosen = np.clip(np.where(has, scores, 1 - scores), SMALLEST_PROBABILITY, 1.0)
        self._loss -= weights @ np.log(chosen)
        for place, curve in enumerate(self._curves):
            curve.add(scores[:, place], has[:, place], weights)

    def result(self) -> MultilabelScores:
        """The numbers over everything added so far."""
        sums = MultilabelSums(
            total=self._total,
            right=self._right.copy(),
            predicted=self._predicted.copy(),
            support=self._support.copy(),
            all_right=self._all_right,
            loss=self._loss.copy(),
            curves=self._curves,
        )
        table = zip(self.names, sums.precision, sums.recall, sums.f1, sums.support, sums.aucs, strict=True)
        return MultilabelScores(
            rows=self.rows,
            metrics=compute_all(MULTILABEL_METRICS, sums) if self._total > 0 else {},
            labels=tuple(
                ClassScores(name=n, precision=float(p), recall=float(r), f1=float(f), support=float(s), auc=a)
                for n, p, r, f, s, a in table
            ),
            total=self._total,
        )


def _check(probabilities: NDArray[np.float32], labels: NDArray[np.int64]) -> None:
    if not np.isfinite(probabilities).all():
        raise InvalidModule("the model puts out NaN or infinity; look at the training's loss, and at missing values")
    if probabilities.min(initial=0) < -1e-3 or probabilities.max(initial=0) > 1.001:
        worst = float(probabilities.min()) if probabilities.min() < -1e-3 else float(probabilities.max())
        raise InvalidModule(
            f"the model puts out {worst:.4g} where a probability was expected: end it with sigmoid, or compile it with "
            "a loss that says from_logits=True"
        )
    if ((labels != 0) & (labels != 1)).any():
        raise InvalidData(f"a row has the label {labels[(labels != 0) & (labels != 1)][0]}, but labels are 0 or 1")


def _ratio(part: Floats, whole: Floats) -> Floats:
    return np.divide(part, whole, out=np.zeros_like(whole), where=whole > 0)


def _average(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _micro(part: Floats, whole: Floats) -> float:
    return float(part.sum() / whole.sum()) if whole.sum() > 0 else 0.0


def _hamming_loss(sums: MultilabelSums) -> float:
    wrong = sums.support + sums.predicted - 2 * sums.right
    return float(wrong.mean() / sums.total)


MULTILABEL_METRICS: tuple[Metric[MultilabelSums], ...] = (
    Metric(
        name="micro_f1",
        compute=lambda sums: _micro(2 * sums.right, sums.support + sums.predicted),
        more_is_better=True,
        headline=1,
        by_rows=micro_f1_sums,
    ),
    Metric(name="micro_precision", compute=lambda sums: _micro(sums.right, sums.predicted), more_is_better=True),
    Metric(name="micro_recall", compute=lambda sums: _micro(sums.right, sums.support), more_is_better=True),
    Metric(name="macro_f1", compute=lambda sums: float(sums.f1.mean()), more_is_better=True),
    Metric(name="macro_precision", compute=lambda sums: float(sums.precision.mean()), more_is_better=True),
    Metric(name="macro_recall", compute=lambda sums: float(sums.recall.mean()), more_is_better=True),
    Metric(name="subset_accuracy", compute=lambda sums: sums.all_right / sums.total, more_is_better=True),
    Metric(name="hamming_loss", compute=_hamming_loss, more_is_better=False),
    Metric(name="auc", compute=lambda sums: _average(sums.aucs), more_is_better=True, is_per_value=True, headline=2),
    Metric(name="average_precision", compute=lambda sums: _average(sums.average_precisions), more_is_better=True),
    Metric(
        name="log_loss",
        compute=lambda sums: float(sums.loss.mean() / sums.total),
        more_is_better=False,
        is_unbounded=True,
    ),
    *(
        Metric(name=name, compute=lambda _: None, more_is_better=True, is_binary=True, is_per_value=True)
        for name in ("precision", "recall", "f1")
    ),
)
