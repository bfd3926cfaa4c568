"""Numbers of classifiers, held against scikit-learn's."""

import numpy as np
import pytest
from sklearn import metrics as exact

from trainwright_components.errors import InvalidData, InvalidModule
from trainwright_components.metrics.classification import ClassificationScores, ClassificationTally

random = np.random.default_rng(7)
ROWS = 500


def draw(classes: int, rows: int = ROWS) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    labels = random.integers(classes, size=rows)
    scores = random.normal(size=(rows, classes)) + 1.5 * np.eye(classes)[labels]
    probabilities = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    return probabilities.astype(np.float32), labels, random.uniform(0.1, 3, size=rows)


def tally(
    probabilities: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None, *, batch: int = 64
) -> ClassificationScores:
    total = ClassificationTally(tuple(f"c{index}" for index in range(probabilities.shape[1])))
    for start in range(0, len(labels), batch):
        part = slice(start, start + batch)
        total.add(probabilities[part], labels[part], None if weights is None else weights[part])
    return total.result()


@pytest.mark.parametrize("is_weighted", [False, True])
def test_three_classes_agree_with_scikit_learn(is_weighted: bool) -> None:
    probabilities, labels, drawn = draw(3)
    weights = drawn if is_weighted else None
    got = tally(probabilities, labels, weights)
    predicted = probabilities.argmax(axis=1)
    wide = probabilities.astype(np.float64)
    wide /= wide.sum(axis=1, keepdims=True)
    on_top = {"sample_weight": weights, "zero_division": 0}
    recalls = exact.recall_score(labels, predicted, average=None, **on_top)
    assert got.metrics == pytest.approx(
        {
            "accuracy": exact.accuracy_score(labels, predicted, sample_weight=weights),
            "balanced_accuracy": exact.balanced_accuracy_score(labels, predicted, sample_weight=weights),
            "log_loss": exact.log_loss(labels, wide, sample_weight=weights),
            "auc": exact.roc_auc_score(labels, wide, multi_class="ovr", sample_weight=weights),
            "average_precision": np.mean(
                [
                    exact.average_precision_score(labels == c, probabilities[:, c], sample_weight=weights)
                    for c in range(3)
                ]
            ),
            "macro_precision": exact.precision_score(labels, predicted, average="macro", **on_top),
            "macro_recall": recalls.mean(),
            "macro_f1": exact.f1_score(labels, predicted, average="macro", **on_top),
            "weighted_f1": exact.f1_score(labels, predicted, average="weighted", **on_top),
            "calibration_error": calibration_error(probabilities, labels, drawn if is_weighted else np.ones(ROWS)),
        },
        abs=1e-6,
    )
    assert got.confusion == pytest.approx(exact.confusion_matrix(labels, predicted, sample_weight=weights))
    assert [each.recall for each in got.classes] == pytest.approx(recalls)


def calibration_error(probabilities: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> float:
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    gaps = 0.0
    for low in np.arange(10) / 10:
        inside = (confidence >= low) & (confidence < low + 0.1)
        gaps += abs((weights * (confidence - right))[inside].sum())
    return float(gaps / weights.sum())


def test_two_classes_report_the_second_as_positive() -> None:
    probabilities, labels, weights = draw(2)
    got = tally(probabilities, labels, weights)
    predicted = probabilities.argmax(axis=1)
    precision, recall, f1, _ = exact.precision_recall_fscore_support(
        labels, predicted, average="binary", sample_weight=weights
    )
    assert (got.metrics["precision"], got.metrics["recall"], got.metrics["f1"]) == pytest.approx(
        (precision, recall, f1)
    )
    assert got.metrics["auc"] == pytest.approx(exact.roc_auc_score(labels, probabilities[:, 1], sample_weight=weights))
    assert got.classes[0].auc is None
    assert got.classes[1].auc == got.metrics["auc"]


def test_micro_averaged_roc_of_several_classes() -> None:
    probabilities, labels, _ = draw(4)
    roc = tally(probabilities, labels).roc
    assert roc is not None
    wanted = exact.roc_auc_score(np.eye(4)[labels].ravel(), probabilities.ravel())
    assert np.trapezoid(roc.true_positive_rates, roc.false_positive_rates) == pytest.approx(wanted, abs=2e-3)
    assert len(roc.thresholds) <= 100


def test_a_class_that_never_occurs_does_not_spoil_the_means() -> None:
    probabilities, labels, _ = draw(3)
    labels = labels % 2
    probabilities[:, 2] = 0.0
    got = tally(probabilities, labels)
    predicted = probabilities.argmax(axis=1)
    assert got.metrics["macro_f1"] == pytest.approx(exact.f1_score(labels, predicted, average="macro"))
    assert got.metrics["auc"] == pytest.approx(
        np.mean([exact.roc_auc_score(labels == c, probabilities[:, c]) for c in (0, 1)])
    )
    assert (got.classes[2].support, got.classes[2].auc) == (0, None)


def test_a_single_class_leaves_undefined_metrics_out() -> None:
    probabilities, _, _ = draw(2)
    got = tally(probabilities, np.ones(ROWS, int))
    assert "auc" not in got.metrics
    assert got.roc is None
    assert got.metrics["accuracy"] == pytest.approx((probabilities[:, 1] > 0.5).mean())


def test_one_certain_mistake_leaves_the_loss_finite() -> None:
    got = tally(np.array([[1.0, 0.0], [0.0, 1.0]], np.float32), np.array([1, 1]))
    assert got.metrics["log_loss"] == pytest.approx(-np.log(1e-7) / 2)


def test_unnormalized_probabilities_are_normalized_for_the_loss_only() -> None:
    got = tally(np.array([[0.6, 0.9]], np.float32), np.array([1]))
    assert got.metrics["log_loss"] == pytest.approx(-np.log(0.9 / 1.5))


@pytest.mark.parametrize(
    ("probabilities", "labels", "error", "words"),
    [
        ([[np.nan, 1.0]], [0], InvalidModule, "NaN or infinity"),
        ([[-3.0, 4.0]], [0], InvalidModule, "-3 where a probability was expected.*from_logits=True"),
        ([[0.5, 0.5]], [2], InvalidData, "label 2, but there are 2 classes"),
        ([[0.5, 0.5]], [-1], InvalidData, "label -1"),
    ],
)
def test_impossible_batches_are_refused(
    probabilities: list[list[float]], labels: list[int], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        tally(np.array(probabilities, np.float32), np.array(labels))
