"""Train the baselines of a task on all training rows: those that fit, and why others do not. Knows TensorFlow."""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainwright_components.datasets.reader import read_batches
from trainwright_components.datasets.schema import Feature, Schema
from trainwright_components.datasets.statistics import SplitStatistics, Statistics
from trainwright_components.datasets.task import Task, task_of
from trainwright_components.evaluate.baselines.columns import compact, join, size_of_matrix
from trainwright_components.evaluate.baselines.protocol import Baseline, TrainingRows, Unfit

logger = logging.getLogger(__name__)

TRAIN = "train"
MAX_BYTES = 4 << 30
_FOLDER = "trainwright_components.evaluate.baselines"
BASELINES: Mapping[Task, Sequence[str]] = {
    Task.CLASSIFICATION: (
        f"{_FOLDER}.majority_class:MajorityClass",
        f"{_FOLDER}.logistic_regression:LogisticRegressionBaseline",
    ),
    Task.MULTILABEL: (
        f"{_FOLDER}.label_shares:LabelShares",
        f"{_FOLDER}.regression_per_label:RegressionPerLabel",
    ),
    Task.REGRESSION: (f"{_FOLDER}.mean_label:MeanLabel", f"{_FOLDER}.ridge_regression:RidgeRegression"),
}
SEASONAL = f"{_FOLDER}.seasonal_naive:SeasonalNaive"
_PROGRESS_EVERY_S = 5.0


@dataclass(frozen=True, kw_only=True)
class FittedBaselines:
    """The baselines that were trained.

    Args:
        notes: What is worth saying about each, by its name; also of those that were not trained.
    """

    baselines: tuple[Baseline, ...] = ()
    schema: Schema
    notes: Mapping[str, str] = field(default_factory=dict)

    @property
    def read_features(self) -> tuple[Feature, ...]:
        """What any of them looks at."""
        return self.schema.features if any(each.reads_columns for each in self.baselines) else ()

    def answer(self, features: Mapping[str, NDArray[Any]], rows: int) -> list[NDArray[np.float32]]:
        """What each says about `rows` rows of these raw features."""
        columns = compact(features, self.read_features)
        return [each.answer(columns, rows) for each in self.baselines]


def fit_baselines(
    dataset: Path, schema: Schema, *, has_own_dataset: bool = False, max_bytes: int = MAX_BYTES
) -> FittedBaselines:
    """Train each baseline of the task on the training rows of `dataset`.

    Args:
        dataset: A prepared dataset.
        schema: The features that the model takes, and its label.
        has_own_dataset: Whether the module reads the rows itself, so that nobody knows what the columns are to it.
        max_bytes: What the training rows may take in memory; beyond that no baseline looks at the columns.
    """
    statistics = Statistics.load(dataset).splits.get(TRAIN)
    has_season = bool(schema.history and schema.history.season)
    made = [_make(name) for name in (*BASELINES[task_of(schema)], *([SEASONAL] if has_season else []))]
    if statistics is None or not statistics.rows:
        return FittedBaselines(schema=schema, notes=dict.fromkeys(_names(made), "the dataset has no training rows"))
    notes: dict[str, str] = {}
    if reason := _obstacle(schema, statistics, has_own_dataset=has_own_dataset, max_bytes=max_bytes):
        notes |= {each.name: reason for each in made if each.reads_columns}
        made = [each for each in made if not each.reads_columns]
    rows = _read(dataset, schema, statistics, with_columns=any(each.reads_columns for each in made))
    if (rows.weights < 0).any() or not rows.weights.any():
        problem = "not trained, since no row has a weight above 0, or one has a weight below 0"
        return FittedBaselines(schema=schema, notes=notes | dict.fromkeys(_names(made), problem))
    fitted = []
    for each in made:
        try:
            note = _fit(each, rows)
        except Unfit as reason:
            notes[each.name] = str(reason)
        else:
            fitted.append(each)
            notes |= {each.name: note} if note else {}
    for name, note in notes.items():
        logger.info("baseline %s: %s", name, note)
    return FittedBaselines(baselines=tuple(fitted), schema=schema, notes=notes)


def _make(name: str) -> Baseline:
    module, _, kind = name.partition(":")
    made: Baseline = getattr(import_module(module), kind)()
    return made


def _names(baselines: Sequence[Baseline]) -> list[str]:
    return [each.name for each in baselines]


def _obstacle(schema: Schema, statistics: SplitStatistics, *, has_own_dataset: bool, max_bytes: int) -> str:
    """Why no baseline can look at the columns; empty where one can."""
    if has_own_dataset:
        return "not trained, since the module's make_dataset reads the rows its own way"
    if images := [each.name for each in schema.features if each.kind == "image"]:
        return f"not trained, since {images[0]!r} is an image"
    if not schema.features:
        return "not trained, since there are no features"
    if (size := size_of_matrix(schema.features, statistics)) > max_bytes:
        return (
            f"not trained, since {statistics.rows:,} training rows would take about {size / 2**30:.1f} GiB of memory, "
            f"more than {max_bytes / 2**30:g} GiB"
        )
    return ""


def _read(dataset: Path, schema: Schema, statistics: SplitStatistics, *, with_columns: bool) -> TrainingRows:
    features = schema.features if with_columns else ()
    wanted = Schema(features=features, label=schema.label, weight=Schema.load(dataset).weight)
    columns, labels, weights = [], [], []
    done, said = 0, time.monotonic()
    for batch, label, *rest in read_batches(dataset, TRAIN, schema=wanted):
        columns.append(compact({name: value.numpy() for name, value in batch.items()}, features))
        labels.append(label.numpy())
        weights.append(rest[0].numpy().astype(np.float64) if rest else np.ones(len(labels[-1])))
        done += len(labels[-1])
        if time.monotonic() - said > _PROGRESS_EVERY_S:
            said = time.monotonic()
            logger.info("baselines: read %d of %d training rows", done, statistics.rows)
    return TrainingRows(
        schema=schema, labels=np.concatenate(labels), weights=np.concatenate(weights), columns=join(columns)
    )


def _fit(baseline: Baseline, rows: TrainingRows) -> str:
    started = time.monotonic()
    if baseline.reads_columns:
        logger.info("training the baseline %s on %d rows", baseline.name, len(rows.labels))
    note = baseline.fit(rows)
    logger.info("baseline %s: trained in %.1f s", baseline.name, time.monotonic() - started)
    return note
