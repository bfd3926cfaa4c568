"""What the KFP half records."""

import json
from pathlib import Path

from kfp import dsl

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
        thresholds={"accuracy": 2.0},
    )
    assert outputs.is_blessed is False
    assert outputs.reasons[0]["message"].endswith("below 2")
    assert 0 < metrics.metadata["accuracy"] <= 1
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
