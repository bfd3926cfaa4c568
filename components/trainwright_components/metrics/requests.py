"""What is asked of an evaluation, held against a dataset before any model of it is trained or scored."""

from collections.abc import Collection, Iterable, Mapping

from trainwright_components.datasets.row_keys import MAX_KEYS
from trainwright_components.datasets.schema import Schema
from trainwright_components.datasets.task import task_of
from trainwright_components.errors import InvalidSetting
from trainwright_components.hints import did_you_mean
from trainwright_components.metrics.settings import EvaluationSettings
from trainwright_components.metrics.table import METRICS, main_metric
from trainwright_components.metrics.thresholds import Threshold, known_metrics, parse_thresholds


def read_thresholds(
    settings: EvaluationSettings, schema: Schema, keras_metrics: Iterable[str]
) -> tuple[Threshold, ...]:
    """The limits on metrics that a model of this dataset has; `keras_metrics` are those it was compiled with.

    Raises:
        InvalidSetting: There is no such metric, or a limit is not a number.
    """
    task = task_of(schema)
    known = known_metrics(task, schema.value_names, keras_metrics)
    return parse_thresholds(settings.thresholds, task=task, known=known)


def champion_metric(settings: EvaluationSettings, schema: Schema) -> str:
    """What the model is compared with the served one by.

    Raises:
        InvalidSetting: There is no such metric, or neither more nor less of it is better.
    """
    task = task_of(schema)
    metric = settings.champion_metric or main_metric(task)
    own = {name for name, each in METRICS[task].items() if each.more_is_better is not None}
    known = tuple(name for name in known_metrics(task, schema.value_names) if name in own)
    if metric not in known:
        raise InvalidSetting(f"evaluation.champion_metric: no metric is called {metric!r}{did_you_mean(metric, known)}")
    return metric


def check_slices(slices: Collection[str], schema: Schema) -> None:
    """Refuse features that do not part the rows.

    Raises:
        InvalidSetting: There is no such feature, or it is neither categorical nor an integer.
    """
    possible = [each.name for each in schema.features if each.kind == "categorical" and not each.shape]
    for name in slices:
        if name not in schema.feature_names:
            hint = did_you_mean(name, possible or schema.feature_names)
            raise InvalidSetting(f"evaluation.slices names {name!r}, which is no feature of this dataset{hint}")
        feature = schema.feature(name)
        if feature.shape or not (feature.kind == "categorical" or feature.is_whole):
            there = f"categorical here: {', '.join(possible)}" if possible else "this dataset has none"
            raise InvalidSetting(
                f"evaluation.slices need categorical features, but {name!r} is {feature.kind}; {there}"
            )


def check_folds(folds: int, rows: Mapping[str, int], split_by: str, column: str, *, has_reader: bool) -> None:
    """Refuse cross-validation where it takes too long or would tell the wrong thing.

    Args:
        folds: How many are asked for, above 0.
        rows: Those of each split of the dataset.
        split_by: The setting of `data` by which the rows were split; empty for their features.
        column: What that setting names.
        has_reader: Whether the module reads the rows with `make_dataset`.

    Raises:
        InvalidSetting: There are too many or too few rows, they are split by time, or the module reads them.
    """
    total, pooled = sum(rows.values()), sum(count for split, count in rows.items() if split != "test")
    if total > MAX_KEYS:
        raise InvalidSetting(
            f"evaluation.folds={folds} would train {folds} models more, which is for tables of at most "
            f"{MAX_KEYS:,} rows, and this one has {total:,}: its test split says enough; leave it out"
        )
    if pooled < 2 * folds:
        raise InvalidSetting(f"evaluation.folds={folds} needs {2 * folds} rows outside of the test; there are {pooled}")
    if split_by == "time_column":
        raise InvalidSetting(
            f"evaluation.folds would train on rows that are later than those that it scores: they are split by "
            f"data.time_column {column!r}; leave one of the two out"
        )
    if has_reader:
        raise InvalidSetting("evaluation.folds deals the prepared rows, but the module reads its own in make_dataset")


def check_split(split: str, rows: Mapping[str, int]) -> None:
    """Refuse to score a split without rows; `rows` are those of each split of the dataset.

    Raises:
        InvalidSetting: It has none.
    """
    if not rows.get(split):
        there = [name for name, count in rows.items() if count]
        raise InvalidSetting(f"evaluation.split: the dataset has no rows in {split!r}{did_you_mean(split, there)}")
