"""Train a model module on one process or on a cluster, and report on it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainwright_components.model_module import load_module
from trainwright_components.reports import Report
from trainwright_components.training.run import TrainingResult, run_training
from trainwright_components.training.settings import TrainingSettings


def train_model(
    dataset: Path,
    module: str | Path,
    output: Path,
    *,
    params: Mapping[str, Any] | None = None,
    training: Mapping[str, Any] | None = None,
    cluster: Mapping[str, Any] | None = None,
    log_dir: Path | None = None,
    report: Path | None = None,
) -> TrainingResult:
    """Train `module` on the prepared `dataset` and write the trained model to `output`."""
    settings = TrainingSettings.from_mapping(training or {})
    result = run_training(load_module(module), dataset, output, params=params, settings=settings, log_dir=log_dir)
    if report is not None:
        report.write_text(Report("Training").add_mapping(result.metrics).html())
    return result
