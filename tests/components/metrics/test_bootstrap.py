"""The paired bootstrap against hand arithmetic and scipy's."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import bootstrap, rankdata
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score, root_mean_squared_error

from trainwright_components.metrics.bootstrap import (
    CONFIDENCE,
    Difference,
    RowSums,
    accuracy_sums,
    auc_sums,
    compare_paired,
    micro_f1_sums,
    rmse_sums,
)

Scores = NDArray[np.float32]


def column(*values: float) -> RowSums:
    """The mean of one number per row."""
    columns = np.stack([np.array(values), np.ones(len(values))], axis=1)
    return RowSums(columns=columns, value=lambda sums: sums[:, 0] / sums[:, 1])


def softmax(scores: NDArray[np.float64]) -> Scores:
    odds = np.exp(scores)
    shares: Scores = (odds / odds.sum(axis=1, keepdims=True)).astype(np.float32)
    return shares


def answers_of(labels: NDArray[np.int64], classes: int, *, skill: float, seed: int) -> Scores:
    """Probabilities that point to the label the more, the more `skill` there is."""
    noise = np.random.default_rng(seed).normal(size=(len(labels), classes))
    return softmax(noise + skill * (labels[:, None] == np.arange(classes)))


def rank_auc(is_positive: NDArray[np.bool_], scores: Scores) -> float:
    """By Mann and Whitney's U."""
    positives = is_positive.sum()
    above = rankdata(scores)[is_positive].sum() - positives * (positives + 1) / 2
    return float(above / (positives * (len(scores) - positives)))


def test_draws_of_two_rows_are_the_four_that_there_are() -> None:
    """Differences of 0 and 8: half of the draws are mixed, a quarter each 0 and 8, which are thus the ends."""
    found = compare_paired(column(1, 9), column(1, 1))
    assert found == Difference(value=4.0, low=0.0, high=8.0, rows=2)


def test_a_difference_that_every_row_has_is_sure() -> None:
    found = compare_paired(column(1, 5, 9), column(2, 6, 10))
    assert found is not None
    assert (found.value, found.low, found.high) == pytest.approx((-1, -1, -1))
    assert found.is_worse(more_is_better=True)
    assert not found.is_worse(more_is_better=False)


def test_an_interval_that_touches_zero_is_not_worse() -> None:
    """One of two rows is worse: a quarter of the draws does not show it."""
    found = compare_paired(column(0, 1), column(1, 1))
    assert found is not None
    assert (found.low, found.high) == (-1.0, 0.0)
    assert not found.is_worse(more_is_better=True)


def test_the_same_seed_draws_the_same_rows() -> None:
    one, other = column(*range(50)), column(*range(50, 0, -1))
    assert compare_paired(one, other, seed=3) == compare_paired(one, other, seed=3)
    assert compare_paired(one, other, seed=3) != compare_paired(one, other, seed=4)


def test_many_rows_are_drawn_in_parts() -> None:
    random = np.random.default_rng(0)
    differences = random.normal(0.1, 1, 9_000)
    found = compare_paired(column(*differences), column(*np.zeros(9_000)), resamples=500)
    assert found is not None
    half_width = 1.96 * differences.std() / np.sqrt(9_000)
    assert found.high - found.low == pytest.approx(2 * half_width, rel=0.1)


def test_groups_of_rows_are_drawn_whole() -> None:
    """Two groups, of differences that sum to 9 in three rows and to 1 in one: half of the draws have both of them."""
    groups = np.array(["a", "b", "a", "a"])
    found = compare_paired(column(2, 1, 3, 4), column(0, 0, 0, 0), groups=groups)
    assert found == Difference(value=2.5, low=1.0, high=3.0, rows=4, groups=2)


def test_rows_that_belong_together_agree_with_scipy_on_the_means_of_their_groups() -> None:
    random = np.random.default_rng(2)
    groups = np.repeat(np.arange(60), 12)
    differences = random.normal(0.2, 1, 60)[groups] + random.normal(0, 0.3, len(groups))
    none = column(*np.zeros(len(groups)))
    found = compare_paired(column(*differences), none, groups=groups * 0.37 + 1)
    alone = compare_paired(column(*differences), none)
    assert found is not None
    assert alone is not None
    means = differences.reshape(60, 12).mean(axis=1)  # groups of one size: the mean of all rows is that of their means
    low, high = interval_by_scipy(lambda rows: means[rows].mean(), np.arange(60))
    assert found.value == pytest.approx(means.mean())
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.1 * (high - low))
    assert alone.high - alone.low < 0.4 * (high - low)


@pytest.mark.parametrize("classes", [2, 3])
def test_a_group_for_each_row_is_the_same_as_none(classes: int) -> None:
    labels = np.random.default_rng(0).integers(classes, size=80)
    one, other = (auc_sums(answers_of(labels, classes, skill=1, seed=seed), labels, np.ones(80)) for seed in (1, 2))
    alone, grouped = compare_paired(one, other), compare_paired(one, other, groups=np.arange(80))
    assert alone is not None
    assert grouped is not None
    assert (grouped.low, grouped.high) == pytest.approx((alone.low, alone.high))


def interval_by_scipy(difference: Callable[..., float], rows: NDArray[np.int64]) -> tuple[float, float]:
    found = bootstrap(
        (rows,),
        difference,
        vectorized=False,
        n_resamples=800,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=0,
    ).confidence_interval
    return float(found.low), float(found.high)


