"""ROC and precision-recall numbers of a stream, held against scikit-learn's."""

import numpy as np
import pytest
from sklearn import metrics as exact

from trainwright_components.metrics.score_curve import ScoreCurve

random = np.random.default_rng(3)


def draw(rows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    is_positive = random.random(rows) < 0.3
    scores = np.clip(random.normal(0.4 + 0.2 * is_positive, 0.2), 0, 1)
    return scores, is_positive, random.uniform(0.5, 2, size=rows)


def curve_of(scores: np.ndarray, is_positive: np.ndarray, weights: np.ndarray, *, capacity: int) -> ScoreCurve:
    curve = ScoreCurve(capacity)
    for part in np.array_split(np.arange(len(scores)), 20):
        curve.add(scores[part], is_positive[part], weights[part])
    return curve


def test_is_exact_below_its_capacity() -> None:
    scores, is_positive, weights = draw(2_000)
    scores = scores.round(2)  # ties
    curve = curve_of(scores, is_positive, weights, capacity=3_000)
    assert curve.auc() == pytest.approx(exact.roc_auc_score(is_positive, scores, sample_weight=weights), abs=1e-12)
    assert curve.average_precision() == pytest.approx(
        exact.average_precision_score(is_positive, scores, sample_weight=weights), abs=1e-12
    )


def test_stays_near_and_small_beyond_its_capacity() -> None:
    scores, is_positive, weights = draw(50_000)
    curve = curve_of(scores, is_positive, weights, capacity=1_000)
    assert curve.auc() == pytest.approx(exact.roc_auc_score(is_positive, scores, sample_weight=weights), abs=1e-3)
    assert curve.average_precision() == pytest.approx(
        exact.average_precision_score(is_positive, scores, sample_weight=weights), abs=3e-3
    )
    assert len(curve._scores) <= 1_000


def test_thinned_roc_keeps_its_ends_and_its_area() -> None:
    scores, is_positive, weights = draw(5_000)
    roc = curve_of(scores, is_positive, weights, capacity=10_000).roc(points=50)
    assert roc is not None
    assert len(roc.thresholds) <= 50
    assert (roc.false_positive_rates[0], roc.true_positive_rates[0]) == (0, 0)
    assert (roc.false_positive_rates[-1], roc.true_positive_rates[-1]) == (1, 1)
    assert list(roc.thresholds) == sorted(roc.thresholds, reverse=True)
    wanted = exact.roc_auc_score(is_positive, scores, sample_weight=weights)
    assert np.trapezoid(roc.true_positive_rates, roc.false_positive_rates) == pytest.approx(wanted, abs=2e-3)


def test_nothing_is_claimed_without_both_kinds() -> None:
    curve = ScoreCurve()
    assert (curve.auc(), curve.roc(), curve.average_precision()) == (None, None, None)
    curve.add(np.array([0.5]), np.array([True]), np.ones(1))
    assert (curve.auc(), curve.roc(), curve.average_precision()) == (None, None, 1.0)
