"""Train the module anew on folds of a small table, and score each model on the fold that it has not seen.

Folds are dealt so that each has the same share of each class, and that rows which belong together stay together, as
Kohavi (1995), "A study of cross-validation and bootstrap", recommends for classes.
"""

import hashlib
import logging
import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainwright_components.datasets.reader import read_split
from trainwright_components.datasets.row_keys import RowKeys
from trainwright_components.datasets.schema import Schema
from trainwright_components.datasets.statistics import Statistics
from trainwright_components.datasets.writer import DatasetWriter
from trainwright_components.evaluate.scoring import Scorer
from trainwright_components.evaluate.slices import Tally
from trainwright_components.metrics.requests import check_folds
from trainwright_components.metrics.settings import EvaluationSettings
from trainwright_components.quiet import quiet_loggers
from trainwright_components.training.configuration.settings import AUTO, TrainingSettings
from trainwright_components.training.run import run_training
from trainwright_components.training.trained_model import TrainedModel

logger = logging.getLogger(__name__)

_POOLED = ("train", "validation")


@dataclass(frozen=True, kw_only=True)
class FoldScores:
    """One fold: on how many rows a model was trained, and what it is worth on the others."""

    trained_on: int
    rows: int
    metrics: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class CrossValidation:
    """The folds, and what they say together."""

    folds: tuple[FoldScores, ...]

    @property
    def mean(self) -> dict[str, float]:
        """Of each metric that every fold defines."""
        return {name: statistics.fmean(self._values(name)) for name in self._names}

    @property
    def std(self) -> dict[str, float]:
        """The standard deviation over the folds, of a sample."""
        return {name: statistics.stdev(self._values(name)) for name in self._names}

    @property
    def numbers(self) -> dict[str, float]:
        """To log beside the metrics."""
        std = self.std
        return {f"folds_{name}_{which}": of[name] for name in std for which, of in (("mean", self.mean), ("std", std))}

    def to_mapping(self) -> dict[str, Any]:
        """All of it as JSON values."""
        return {"folds": [asdict(fold) for fold in self.folds], "mean": self.mean, "std": self.std}

    @property
    def _names(self) -> list[str]:
        return [name for name in self.folds[0].metrics if all(name in fold.metrics for fold in self.folds)]

    def _values(self, name: str) -> list[float]:
        return [fold.metrics[name] for fold in self.folds]


def cross_validate(
    trained: TrainedModel, dataset: Path, make_tally: Callable[[], Tally], *, settings: EvaluationSettings
) -> CrossValidation:
    """Train as `trained` was, with its module, parameters and settings, on all folds but one of the rows, each in turn.

    The rows are those of the train and the validation split; those of the test are in no fold. Where there is a
    validation split, each model has the fold after the one that it is scored on for it.

    Args:
        trained: The model of all rows.
        dataset: What it was trained on.
        make_tally: Makes what adds up the answers of a fold.
        settings: How many folds there are, and how many rows are scored at a time.

    Raises:
        InvalidSetting: The dataset has too many rows, or they are split by time or read by `make_dataset`.
    """
    folds = settings.folds
    counts = {split: found.rows for split, found in Statistics.load(dataset).splits.items()}
    keys, schema = RowKeys.load(dataset), Schema.load(dataset)
    check_folds(folds, counts, keys.split_by, keys.column, has_reader=trained.module.make_dataset is not None)
    pooled = [split for split in _POOLED if counts.get(split)]
    rows = _read(dataset, pooled, schema)
    groups = [key for split in pooled for key in keys.keys.get(split, ())] or _contents(rows, schema)
    classes = rows[schema.label.name].tolist() if schema.label is not None and schema.class_names else None
    training = _settings(trained.training["settings"])
    fold_of = deal(groups, classes, folds=folds, seed=training.seed)
    scores = []
    for fold in range(folds):
        parts = {"train": fold_of != fold, "test": fold_of == fold}
        if "validation" in pooled:
            parts["validation"] = fold_of == (fold + 1) % folds
            parts["train"] &= ~parts["validation"]
        with tempfile.TemporaryDirectory(prefix="trainwright-fold-") as folder:
            data, model = Path(folder, "dataset"), Path(folder, "model")
            _write(data, schema, rows, parts)
            run_training(trained.module, data, model, params=trained.params, settings=training)
            found = _score(TrainedModel.load(model), data, make_tally(), batch_size=settings.batch_size)
        scores.append(FoldScores(trained_on=int(parts["train"].sum()), rows=int(parts["test"].sum()), metrics=found))
        said = ", ".join(f"{name} {value:.4g}" for name, value in list(found.items())[:2])
        logger.info("fold %d of %d: %s on %d rows", fold + 1, folds, said, scores[-1].rows)
    return CrossValidation(folds=tuple(scores))


