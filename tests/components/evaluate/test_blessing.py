"""Which numbers let a model pass."""

import math
from typing import Any

import numpy as np
import pytest

from trainwright_components.errors import InvalidSetting
from trainwright_components.evaluate.blessing import (
    METRICS,
    Check,
    CheckKind,
    check_champion,
    check_thresholds,
    known_metrics,
    parse_thresholds,
)
from trainwright_components.evaluate.classification import ClassificationTally
from trainwright_components.model_outputs import Task


def judge(
    thresholds: dict[str, Any],
    metrics: dict[str, float],
    slices: dict[str, dict[str, float]] | None = None,
    task: Task = Task.CLASSIFICATION,
) -> list[Check]:
    known = known_metrics(task, ("no", "yes"), ["keras_loss"])
    return check_thresholds(parse_thresholds(thresholds, task=task, known=known), metrics, slices or {})


@pytest.mark.parametrize(
    ("thresholds", "passed"),
    [
        ({"accuracy": 0.9}, True),
        ({"accuracy": 0.91}, False),
        ({"log_loss": 0.3}, True),
        ({"log_loss": 0.29}, False),
        ({"accuracy": {"min": 0.5, "max": 0.8}}, False),
        ({"keras_loss": {"max": 1}}, True),
        ({"recall.yes": 0.7}, True),
    ],
)
def test_a_bare_number_is_a_bound_on_the_bad_side(thresholds: dict[str, Any], passed: bool) -> None:
    checks = judge(thresholds, {"accuracy": 0.9, "log_loss": 0.3, "keras_loss": 0.5, "recall.yes": 0.7})
    assert all(check.passed for check in checks) is passed


def test_a_check_says_what_it_compared() -> None:
    (check,) = judge({"accuracy": {"min": 0.95}}, {"accuracy": 0.9})
    assert check.to_mapping() == {
        "kind": "threshold",
        "metric": "accuracy",
        "passed": False,
        "value": 0.9,
        "limit": 0.95,
        "message": "accuracy is 0.9, below 0.95",
    }


@pytest.mark.parametrize("metrics", [{}, {"auc": math.nan}])
def test_an_undefined_metric_does_not_pass(metrics: dict[str, float]) -> None:
    (check,) = judge({"auc": 0.5}, metrics)
    assert not check.passed
    assert "not defined" in check.message


def test_slices_have_bounds_of_their_own() -> None:
    slices = {"region=north": {"accuracy": 0.95}, "region=south": {"accuracy": 0.6}}
    checks = judge({"accuracy": {"min": 0.8, "min_in_slices": 0.7}}, {"accuracy": 0.9}, slices)
    failed = [check for check in checks if not check.passed]
    assert [(check.kind, check.message) for check in failed] == [
        (CheckKind.SLICE_THRESHOLD, "accuracy where region=south is 0.6, below 0.7")
    ]
    assert len(checks) == 3


@pytest.mark.parametrize(
    ("thresholds", "words"),
    [
        ({"acuracy": 0.9}, "no metric is called 'acuracy'; did you mean 'accuracy'"),
        ({"recall.yse": 0.9}, "did you mean 'recall.yes'"),
        ({"accuracy": {"minimum": 0.9}}, "accuracy has no bound 'minimum'; did you mean 'min'"),
        ({"accuracy": "high"}, "min of accuracy must be a number, got 'high'"),
        ({"accuracy": True}, "must be a number, got True"),
        ({"accuracy": math.nan}, "must be a number"),
        ({"keras_loss": 0.5}, "say whether keras_loss has a"),
        ({"rmse": 3}, "no metric is called 'rmse'"),
    ],
)
def test_thresholds_that_cannot_be_meant_are_refused(thresholds: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidSetting, match=words):
        judge(thresholds, {})


@pytest.mark.parametrize(
    ("metric", "value", "champion", "tolerance", "passed"),
    [
        ("accuracy", 0.90, 0.90, 0.0, True),
        ("accuracy", 0.89, 0.90, 0.0, False),
        ("accuracy", 0.89, 0.90, 0.02, True),
        ("log_loss", 0.31, 0.30, 0.0, False),
        ("log_loss", 0.29, 0.30, 0.0, True),
        ("accuracy", None, 0.90, 0.0, False),
        ("accuracy", 0.90, None, 0.0, True),
    ],
)
def test_the_champion_must_not_be_better_by_more_than_the_tolerance(
    metric: str, value: float | None, champion: float | None, tolerance: float, passed: bool
) -> None:
    check = check_champion(metric, Task.CLASSIFICATION, value, champion, tolerance=tolerance, version="3")
    assert check.passed is passed
    assert "version 3" in check.message


def test_every_metric_that_is_computed_can_have_a_threshold() -> None:
    tally = ClassificationTally(("no", "yes"))
    tally.add(np.array([[0.6, 0.4], [0.3, 0.7]], np.float32), np.array([0, 1]))
    assert set(tally.result().metrics) == set(METRICS[Task.CLASSIFICATION])
