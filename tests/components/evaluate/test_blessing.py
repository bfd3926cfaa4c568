"""Which numbers let a model pass."""

import math
from typing import Any

import numpy as np
import pytest

from trainwright_components.datasets.task import Task
from trainwright_components.errors import InvalidSetting
from trainwright_components.evaluate.blessing import (
    Check,
    CheckKind,
    NotComparable,
    check_champion,
    check_finite,
    check_thresholds,
    incomparable_champion,
)
from trainwright_components.metrics.classification import ClassificationTally
from trainwright_components.metrics.table import METRICS
from trainwright_components.metrics.thresholds import check_before_data, known_metrics, parse_thresholds


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
        "advice": "improve the model, or change evaluation.thresholds.accuracy",
    }


@pytest.mark.parametrize("metrics", [{}, {"auc": math.nan}, {"auc": math.inf}, {"auc": -math.inf}])
@pytest.mark.parametrize("limits", [{"min": 0.5}, {"max": 0.5}])
def test_an_undefined_metric_does_not_pass(metrics: dict[str, float], limits: dict[str, float]) -> None:
    (check,) = judge({"auc": limits}, metrics)
    assert not check.passed
    assert check.value is None
    assert "not defined" in check.message


def test_limits_in_slices_fail_where_nothing_was_sliced() -> None:
    checks = judge({"accuracy": {"min": 0.8, "min_in_slices": 0.7, "max_in_slices": 1}}, {"accuracy": 0.9})
    assert [(check.kind, check.passed, check.limit) for check in checks] == [
        (CheckKind.THRESHOLD, True, 0.8),
        (CheckKind.SLICE_THRESHOLD, False, 0.7),
        (CheckKind.SLICE_THRESHOLD, False, 1.0),
    ]
    assert checks[1].message == "accuracy has a limit in slices, but the rows were not sliced"
    with pytest.raises(InvalidSetting, match=r"has a limit in slices, but evaluation\.slices names no feature"):
        check_before_data({"accuracy": {"max_in_slices": 0.7}}, has_slices=False)
    check_before_data({"accuracy": {"min": 0.7}}, has_slices=False)


def test_metrics_that_are_nan_or_infinite_fail_without_a_limit() -> None:
    checks = check_finite({"accuracy": 0.9, "keras_loss": math.nan, "rmse": math.inf})
    assert [(check.kind, check.passed, check.message) for check in checks] == [
        (CheckKind.FINITE, False, "keras_loss is nan on these rows"),
        (CheckKind.FINITE, False, "rmse is inf on these rows"),
    ]


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
    "thresholds",
    [
        {},
        {"accuracy": 0.9, "recall.any class": {"min": 0.5}, "keras_top": {"min": 0.1}},
        {"auc.yes": 0.9, "precision": 0.9},
        {"rmse": 3, "r2": 0.5},
        {"keras_loss": {"max": 1}},
    ],
)
def test_what_only_the_data_decide_is_let_through_before_there_are_any(thresholds: dict[str, Any]) -> None:
    check_before_data(thresholds)


@pytest.mark.parametrize(
    ("thresholds", "tasks", "words"),
    [
        ({"acuracy": 0.9}, tuple(Task), "no metric is called 'acuracy'; did you mean 'accuracy'"),
        ({"rms": 0.9}, tuple(Task), "no metric is called 'rms'; did you mean 'rmse'"),
        ({"max_error.cat": 0.9}, tuple(Task), "no metric is called 'max_error.cat'"),
        ({"accuracy": 0.9}, (Task.REGRESSION,), "no metric is called 'accuracy'"),
        ({"accuracy": 0.9, "rmse": 1}, tuple(Task), "no model has all of accuracy, rmse"),
        ({"recall.cat": "high"}, tuple(Task), "min of recall.cat must be a number"),
        ({"mean_error": 1}, tuple(Task), "say whether mean_error has a"),
        ({"rmse": {"maximum": 1}}, tuple(Task), "rmse has no bound 'maximum'; did you mean 'max'"),
    ],
)
def test_what_no_data_make_right_is_refused_before_there_are_any(
    thresholds: dict[str, Any], tasks: tuple[Task, ...], words: str
) -> None:
    with pytest.raises(InvalidSetting, match=words):
        check_before_data(thresholds, tasks)