def deal(groups: Sequence[Any], classes: Sequence[int] | None, *, folds: int, seed: int) -> NDArray[np.intp]:
    """The fold of each row: rows of one group in one fold, classes and sizes as even as that allows.

    Large groups come first, and those of a size in an order that `seed` draws; each goes where the fewest rows of its
    first row's class are, then where the fewest rows are.
    """
    members: dict[Any, list[int]] = {}
    for row, group in enumerate(groups):
        members.setdefault(group, []).append(row)
    class_of = {group: classes[rows[0]] if classes is not None else 0 for group, rows in members.items()}
    order = sorted(members, key=lambda group: (-len(members[group]), _draw(group, seed)))
    of_class = {each: [0] * folds for each in set(class_of.values())}
    totals, fold_of = [0] * folds, np.zeros(len(groups), np.intp)
    for group in order:
        counts, rows = of_class[class_of[group]], members[group]
        fold = min(range(folds), key=lambda each: (counts[each], totals[each], each))
        counts[fold] += len(rows)
        totals[fold] += len(rows)
        fold_of[rows] = fold
    return fold_of


def _draw(group: Any, seed: int) -> bytes:
    return hashlib.blake2b(repr(group).encode(), key=str(seed).encode(), digest_size=8).digest()


def _settings(recorded: Mapping[str, Any]) -> TrainingSettings:
    """As the model was trained, in this process and on its devices as they are."""
    alone = {"strategy": AUTO, "logical_devices": 1, "placement": {}, "layout": {}, "threads": 0}
    alone |= {"equivalence_steps": 0, "devices": {"memory_growth": False}, "progress_every_s": 3600.0}
    return TrainingSettings.from_mapping({**recorded, **alone})


def _read(dataset: Path, splits: Sequence[str], schema: Schema) -> dict[str, NDArray[Any]]:
    """All columns of the splits, one after the other."""
    parts: dict[str, list[NDArray[Any]]] = {name: [] for name in schema.column_names}
    for split in splits:
        for features, *others in read_split(dataset, split).batch(1024):
            named = dict(zip([name for name in schema.column_names if name not in features], others, strict=True))
            for name, column in {**features, **named}.items():
                parts[name].append(column.numpy())
    texts = [each.name for each in schema.features if each.kind in ("categorical", "text")]
    joined = {name: np.concatenate(columns) for name, columns in parts.items()}
    return joined | {name: np.array([value.decode() for value in joined[name]], object) for name in texts}


def _contents(rows: Mapping[str, NDArray[Any]], schema: Schema) -> list[str]:
    """Rows with the same features belong together, as when the dataset was split."""
    columns = (rows[name].tolist() for name in schema.feature_names)
    return [repr(row) for row in zip(*columns, strict=True)]


def _write(folder: Path, schema: Schema, rows: Mapping[str, NDArray[Any]], parts: Mapping[str, NDArray[Any]]) -> None:
    folder.mkdir()
    with DatasetWriter(folder, schema, shards=dict.fromkeys(parts, 1)) as writer:
        for split, mask in parts.items():
            writer.write(split, {name: column[mask] for name, column in rows.items()})


def _score(trained: TrainedModel, dataset: Path, tally: Tally, *, batch_size: int) -> dict[str, float]:
    with quiet_loggers():  # TensorFlow finds that each model is traced, which is not the same one again
        scorer = Scorer(trained, dataset, "test", batch_size=batch_size)
        scorer.build()
        for batch in scorer.batches():
            tally.add(batch.answers, batch.labels, batch.weights)
    return dict(tally.result().metrics)
