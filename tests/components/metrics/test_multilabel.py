"""Numbers of models of several labels, held against scikit-learn's."""

import numpy as np
import pytest
from sklearn import metrics as exact

from trainwright_components.errors import InvalidData, InvalidModule
from trainwright_components.metrics.multilabel import MultilabelScores, MultilabelTally

random = np.random.default_rng(5)
NAMES = ("sea", "sky", "road", "snow")


def draw(rows: int = 400) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    labels = (random.random((rows, 4)) < [0.5, 0.3, 0.7, 0.05]).astype(np.int64)
    scores = 1 / (1 + np.exp(-(random.normal(size=(rows, 4)) + 2 * labels - 1)))
    return scores.astype(np.float32), labels, random.uniform(0.1, 3, size=rows)


def tally(
    probabilities: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None, *, batch: int = 64
) -> MultilabelScores:
    total = MultilabelTally(NAMES[: labels.shape[1]])
    for start in range(0, len(labels), batch):
        part = slice(start, start + batch)
        total.add(probabilities[part], labels[part], None if weights is None else weights[part])
    return total.result()


@pytest.mark.parametrize("is_weighted", [False, True])
def test_agrees_with_scikit_learn(is_weighted: bool) -> None:
    probabilities, labels, drawn = draw()
    weights = drawn if is_weighted else None
    got, predicted, wide = tally(probabilities, labels, weights), probabilities > 0.5, probabilities.astype(np.float64)
    weighted = {"sample_weight": weights}
    on_top = {**weighted, "zero_division": 0}
    log_losses = [exact.log_loss(labels[:, each], wide[:, each], **weighted) for each in range(4)]
    assert got.metrics == pytest.approx(
        {
            **{f"{way}_f1": exact.f1_score(labels, predicted, average=way, **on_top) for way in ("micro", "macro")},
            **{
                f"{way}_precision": exact.precision_score(labels, predicted, average=way, **on_top)
                for way in ("micro", "macro")
            },
            **{
                f"{way}_recall": exact.recall_score(labels, predicted, average=way, **on_top)
                for way in ("micro", "macro")
            },
            "subset_accuracy": exact.accuracy_score(labels, predicted, **weighted),
            "hamming_loss": exact.hamming_loss(labels, predicted, **weighted),
            "auc": exact.roc_auc_score(labels, wide, **weighted),
            "average_precision": exact.average_precision_score(labels, wide, **weighted),
            "log_loss": np.mean(log_losses),
        },
        abs=1e-6,
    )
    for place, name in enumerate(NAMES):
        one, found = labels[:, place], predicted[:, place]
        assert {key: got.named_metrics[f"{key}.{name}"] for key in ("f1", "precision", "recall", "auc")} == (
            pytest.approx(
                {
                    "f1": exact.f1_score(one, found, **on_top),
                    "precision": exact.precision_score(one, found, **on_top),
                    "recall": exact.recall_score(one, found, **on_top),
                    "auc": exact.roc_auc_score(one, wide[:, place], **weighted),
                },
                abs=1e-6,
            )
        )
    assert [each.support for each in got.labels] == pytest.approx(
        (labels * (np.ones((400, 1)) if weights is None else weights[:, None])).sum(axis=0)
    )


def test_three_rows_by_hand() -> None:
    labels = np.array([[1, 0], [1, 1], [0, 0]])
    got = tally(np.array([[0.9, 0.2], [0.4, 0.6], [0.1, 0.7]], np.float32), labels)
    assert got.metrics["subset_accuracy"] == pytest.approx(1 / 3)
    assert got.metrics["hamming_loss"] == pytest.approx(2 / 6)
    assert got.metrics["micro_f1"] == pytest.approx(2 * 2 / (3 + 3))
    assert {each.name: (each.precision, each.recall) for each in got.labels} == {"sea": (1, 0.5), "sky": (0.5, 1)}


def test_a_label_that_no_row_has_leaves_its_auc_out() -> None:
    labels = np.array([[1, 0], [0, 0]])
    got = tally(np.array([[0.9, 0.2], [0.4, 0.1]], np.float32), labels)
    assert got.metrics["auc"] == 1
    assert "auc.sky" not in got.named_metrics
    assert got.metrics["macro_f1"] == pytest.approx(
        exact.f1_score(labels, [[1, 0], [0, 0]], average="macro", zero_division=0)
    )


def test_rows_without_weight_define_nothing() -> None:
    assert tally(np.ones((2, 2), np.float32), np.ones((2, 2), np.int64), np.zeros(2)).metrics == {}


@pytest.mark.parametrize(
    ("probability", "label", "kind", "words"),
    [
        (4.0, 1, InvalidModule, "end it with sigmoid"),
        (np.nan, 1, InvalidModule, "NaN or infinity"),
        (0.5, 2, InvalidData, "the label 2, but labels are 0 or 1"),
    ],
)
def test_what_is_no_probability_or_no_label_is_refused(
    probability: float, label: int, kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=words):
        tally(np.array([[probability]], np.float32), np.array([[label]]))
