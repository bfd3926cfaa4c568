"""Numbers about predicted class probabilities, added up batch by batch."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from trainwright_components.errors import InvalidData, InvalidModule
from trainwright_components.metrics.bootstrap import accuracy_sums, auc_sums
from trainwright_components.metrics.metric import Metric, compute_all, name_values
from trainwright_components.metrics.score_curve import DEFAULT_CAPACITY, RocCurve, ScoreCurve

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

CALIBRATION_BINS = 10
SMALLEST_PROBABILITY = 1e-7  # as in Keras: one certain mistake must not make the mean infinite
_MIN_CAPACITY = 1_000


@dataclass(frozen=True, kw_only=True)
class ClassScores:
    """One class against the others; `support` is the weight of its rows, `auc` is None where it has no rows."""

    name: str
    precision: float
    recall: float
    f1: float
    support: float
    auc: float | None


@dataclass(frozen=True, kw_only=True)
class ClassificationScores:
    """What a classifier did.

    Args:
        metrics: Without those that the rows do not define, such as the AUC of a single class.
        confusion: `(classes, classes)`: rows are labels, columns are predictions.
        roc: Of the second class if there are two, else the micro average of one against the rest.
        calibration: Per tenth of confidence: weight, mean confidence, accuracy.
    """

    rows: int
    metrics: dict[str, float]
    classes: tuple[ClassScores, ...]
    confusion: Floats
    roc: RocCurve | None
    calibration: tuple[tuple[float, float, float], ...]

    @property
    def named_metrics(self) -> dict[str, float]:
        """Also those of each class, such as `recall.CLASS`."""
        return self.metrics | name_values(CLASSIFICATION_METRICS, {each.name: vars(each) for each in self.classes})


@dataclass(frozen=True, kw_only=True)
class ClassificationSums:
    """What a tally has added up.

    Args:
        confusion: `(classes, classes)` weights of rows: rows are labels, columns are predictions.
        loss: Sum of weighted cross entropies.
        calibration: `(bins, 3)`: weight, and weighted sums of confidence and of right answers.
        curves: By index of the class; of two classes only the second has one.
    """

    confusion: Floats
    loss: float
    calibration: Floats
    curves: Mapping[int, ScoreCurve]

    @cached_property
    def total(self) -> float:
        """Weight of all rows."""
        return float(self.confusion.sum())

    @cached_property
    def right(self) -> Floats:
        """Weight of the rows of each class that are told right."""
        return np.diag(self.confusion)

    @cached_property
    def support(self) -> Floats:
        """Weight of the rows of each class."""
        support: Floats = self.confusion.sum(axis=1)
        return support

    @cached_property
    def seen(self) -> NDArray[np.bool_]:
        """Which classes are a label or an answer of any row."""
        return self.support + self._predicted > 0

    @cached_property
    def precision(self) -> Floats:
        """Of each class against the others; so are `recall`, `f1` and `aucs`."""
        return _ratio(self.right, self._predicted)

    @cached_property
    def recall(self) -> Floats:
        """Share of each class's rows that are told right."""
        return _ratio(self.right, self.support)

    @cached_property
    def f1(self) -> Floats:
        """Harmonic means of precision and recall."""
        return _ratio(2 * self.right, self.support + self._predicted)

    @cached_property
    def aucs(self) -> list[float | None]:
        """None of a class without a curve, or whose rows do not define it."""
        return [self.curves[index].auc() if index in self.curves else None for index in range(len(self.confusion))]

    @property
    def _predicted(self) -> Floats:
        predicted: Floats = self.confusion.sum(axis=0)
        return predicted


