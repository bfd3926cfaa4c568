"""Score a trained model on one split, beside the champion, and decide whether it may be served."""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainwright_components.datasets.reader import check_count, count_rows
from trainwright_components.datasets.row_keys import MAX_EVALUATED_KEYS, RowKeys
from trainwright_components.datasets.schema import Schema
from trainwright_components.datasets.statistics import Statistics
from trainwright_components.datasets.task import Task, task_of
from trainwright_components.errors import InvalidData
from trainwright_components.evaluate.baselines.fitting import fit_baselines
from trainwright_components.evaluate.blessing import (
    Check,
    NotComparable,
    check_champion,
    check_finite,
    check_thresholds,
    incomparable_champion,
    is_defined,
    no_champion,
    undefined_metric,
)
from trainwright_components.evaluate.champion import Champion, Unreadable, find_champion
from trainwright_components.evaluate.comparison import BaselineComparison, BesideBaselines, baseline_metric
from trainwright_components.evaluate.cross_validation import CrossValidation, cross_validate
from trainwright_components.evaluate.scoring import ScoredBatch, Scorer, check_same_data
from trainwright_components.evaluate.slices import Scores, SliceScores, SliceTallies, Tally
from trainwright_components.metrics.classification import ClassificationTally
from trainwright_components.metrics.closeness import SHARE_OF_SPREAD, rounding_at, size_of
from trainwright_components.metrics.multilabel import MultilabelTally
from trainwright_components.metrics.regression import RegressionScores, RegressionTally
from trainwright_components.metrics.requests import champion_metric, check_slices, read_thresholds
from trainwright_components.metrics.settings import EvaluationSettings
from trainwright_components.saved_models.history import NO_VERSION
from trainwright_components.settings import given_settings
from trainwright_components.training.trained_model import MODULE_FOLDER, TrainedModel
from trainwright_components.user_module.keras_process import call_beside_its_keras

logger = logging.getLogger(__name__)

SLICE_CAPACITY = 10_000
_PROGRESS_EVERY_S = 5.0
_PROBABILITY_ROUNDING = 1e-5  # float32 keeps seven digits, and sums lose some


