"""Refuse metrics, slices and splits that a model of a dataset will not have. Trains nothing, scores nothing."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainwright_components.datasets.row_keys import RowKeys
from trainwright_components.datasets.schema import Schema
from trainwright_components.datasets.statistics import Statistics
from trainwright_components.metrics.requests import (
    champion_metric,
    check_folds,
    check_slices,
    check_split,
    read_thresholds,
)
from trainwright_components.metrics.settings import EvaluationSettings
from trainwright_components.metrics.thresholds import KERAS_PREFIX
from trainwright_components.settings import given_settings
from trainwright_components.training.configuration.settings import TrainingSettings
from trainwright_components.training.contexts import make_context
from trainwright_components.training.module_check import foresee_compiled
from trainwright_components.user_module.keras_kind import mentions
from trainwright_components.user_module.keras_process import call_beside_its_keras
from trainwright_components.user_module.module import load_module


def check_evaluation(
    dataset: str | Path,
    module: str | Path,
    *,
    params: Mapping[str, Any] | None = None,
    evaluation: EvaluationSettings | Mapping[str, Any] | None = None,
) -> None:
    """Hold `evaluation` against the prepared `dataset` and, for limits on `keras_` metrics, against the model.

    Args:
        dataset: A folder that prepare_data wrote.
        module: A Python file, a folder, or a dotted name.
        params: Overrides of the module's `DEFAULT_PARAMS`.
        evaluation: As `evaluate` takes it.

    Raises:
        InvalidSetting: A metric, bound, slice or split that there is not.
        InvalidData: The dataset has no label.
        InvalidModule: A limit is on one of the model's own metrics, and the model does not fit the dataset.
    """
    folder, settings = Path(dataset), given_settings(EvaluationSettings, evaluation)
    schema, statistics = Schema.load(folder), Statistics.load(folder)
    check_slices(settings.slices, schema)
    champion_metric(settings, schema)
    rows = {split: found.rows for split, found in statistics.splits.items()}
    has_reader = mentions(module, "make_dataset")
    if not has_reader:  # which may give rows that the dataset does not count
        check_split(settings.split, rows)
    if settings.folds:
        keys = RowKeys.load(folder)
        check_folds(settings.folds, rows, keys.split_by, keys.column, has_reader=has_reader)
    asked = [name for name in settings.thresholds if name.startswith(KERAS_PREFIX)]
    own = call_beside_its_keras(module, _own_metrics, module, folder, dict(params or {})) if asked else []
    read_thresholds(settings, schema, asked if own is None else [f"{KERAS_PREFIX}{name}" for name in own])


def _own_metrics(module: str | Path, dataset: Path, params: Mapping[str, Any]) -> list[str] | None:
    loaded = load_module(module)
    return foresee_compiled(loaded, make_context(loaded, dataset, params, TrainingSettings()))
