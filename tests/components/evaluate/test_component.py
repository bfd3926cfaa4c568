"""What the KFP half records."""

import json
from pathlib import Path
from typing import Any

import pytest
from kfp import dsl

from trainwright_components.errors import InvalidSetting
from trainwright_components.evaluate.component import evaluate


def test_records_metrics_plots_page_and_verdict(digits_model: Path, digits_dataset: Path, tmp_path: Path) -> None:
    metrics = dsl.Metrics(uri=str(tmp_path / "metrics"))
    plots = dsl.ClassificationMetrics(uri=str(tmp_path / "plots"))
    outputs = evaluate.python_func(
        model=dsl.Model(uri=str(digits_model)),
        dataset=dsl.Dataset(uri=str(digits_dataset)),
        metrics=metrics,
        classification_metrics=plots,
        report=dsl.HTML(uri=str(tmp_path / "report")),
        evaluation={"thresholds": {"accuracy": 2.0}},
    )
    assert (outputs.is_blessed, outputs.quantize, outputs.deploy) == (False, False, False)
    assert outputs.reasons[0]["message"].endswith("below 2")
    assert 0 < metrics.metadata["accuracy"] <= 1
    assert set(outputs.scores) == {"accuracy", "accuracy of the baseline majority class"}
    assert outputs.scores["accuracy"] == pytest.approx(metrics.metadata["accuracy"], abs=1e-4)
    assert metrics.metadata["is_blessed"] is False
    assert len(plots.metadata["confusionMatrix"]["rows"]) == 10
    assert len(plots.metadata["confidenceMetrics"]) > 2
    json.dumps([metrics.metadata, plots.metadata, outputs.reasons], allow_nan=False)
    assert "not blessed" in (tmp_path / "report").read_text()


def test_a_regression_has_no_classification_plots(
    regression_model: Path, regression_dataset: Path, tmp_path: Path
) -> None:
    plots = dsl.ClassificationMetrics(uri=str(tmp_path / "plots"))
    evaluate.python_func(
        model=dsl.Model(uri=str(regression_model)),
        dataset=dsl.Dataset(uri=str(regression_dataset)),
        metrics=dsl.Metrics(uri=str(tmp_path / "metrics")),
        classification_metrics=plots,
        report=dsl.HTML(uri=str(tmp_path / "report")),
    )
    assert plots.metadata == {}


@pytest.mark.parametrize(
    ("quantization", "serving", "decided"),
    [
        ({}, {}, (True, True)),
        ({"enabled": False, "modes": ["int8"]}, {}, (False, True)),
        ({}, {"enabled": False}, (True, False)),
    ],
)
def test_what_follows_for_a_blessed_model_is_read_from_the_groups(
    quantization: dict[str, Any],
    serving: dict[str, Any],
    decided: tuple[bool, bool],
    regression_model: Path,
    regression_dataset: Path,
    tmp_path: Path,
) -> None:
    outputs = evaluate.python_func(
        model=dsl.Model(uri=str(regression_model)),
        dataset=dsl.Dataset(uri=str(regression_dataset)),
        metrics=dsl.Metrics(uri=str(tmp_path / "metrics")),
        classification_metrics=dsl.ClassificationMetrics(uri=str(tmp_path / "plots")),
        report=dsl.HTML(uri=str(tmp_path / "report")),
        quantization=quantization,
        serving={**serving, "base_path": str(tmp_path / "models")},
    )
    assert outputs.is_blessed is True
    assert (outputs.quantize, outputs.deploy) == decided
    assert outputs.compared_with == "none"


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ({"evaluation": {"treshold": 1}}, "no evaluation setting 'treshold'; did you mean 'thresholds'"),
        ({"evaluation": {"champion_base_path": "x"}}, r"it is the parameter 'serving\.base_path'"),
        ({"serving": {"base": "x"}}, "no serving setting 'base'; did you mean 'base_path'"),
        ({"quantization": {"enabled": 1}}, r"quantization\.enabled must be true or false, got 1"),
    ],
)
def test_a_key_that_a_group_does_not_have_fails_the_step(
    groups: dict[str, Any], message: str, digits_model: Path, digits_dataset: Path, tmp_path: Path
) -> None:
    """A form in KFP's pages checks nothing."""
    with pytest.raises(InvalidSetting, match=message):
        evaluate.python_func(
            model=dsl.Model(uri=str(digits_model)),
            dataset=dsl.Dataset(uri=str(digits_dataset)),
            metrics=dsl.Metrics(uri=str(tmp_path / "metrics")),
            classification_metrics=dsl.ClassificationMetrics(uri=str(tmp_path / "plots")),
            report=dsl.HTML(uri=str(tmp_path / "report")),
            **groups,
        )
