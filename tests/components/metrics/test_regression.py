"""Numbers of regressors, held against scikit-learn's."""

import numpy as np
import pytest
from sklearn import metrics as exact

from trainwright_components.errors import InvalidModule
from trainwright_components.metrics.regression import SAMPLE_ROWS, RegressionScores, RegressionTally

random = np.random.default_rng(11)


def tally(
    predictions: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None, *, batch: int = 37
) -> RegressionScores:
    total = RegressionTally()
    for start in range(0, len(labels), batch):
        part = slice(start, start + batch)
        total.add(predictions[part], labels[part], None if weights is None else weights[part])
    return total.result()


@pytest.mark.parametrize("is_weighted", [False, True])
@pytest.mark.parametrize("shape", [(400,), (400, 1), (400, 3)])
def test_agrees_with_scikit_learn(shape: tuple[int, ...], is_weighted: bool) -> None:
    labels = random.normal(50, 10, size=shape).astype(np.float32)
    predictions = (labels + random.normal(1, 4, size=shape)).astype(np.float32)
    weights = random.uniform(0.1, 2, size=shape[0]) if is_weighted else None
    on_top = {"sample_weight": weights}
    errors = (predictions.astype(float) - labels).reshape(len(labels), -1)
    assert tally(predictions, labels, weights).metrics == pytest.approx(
        {
            "mae": exact.mean_absolute_error(labels, predictions, **on_top),
            "mse": exact.mean_squared_error(labels, predictions, **on_top),
            "rmse": exact.root_mean_squared_error(labels, predictions, **on_top),
            "mean_error": np.average(errors, axis=0, weights=weights).mean(),
            "max_error": np.abs(errors).max(),
            "r2": exact.r2_score(labels, predictions, **on_top),
            "explained_variance": exact.explained_variance_score(labels, predictions, **on_top),
        },
        rel=1e-6,
    )


def test_r2_keeps_its_digits_far_from_zero() -> None:
    labels = (1_000_000 + random.normal(size=1_000)).astype(np.float32)
    predictions = labels + np.float32(0.5)
    got = tally(predictions, labels).metrics["r2"]
    assert got == pytest.approx(exact.r2_score(labels.astype(float), predictions.astype(float)), rel=1e-6)


def test_a_constant_label_has_no_r2() -> None:
    got = tally(np.array([1.0, 2.0], np.float32), np.ones(2, np.float32)).metrics
    assert "r2" not in got
    assert got["mae"] == 0.5


def test_the_sample_for_plots_is_bounded_and_even() -> None:
    labels = np.arange(20_000, dtype=np.float32)
    got = tally(labels, labels, batch=1_000)
    assert got.rows == 20_000
    assert got.sample_labels.shape == (SAMPLE_ROWS, 1)
    assert got.sample_labels.mean() == pytest.approx(10_000, rel=0.05)


def test_nan_is_refused() -> None:
    with pytest.raises(InvalidModule, match="NaN or infinity"):
        tally(np.array([np.nan], np.float32), np.ones(1, np.float32))


def test_each_target_of_several_has_numbers_of_its_own() -> None:
    labels = random.normal([1, 500], [0.1, 40], size=(300, 2)).astype(np.float32)
    predictions = (labels + random.normal([0, 9], [0.05, 30], size=(300, 2))).astype(np.float32)
    weights = random.uniform(0.1, 2, size=300)
    total = RegressionTally(("width", "weight"))
    for part in (slice(0, 100), slice(100, 300)):
        total.add(predictions[part], labels[part], weights[part])
    got = total.result()
    for place, name in enumerate(("width", "weight")):
        asked = {"sample_weight": weights, "y_true": labels[:, place], "y_pred": predictions[:, place]}
        assert {key: got.named_metrics[f"{key}.{name}"] for key in ("rmse", "mae", "r2")} == pytest.approx(
            {
                "rmse": exact.root_mean_squared_error(**asked),
                "mae": exact.mean_absolute_error(**asked),
                "r2": exact.r2_score(**asked),
            },
            rel=1e-5,
        )
        assert got.targets[name]["max_error"] == pytest.approx(
            exact.max_error(labels[:, place], predictions[:, place]), rel=1e-5
        )
    assert got.metrics["rmse"] == pytest.approx(np.mean([each["rmse"] for each in got.targets.values()]))
