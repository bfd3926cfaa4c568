"""Numbers about predicted class probabilities, added up batch by batch."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainwright_components.errors import InvalidData, InvalidModule
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
        matrix, total = self._confusion, self._confusion.sum()
        right, support, predicted = np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0)
        precision, recall = _ratio(right, predicted), _ratio(right, support)
        f1 = _ratio(2 * right, support + predicted)
        seen, has_rows = support + predicted > 0, support > 0
        aucs = [self._curves[index].auc() if index in self._curves else None for index in range(len(matrix))]
        precisions = [curve.average_precision() for curve in self._curves.values()]
        values: dict[str, float | None] = {
            "accuracy": _mean(right.sum(), total),
            "balanced_accuracy": _mean(recall[has_rows].sum(), has_rows.sum()),
            "log_loss": _mean(self._loss, total),
            "auc": _average(aucs if len(matrix) > 2 else aucs[1:]),
            "average_precision": _average(precisions),
            "macro_precision": _mean(precision[seen].sum(), seen.sum()),
            "macro_recall": _mean(recall[seen].sum(), seen.sum()),
            "macro_f1": _mean(f1[seen].sum(), seen.sum()),
            "weighted_f1": _mean((f1 * support).sum(), total),
            "calibration_error": _mean(np.abs(self._calibration[:, 1] - self._calibration[:, 2]).sum(), total),
        }
        if len(matrix) == 2:
            values |= {"precision": precision[1], "recall": recall[1], "f1": f1[1]}
        table = zip(self.class_names, precision, recall, f1, support, aucs, strict=True)
        curve = self._micro or self._curves.get(1)
        return ClassificationScores(
            rows=self.rows,
            metrics={name: float(value) for name, value in values.items() if value is not None},
            classes=tuple(
                ClassScores(name=n, precision=float(p), recall=float(r), f1=float(f), support=float(s), auc=a)
                for n, p, r, f, s, a in table
            ),
            confusion=matrix.copy(),
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