@dataclass(frozen=True, kw_only=True)
class ChampionScores:
    """The champion on the same rows; `scores` is None and `reason` says why when it could not be scored.

    `answers_alike` says that it gave the new model's answers but for rounding.
    """

    version: str
    scores: Scores | None = None
    reason: str = ""
    answers_alike: bool = False


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What was measured and decided.

    Args:
        metrics: Ours and, under `keras_` names, those that the model was compiled with; those that are finite.
        compared_with: The champion's version, `none` where no version was served; empty where none was asked for.
        checks: Everything that was looked at, passed or not.
        hyperparameters: What the model was trained with, defaults included.
        cross_validation: What models of folds are worth; None where `evaluation.folds` asks for none.
    """

    task: Task
    split: str
    scores: Scores
    metrics: dict[str, float]
    slices: tuple[SliceScores, ...]
    champion: ChampionScores | None
    baselines: BaselineComparison
    compared_with: str
    checks: tuple[Check, ...]
    hyperparameters: Mapping[str, Any]
    cross_validation: CrossValidation | None = None

    @property
    def is_blessed(self) -> bool:
        """Whether every check passed."""
        return all(check.passed for check in self.checks)

    @property
    def numbers(self) -> dict[str, float]:
        """What to log: the metrics, and the mean and the spread of each over the folds."""
        return self.metrics | (self.cross_validation.numbers if self.cross_validation else {})

    @property
    def reasons(self) -> list[dict[str, Any]]:
        """The checks as JSON values, failed ones first."""
        return [check.to_mapping() for check in sorted(self.checks, key=lambda check: check.passed)]

    @property
    def metadata(self) -> dict[str, Any]:
        """What is kept beside the metrics, as JSON values."""
        champion = self.champion
        return {
            "split": self.split,
            "rows": self.scores.rows,
            "is_blessed": self.is_blessed,
            "slices": _nested({(s.feature, s.value): s.scores.metrics | {"rows": s.scores.rows} for s in self.slices}),
            "champion": {
                "version": champion.version,
                "metrics": champion.scores.metrics if champion.scores else {},
                "reason": champion.reason,
            }
            if champion
            else {},
            "baselines": self.baselines.metadata,
            "cross_validation": self.cross_validation.to_mapping() if self.cross_validation else {},
        }


def evaluate_model(
    model: str | Path, dataset: str | Path, *, settings: EvaluationSettings | Mapping[str, Any] | None = None
) -> Evaluation:
    """Score the trained model in the folder `model` on a split of `dataset`; memory does not grow with the rows.

    Args:
        model: A folder that training wrote.
        dataset: A prepared dataset with the columns of the one that the model was trained on.
        settings: Split, thresholds, slices and champion, as `EvaluationSettings` or its fields by name; the defaults
            when absent.

    Returns:
        The metrics, those of slices and of the champion, and whether the model is blessed.

    Raises:
        InvalidSetting: An unknown split, metric, bound or slice.
        InvalidData: The dataset is not one that this model takes, the split is empty or lacks rows, or the champion
            cannot be read and may not be replaced.
    """
    settings = given_settings(EvaluationSettings, settings)
    return call_beside_its_keras(Path(model) / MODULE_FOLDER, _evaluate, Path(model), Path(dataset), settings)


def _evaluate(model: Path, dataset: Path, settings: EvaluationSettings) -> Evaluation:
    schema = Schema.load(dataset)
    task = task_of(schema)
    check_slices(settings.slices, schema)
    metric = champion_metric(settings, schema)
    challenged = _Challenged(settings, schema)
    trained = TrainedModel.load(model)
    check_same_data(trained.schema, schema)
    scorer = Scorer(trained, dataset, settings.split, batch_size=settings.batch_size)
    scorer.build()
    thresholds = read_thresholds(settings, schema, scorer.keras_metrics())

    taken = replace(schema, features=trained.schema.features)
    fitted = fit_baselines(dataset, taken, has_own_dataset=trained.module.make_dataset is not None)
    class_weights = trained.training.get("settings", {}).get("class_weights", {})
    beside = BesideBaselines(
        fitted,
        partial(_make_tally, schema),
        baseline_metric(schema, Statistics.load(dataset), class_weights),
        _groups(trained, dataset, settings.split),
    )
    tally = _make_tally(schema)
    slices = SliceTallies(settings.slices, partial(_make_tally, schema, capacity=SLICE_CAPACITY))
    progress = _Progress(count_rows(dataset, settings.split))
    for batch in scorer.batches():
        tally.add(batch.answers, batch.labels, batch.weights)
        sliced_by = {name: batch.features[name].numpy() for name in settings.slices}
        slices.add(sliced_by, batch.answers, batch.labels, batch.weights)
        challenged.add(batch)
        beside.add(batch)
        progress.add(len(batch.labels))

    scores, sliced, champion = tally.result(), slices.results(), challenged.result()
    if not scores.rows:
        raise InvalidData(f"the split {settings.split!r} of {dataset} has no rows to evaluate on")
    if not scores.metrics:
        raise InvalidData(f"the rows of the split {settings.split!r} of {dataset} all have the weight 0")
    if trained.module.make_dataset is None:
        check_count(dataset, settings.split, scores.rows)
    metrics = scores.metrics | scorer.keras_metrics()
    named = {each.name: each.scores.named_metrics for each in sliced}
    checks = check_finite(metrics) + check_thresholds(thresholds, metrics | scores.named_metrics, named)
    checks.append(_champion_check(champion, metric, task, scores.metrics, settings))
    baselines = beside.result(scores, task)
    checks += baselines.checks(is_allowed=settings.allow_below_baseline)
    return Evaluation(
        task=task,
        split=settings.split,
        scores=scores,
        metrics={name: value for name, value in metrics.items() if is_defined(value)},
        slices=sliced,
        champion=champion,
        baselines=baselines,
        compared_with=challenged.compared_with,
        checks=tuple(checks),
        hyperparameters=trained.hyperparameters,
        cross_validation=cross_validate(trained, dataset, partial(_make_tally, schema), settings=settings)
        if settings.folds
        else None,
    )


def _groups(trained: TrainedModel, dataset: Path, split: str) -> Sequence[float]:
    """What tells which rows of the split belong together, in their order; empty where nothing does."""
    keys = RowKeys.load(dataset)
    if trained.module.make_dataset is not None or keys.split_by != "key_column":
        return ()
    if split not in keys.keys:
        logger.warning(
            "the rows of a key in %r are compared with the baselines as if they were independent: keys are kept of "
            "splits that are not trained on, of at most %s rows",
            keys.column,
            f"{MAX_EVALUATED_KEYS:,}",
        )
    return keys.keys.get(split, ())


class _Challenged:
    """The champion, scored beside the model until it cannot go on."""

    def __init__(self, settings: EvaluationSettings, schema: Schema) -> None:
        self._tally = _make_tally(schema)
        self._version, self._reason = "", ""
        self._likeness = _Likeness()
        self._champion: Champion | None = None
        base_path = settings.champion_base_path
        served = find_champion(base_path)
        self.compared_with = served.version if served and served.location else NO_VERSION if base_path else ""
        if served is None:
            return
        self._version = served.version
        try:
            if not served.location:
                raise Unreadable("it was published, but its folder is gone")
            self._champion = Champion.load(served.location, schema)
        except NotComparable as reason:
            self._give_up(reason)
        except Unreadable as error:
            if not settings.replace_incomparable_champion:
                raise InvalidData(
                    f"the champion (version {served.version} in {base_path}) cannot be read: {error}. Repair or remove "
                    "it; to let the model take its place uncompared, set evaluation.replace_incomparable_champion=true"
                ) from error
            self._give_up(error)

    def add(self, batch: ScoredBatch) -> None:
        if self._champion is None:
            return
        try:
            answers = self._champion.answer(batch.features)
            self._tally.add(answers, batch.labels, batch.weights)
        except (NotComparable, ValueError) as reason:
            self._give_up(reason)
            return
        self._likeness.add(answers, batch.answers)

    def result(self) -> ChampionScores | None:
        if not self._version:
            return None
        scores = self._tally.result() if self._champion else None
        alike = scores is not None and self._likeness.result(scores)
        return ChampionScores(version=self._version, scores=scores, reason=self._reason, answers_alike=alike)

    def _give_up(self, reason: Exception) -> None:
        self._champion, self._reason = None, str(reason)
        logger.warning("the champion (version %s) cannot be compared: %s", self._version, reason)


class _Likeness:
    """Whether two graphs of one model may have given two series of answers, which differ by rounding then."""

    def __init__(self) -> None:
        self._differences = np.zeros(1)
        self._size = 0.0

    def add(self, answers: NDArray[np.float32], others: NDArray[np.float32]) -> None:
        if answers.size != others.size:
            self._differences = np.full(1, np.inf)
            return
        apart = np.abs(answers.reshape(len(answers), -1).astype(np.float64) - others.reshape(len(others), -1))
        self._differences = np.maximum(self._differences, apart.max(axis=0, initial=0))
        self._size = max(self._size, size_of(others))

    def result(self, scores: Scores) -> bool:
        """Probabilities are held against 1, numbers against the spread of their labels."""
        if not isinstance(scores, RegressionScores):
            return bool((self._differences <= _PROBABILITY_ROUNDING).all())
        spread = scores.label_std
        limits = np.where(spread > 0, SHARE_OF_SPREAD * spread, rounding_at(self._size))
        return bool((self._differences <= limits).all())


class _Progress:
    def __init__(self, total: int) -> None:
        self._total, self._done, self._said = total, 0, time.monotonic()

    def add(self, rows: int) -> None:
        self._done += rows
        if time.monotonic() - self._said > _PROGRESS_EVERY_S:
            self._said = time.monotonic()
            logger.info("evaluated %d of %d rows", self._done, self._total)


def _make_tally(schema: Schema, **options: int) -> Tally:
    task = task_of(schema)
    if task is Task.REGRESSION:
        return RegressionTally(schema.value_names)
    tally = ClassificationTally if task is Task.CLASSIFICATION else MultilabelTally
    return tally(schema.value_names, **options)


def _champion_check(
    champion: ChampionScores | None, metric: str, task: Task, metrics: Mapping[str, float], settings: EvaluationSettings
) -> Check:
    if champion is None:
        return no_champion(metric)
    if not is_defined(metrics.get(metric)):
        return undefined_metric(metric, version=champion.version)
    try:
        if champion.scores is None:
            raise NotComparable(champion.reason)
        return check_champion(
            metric,
            task,
            metrics.get(metric),
            champion.scores.metrics.get(metric),
            tolerance=settings.champion_tolerance,
            version=champion.version,
            answers_alike=champion.answers_alike,
        )
    except NotComparable as reason:
        return incomparable_champion(
            metric, reason, version=champion.version, may_be_replaced=settings.replace_incomparable_champion
        )


def _nested(values: Mapping[tuple[str, str], Any]) -> dict[str, dict[str, Any]]:
    nested: dict[str, dict[str, Any]] = {}
    for (outer, inner), value in values.items():
        nested.setdefault(outer, {})[inner] = value
    return nested