@pytest.mark.parametrize(
    ("sums", "metric", "classes"),
    [
        (accuracy_sums, lambda labels, answers: np.mean(labels == answers.argmax(axis=1)), 3),
        (auc_sums, lambda labels, answers: rank_auc(labels == 1, answers[:, 1]), 2),
        (auc_sums, lambda labels, answers: np.mean([rank_auc(labels == k, answers[:, k]) for k in range(3)]), 3),
    ],
    ids=["accuracy", "auc of two classes", "auc of three"],
)
def test_classifiers_agree_with_scipy(sums: Callable[..., RowSums], metric: Callable[..., float], classes: int) -> None:
    labels = np.random.default_rng(0).integers(classes, size=150)
    one, other = (answers_of(labels, classes, skill=skill, seed=seed) for skill, seed in ((1.2, 1), (1.6, 2)))
    weights = np.ones(len(labels))
    found = compare_paired(sums(one, labels, weights), sums(other, labels, weights))

    def difference(rows: NDArray[np.int64]) -> float:
        return metric(labels[rows], one[rows]) - metric(labels[rows], other[rows])

    rows = np.arange(len(labels))
    low, high = interval_by_scipy(difference, rows)
    assert found is not None
    assert found.value == pytest.approx(difference(rows), abs=1e-6)
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.1 * (high - low))


def test_regressors_agree_with_scipy() -> None:
    random = np.random.default_rng(0)
    labels = random.normal(size=(200, 2)).astype(np.float32)
    one, other = (labels + random.normal(scale=scale, size=labels.shape) for scale in (1.0, 1.3))
    weights = np.ones(len(labels))
    found = compare_paired(
        rmse_sums(one.astype(np.float32), labels, weights), rmse_sums(other.astype(np.float32), labels, weights)
    )

    def difference(rows: NDArray[np.int64]) -> float:
        ours, theirs = (((answers[rows] - labels[rows]) ** 2).mean(axis=0) for answers in (one, other))
        return float((np.sqrt(ours) - np.sqrt(theirs)).mean())

    rows = np.arange(len(labels))
    low, high = interval_by_scipy(difference, rows)
    assert found is not None
    value = root_mean_squared_error(labels, one) - root_mean_squared_error(labels, other)
    assert found.value == pytest.approx(value, abs=1e-5)
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.1 * (high - low))
    assert not found.is_worse(more_is_better=False)


def test_micro_f1_of_sums_is_that_of_scikit_learn() -> None:
    random = np.random.default_rng(4)
    labels, scores = random.integers(0, 2, (50, 3)), random.random((50, 3)).astype(np.float32)
    weights = random.uniform(0.1, 2, 50)
    sums = micro_f1_sums(scores, labels, weights)
    found = sums.value(sums.columns.sum(axis=0, keepdims=True))
    assert found == pytest.approx(f1_score(labels, scores > 0.5, average="micro", sample_weight=weights))


def test_weights_of_rows_count_as_in_scikit_learn() -> None:
    random = np.random.default_rng(0)
    labels, weights = random.integers(3, size=90), random.integers(0, 4, size=90).astype(np.float64)
    one = answers_of(labels, 3, skill=1, seed=1)
    truth = (labels[:, None] == np.arange(3)).astype(int)
    wanted = {
        accuracy_sums: accuracy_score(labels, one.argmax(axis=1), sample_weight=weights),
        auc_sums: np.mean([roc_auc_score(truth[:, each], one[:, each], sample_weight=weights) for each in range(3)]),
    }
    for sums, value in wanted.items():
        made = sums(one, labels, weights)
        assert made.value(made.columns.sum(axis=0, keepdims=True))[0] == pytest.approx(value, abs=1e-6)
    errors = rmse_sums(one[:, 0], labels.astype(np.float32), weights)
    value = root_mean_squared_error(labels, one[:, 0], sample_weight=weights)
    assert errors.value(errors.columns.sum(axis=0, keepdims=True))[0] == pytest.approx(value, abs=1e-6)


def test_rows_of_one_class_have_no_auc() -> None:
    labels = np.zeros(5, np.int64)
    one = auc_sums(answers_of(labels, 2, skill=1, seed=0), labels, np.ones(5))
    assert compare_paired(one, one) is None


def test_a_draw_without_a_class_is_left_out() -> None:
    """The one positive row of ten is not in every draw."""
    labels = np.zeros(10, np.int64)
    labels[0] = 1
    one, other = (answers_of(labels, 2, skill=skill, seed=5) for skill in (0.0, 9.0))
    found = compare_paired(auc_sums(one, labels, np.ones(10)), auc_sums(other, labels, np.ones(10)))
    assert found is not None
    assert found.value == pytest.approx(roc_auc_score(labels, one[:, 1]) - 1.0, abs=1e-6)
    assert found.low <= found.value <= found.high


def test_a_draw_without_weight_is_left_out() -> None:
    """One row of three has a weight: draws of the other two alone have no mean, which is not worth a warning."""
    labels, weights = np.array([1, 2, 4], np.float32), np.array([0.0, 0.0, 1.0])
    one, other = (rmse_sums(answers, labels, weights) for answers in (labels + 1, labels + 3))
    found = compare_paired(one, other)
    assert found is not None
    assert (found.low, found.value, found.high) == (-2, -2, -2)