class ClassificationTally:
    """Adds up batches; its size depends on the number of classes and `capacity`, not on the rows."""

    def __init__(self, class_names: tuple[str, ...], *, capacity: int = DEFAULT_CAPACITY) -> None:
        self.class_names = class_names
        self.rows = 0
        count = len(class_names)
        self._confusion = np.zeros((count, count))
        self._loss = 0.0
        self._calibration = np.zeros((CALIBRATION_BINS, 3))
        each = max(_MIN_CAPACITY, capacity // count)
        self._curves = {index: ScoreCurve(each) for index in (range(count) if count > 2 else range(1, count))}
        self._micro = ScoreCurve(capacity) if count > 2 else None

    def add(self, probabilities: NDArray[np.float32], labels: Ints, weights: Floats | None = None) -> None:
        """Add a batch.

        Args:
            probabilities: `(n, classes)`.
            labels: `(n,)` indices of classes.
            weights: `(n,)`; ones when absent.
        """
        count = len(self.class_names)
        _check(probabilities, labels, count)
        if weights is not None and not np.isfinite(weights).all():
            raise InvalidData("a weight of these rows is NaN or infinite; leave out such rows")
        weights = np.ones(len(labels)) if weights is None else weights.astype(np.float64)
        predicted = probabilities.argmax(axis=1)
        self.rows += len(labels)
        self._confusion += np.bincount(labels * count + predicted, weights, minlength=count**2).reshape(count, count)
        self._add_loss(probabilities.astype(np.float64), labels, weights)
        self._add_calibration(probabilities.max(axis=1), predicted == labels, weights)
        for index, curve in self._curves.items():
            curve.add(probabilities[:, index].astype(np.float64), labels == index, weights)
        if self._micro:
            is_label = labels[:, None] == np.arange(count)
            self._micro.add(probabilities.astype(np.float64).ravel(), is_label.ravel(), np.repeat(weights, count))

    def result(self) -> ClassificationScores:
        """The numbers over everything added so far."""
        sums = ClassificationSums(
            confusion=self._confusion.copy(), loss=self._loss, calibration=self._calibration, curves=self._curves
        )
        table = zip(self.class_names, sums.precision, sums.recall, sums.f1, sums.support, sums.aucs, strict=True)
        curve = self._micro or self._curves.get(1)
        return ClassificationScores(
            rows=self.rows,
            metrics=compute_all(CLASSIFICATION_METRICS, sums),
            classes=tuple(
                ClassScores(name=n, precision=float(p), recall=float(r), f1=float(f), support=float(s), auc=a)
                for n, p, r, f, s, a in table
            ),
            confusion=sums.confusion,
            roc=curve.roc() if curve else None,
            calibration=tuple((w, c / w, a / w) for w, c, a in self._calibration.tolist() if w > 0),
        )

    def _add_loss(self, probabilities: Floats, labels: Ints, weights: Floats) -> None:
        sums = probabilities.sum(axis=1)
        chosen = probabilities[np.arange(len(labels)), labels] / np.where(sums > 0, sums, 1.0)
        self._loss -= float(np.sum(weights * np.log(np.clip(chosen, SMALLEST_PROBABILITY, 1.0))))

    def _add_calibration(self, confidence: NDArray[np.float32], is_right: NDArray[np.bool_], weights: Floats) -> None:
        bins = np.minimum((confidence * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)
        columns = (weights, weights * confidence, weights * is_right)
        self._calibration += np.stack([np.bincount(bins, c, minlength=CALIBRATION_BINS) for c in columns], axis=1)


def _check(probabilities: NDArray[np.float32], labels: Ints, count: int) -> None:
    if not np.isfinite(probabilities).all():
        raise InvalidModule("the model puts out NaN or infinity; look at the training's loss, and at missing values")
    if probabilities.min(initial=0) < -1e-3 or probabilities.max(initial=0) > 1.001:
        worst = float(probabilities.min()) if probabilities.min() < -1e-3 else float(probabilities.max())
        raise InvalidModule(
            f"the model puts out {worst:.4g} where a probability was expected: end it with softmax, or compile it with "
            "a loss that says from_logits=True"
        )
    if labels.min(initial=0) < 0 or labels.max(initial=0) >= count:
        wrong = labels[(labels < 0) | (labels >= count)][0]
        raise InvalidData(f"a row has the label {wrong}, but there are {count} classes, counted from 0")


def _ratio(part: Floats, whole: Floats) -> Floats:
    return np.divide(part, whole, out=np.zeros_like(whole), where=whole > 0)


def _mean(total: float, count: float) -> float | None:
    return total / count if count > 0 else None


def _average(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _of_second(values: Floats) -> float | None:
    return float(values[1]) if len(values) == 2 else None


def _over_seen(sums: ClassificationSums, values: Floats) -> float | None:
    return _mean(values[sums.seen].sum(), sums.seen.sum())


def _accuracy(sums: ClassificationSums) -> float | None:
    return _mean(sums.right.sum(), sums.total)


def _balanced_accuracy(sums: ClassificationSums) -> float | None:
    has_rows = sums.support > 0
    return _mean(sums.recall[has_rows].sum(), has_rows.sum())


def _log_loss(sums: ClassificationSums) -> float | None:
    return _mean(sums.loss, sums.total)


def _auc(sums: ClassificationSums) -> float | None:
    return _average(sums.aucs)


def _average_precision(sums: ClassificationSums) -> float | None:
    return _average([curve.average_precision() for curve in sums.curves.values()])


def _weighted_f1(sums: ClassificationSums) -> float | None:
    return _mean((sums.f1 * sums.support).sum(), sums.total)


def _calibration_error(sums: ClassificationSums) -> float | None:
    return _mean(np.abs(sums.calibration[:, 1] - sums.calibration[:, 2]).sum(), sums.total)


CLASSIFICATION_METRICS: tuple[Metric[ClassificationSums], ...] = (
    Metric(name="accuracy", compute=_accuracy, more_is_better=True, headline=1, by_rows=accuracy_sums),
    Metric(name="balanced_accuracy", compute=_balanced_accuracy, more_is_better=True),
    Metric(name="log_loss", compute=_log_loss, more_is_better=False, is_unbounded=True),
    Metric(name="auc", compute=_auc, more_is_better=True, is_per_value=True, headline=2, by_rows=auc_sums),
    Metric(name="average_precision", compute=_average_precision, more_is_better=True),
    Metric(name="macro_precision", compute=lambda sums: _over_seen(sums, sums.precision), more_is_better=True),
    Metric(name="macro_recall", compute=lambda sums: _over_seen(sums, sums.recall), more_is_better=True),
    Metric(name="macro_f1", compute=lambda sums: _over_seen(sums, sums.f1), more_is_better=True),
    Metric(name="weighted_f1", compute=_weighted_f1, more_is_better=True),
    Metric(name="calibration_error", compute=_calibration_error, more_is_better=False),
    Metric(
        name="precision",
        compute=lambda sums: _of_second(sums.precision),
        more_is_better=True,
        is_binary=True,
        is_per_value=True,
    ),
    Metric(
        name="recall",
        compute=lambda sums: _of_second(sums.recall),
        more_is_better=True,
        is_binary=True,
        is_per_value=True,
    ),
    Metric(name="f1", compute=lambda sums: _of_second(sums.f1), more_is_better=True, is_binary=True, is_per_value=True),
)