def against_champion(
    metric: str, value: float | None, champion: float | None, tolerance: float = 0.0, *, answers_alike: bool = False
) -> Check:
    task = Task.CLASSIFICATION if metric in METRICS[Task.CLASSIFICATION] else Task.REGRESSION
    return check_champion(metric, task, value, champion, tolerance=tolerance, version="3", answers_alike=answers_alike)


@pytest.mark.parametrize(
    ("metric", "value", "champion", "tolerance", "passed"),
    [
        ("accuracy", 0.90, 0.90, 0.0, True),
        ("accuracy", 0.89, 0.90, 0.0, False),
        ("accuracy", 0.899999, 0.90, 0.0, False),
        ("accuracy", 0.89, 0.90, 0.02, True),
        ("accuracy", 0.70, 0.80, 0.10, True),
        ("log_loss", 0.31, 0.30, 0.0, False),
        ("log_loss", 0.29, 0.30, 0.0, True),
        ("log_loss", 0.302, 0.30, 0.01, True),
        ("log_loss", 0.304, 0.30, 0.01, False),
        ("rmse", 50_400.0, 50_000.0, 0.01, True),
        ("rmse", 50_600.0, 50_000.0, 0.01, False),
        ("mae", 0.000505, 0.0005, 0.01, True),
        ("mae", 0.00052, 0.0005, 0.01, False),
        ("r2", 0.005, 0.01, 0.01, True),
        ("r2", -0.5, -0.4, 0.05, False),
        ("calibration_error", 0.05, 0.01, 0.05, True),
    ],
)
def test_the_champion_must_not_be_better_by_more_than_the_tolerance(
    metric: str, value: float, champion: float, tolerance: float, passed: bool
) -> None:
    check = against_champion(metric, value, champion, tolerance)
    assert check.passed is passed
    assert "version 3" in check.message
    assert bool(check.advice) is not passed


def test_a_model_with_the_champions_answers_is_not_worse_whatever_rounding_does_to_the_metric() -> None:
    assert not against_champion("log_loss", 0.3000001, 0.3).passed
    assert against_champion("log_loss", 0.3000001, 0.3, answers_alike=True).passed


@pytest.mark.parametrize(
    ("metric", "values", "tolerance", "message"),
    [
        ("accuracy", (0.9444, 0.9722), 0.0, "accuracy is 0.9444, worse than 0.9722 of the champion (version 3)"),
        ("accuracy", (0.95, 0.97), 0.01, "accuracy is 0.95, worse by more than 0.01 than 0.97 of the"),
        ("rmse", (59.0, 57.0), 0.02, "rmse is 59, worse by more than 2% than 57 of the champion"),
        ("rmse", (57.123456, 57.123412), 0.0, "rmse is 57.1235, worse than 57.1234 of"),
        ("rmse", (32365.598, 4470.4916), 0.0, "rmse is 32366, worse than 4470.5 of"),
    ],
)
def test_the_message_has_the_digits_that_tell_the_two_apart(
    metric: str, values: tuple[float, float], tolerance: float, message: str
) -> None:
    assert message in against_champion(metric, *values, tolerance).message


@pytest.mark.parametrize(
    ("value", "champion"),
    [(None, 0.9), (0.9, None), (math.nan, 0.9), (0.9, math.nan), (math.inf, 0.9), (0.9, -math.inf)],
)
def test_a_metric_that_the_rows_do_not_define_compares_nothing(value: float | None, champion: float | None) -> None:
    with pytest.raises(NotComparable, match="auc is not defined on these rows"):
        against_champion("auc", value, champion)


def test_a_champion_that_cannot_be_compared_is_in_the_way_unless_it_may_be_replaced() -> None:
    check = incomparable_champion("auc", "it has no signature", version="3", may_be_replaced=False)
    assert not check.passed
    assert check.message == "the champion (version 3) cannot be compared: it has no signature"
    assert "model_name" in check.advice
    assert "replace_incomparable_champion=true" in check.advice
    asked_for = incomparable_champion("auc", "it has no signature", version="3", may_be_replaced=True)
    assert asked_for.passed
    assert not asked_for.advice


def test_every_metric_that_is_computed_can_have_a_threshold() -> None:
    tally = ClassificationTally(("no", "yes"))
    tally.add(np.array([[0.6, 0.4], [0.3, 0.7]], np.float32), np.array([0, 1]))
    assert set(tally.result().metrics) == set(METRICS[Task.CLASSIFICATION])
