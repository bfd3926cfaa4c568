"""Read a prepared dataset as tf.data. TensorFlow is imported by the functions that need it."""

import json
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trainwright_components.datasets.schema import SPLITS, WHOLE_DTYPES, Schema
from trainwright_components.datasets.statistics import Statistics
from trainwright_components.datasets.writer import FILES_FILE
from trainwright_components.errors import InvalidData, InvalidSetting
from trainwright_components.hints import did_you_mean

if TYPE_CHECKING:
    import tensorflow as tf

_PARSE_ROWS = 256  # parsing many records at once costs a tenth of parsing one by one
_SHARD = re.compile(r"(.*)-(\d+)-of-(\d+)\.tfrecord")


def split_files(dataset: Path, split: str) -> list[Path]:
    """The TFRecord files of `split`, in order; files elsewhere when the dataset refers to its source.

    Raises:
        InvalidData: A shard of the numbers in the names is missing.
        InvalidSetting: The dataset has no such split.
    """
    return [Path(name) for name in _split_locations(dataset, split)]


def _split_locations(dataset: Path, split: str) -> list[str]:
    references = _referenced_files(dataset)
    if split in references:
        return references[split]
    if files := sorted((dataset / split).glob("*.tfrecord")):
        _check_numbers(files)
        return [str(file) for file in files]
    if not dataset.is_dir():
        raise InvalidData(f"there is no dataset at {dataset}; make one with prepare_data")
    there = [name for name in SPLITS if name in references or (dataset / name).is_dir()]
    raise InvalidSetting(f"the dataset {dataset} has no split {split!r}{did_you_mean(split, there)}")


def _check_numbers(files: Sequence[Path]) -> None:
    """Refuse shards such as `part-00001-of-00004.tfrecord` when one of the numbers is not there."""
    numbers = defaultdict(set)
    for file in files:
        if match := _SHARD.fullmatch(file.name):
            numbers[match[1], match[3]].add(int(match[2]))
    for (start, total), there in numbers.items():
        first = 1 if int(total) in there else 0  # some count from 1
        if missing := sorted(set(range(first, int(total) + first)) - there):
            name = f"{start}-{missing[0]:0{len(total)}d}-of-{total}.tfrecord"
            raise InvalidData(f"{files[0].parent / name} is missing; prepare the data again")


def check_count(dataset: Path, split: str, rows: int) -> None:
    """Refuse a split in which `rows` rows were found when its statistics count others.

    Raises:
        InvalidData: They do.
    """
    counted = Statistics.load(dataset).splits.get(split)
    if counted is not None and counted.rows != rows:
        raise miscounted(dataset, f"{split} has {rows} rows instead of {counted.rows}")


def miscounted(dataset: Path, what: str) -> InvalidData:
    """The error about a dataset whose files and statistics differ."""
    return InvalidData(
        f"the files of {dataset} do not hold the rows that its statistics.json counts: {what}; prepare the data again"
    )


def check_files(dataset: Path, split: str) -> None:
    """Refuse a split that lacks a file, or rows because a file is empty. Reads it only when one is.

    Raises:
        InvalidData: It does.
    """
    locations = _split_locations(dataset, split)
    if split in _referenced_files(dataset) or all(Path(location).stat().st_size for location in locations):
        return
    check_count(dataset, split, _count_records(locations))


def count_rows(dataset: Path, split: str) -> int:
    """The number of rows of `split`, from the statistics."""
    return Statistics.load(dataset).split(split).rows


def find_damaged(dataset: Path, split: str) -> str:
    """The first file of `split` that cannot be read to its end; empty when all can. Reads them all."""
    import tensorflow as tf

    for location in _split_locations(dataset, split):
        try:
            _count_records([location])
        except (tf.errors.DataLossError, tf.errors.NotFoundError):
            return location
    return ""


def _count_records(locations: Sequence[str]) -> int:
    """How many records the files hold, by reading all of them."""
    import tensorflow as tf

    records = tf.data.TFRecordDataset(list(locations))
    return int(records.reduce(tf.constant(0, tf.int64), lambda count, _: count + 1))


def read_split(dataset: str | Path, split: str, *, schema: Schema | None = None) -> "tf.data.Dataset":
    """The rows of `split`, one by one, always in the same order.

    Args:
        dataset: A prepared dataset.
        split: `train`, `validation` or `test`.
        schema: The columns to read, the dataset's own when absent.

    Returns:
        Elements `(features, label)`, `(features, label, weight)` or, without a label, `(features,)`; `features` maps
        names to tensors of the stored dtypes and shapes.

    Raises:
        InvalidData: There is no such dataset, or a file of it is missing.
        InvalidSetting: The dataset has no such split.
    """
    return read_batches(dataset, split, schema=schema).unbatch()


def read_batches(dataset: str | Path, split: str, *, schema: Schema | None = None) -> "tf.data.Dataset":
    """As `read_split`, in batches of the size that is parsed at once."""
    import tensorflow as tf

    dataset = Path(dataset)
    schema = schema or Schema.load(dataset)
    records = tf.data.TFRecordDataset(_split_locations(dataset, split)).batch(_PARSE_ROWS)
    return records.map(lambda batch: parse_examples(batch, schema))


def sample_split(
    dataset: Path, split: str, count: int, *, schema: Schema | None = None, seed: int = 0
) -> "tf.data.Dataset":
    """At most `count` rows of `split` as `read_split` gives them, drawn evenly over all of it, always the same.

    Reads the whole split, and parses what was drawn.
    """
    import tensorflow as tf

    schema = schema or Schema.load(dataset)
    drawn = tf.constant(_draw_evenly(count_rows(dataset, split), count, seed=seed))

    def keep(batch: "tf.Tensor", records: "tf.Tensor") -> "tf.Tensor":
        rows = batch * _PARSE_ROWS + tf.range(tf.size(records, tf.int64))
        start, end = tf.unstack(tf.searchsorted(drawn, [rows[0], rows[-1] + 1]))
        return tf.gather(records, drawn[start:end] - rows[0])

    records = tf.data.TFRecordDataset(_split_locations(dataset, split)).batch(_PARSE_ROWS)
    kept = records.enumerate().map(keep).filter(lambda batch: tf.size(batch) > 0)
    return kept.map(lambda batch: parse_examples(batch, schema)).unbatch()


def _draw_evenly(rows: int, count: int, *, seed: int) -> NDArray[np.int64]:
    """Numbers of rows, ascending: one drawn from each of `count` equal parts, or all where there are no more."""
    parts = min(rows, count)
    edges = np.arange(parts + 1) * rows // max(parts, 1)
    return np.random.default_rng(seed).integers(edges[:-1], edges[1:])


def feature_spec(schema: Schema) -> dict[str, Any]:
    """What `tf.io.parse_example` needs to read rows of `schema`, every column of which has to be there.

    tf.Example knows integers as int64 alone: `narrow` gives them the width of the schema.
    """
    import tensorflow as tf

    columns: list[Any] = [*schema.features, *([schema.label] if schema.label else [])]
    spec = {
        column.name: tf.io.FixedLenFeature(
            column.shape, tf.int64 if column.dtype in WHOLE_DTYPES else getattr(tf, column.dtype)
        )
        for column in columns
    }
    if schema.weight:
        spec[schema.weight] = tf.io.FixedLenFeature((), tf.float32)
    return spec


def narrow(columns: "Mapping[str, tf.Tensor]", schema: Schema) -> "dict[str, tf.Tensor]":
    """The features of `schema` among the parsed `columns`, with its dtypes."""
    import tensorflow as tf

    return {feature.name: tf.cast(columns[feature.name], feature.dtype) for feature in schema.features}


def parse_examples(batch: "tf.Tensor", schema: Schema) -> "tuple[Any, ...]":
    """Serialized rows `(batch,)` as `(features,)`, `(features, label)` or `(features, label, weight)`."""
    import tensorflow as tf

    columns = tf.io.parse_example(batch, feature_spec(schema) | _optional_spec(schema))
    features = narrow(columns, schema)
    if schema.label is None:
        return (features,)
    if schema.weight is None:
        return features, columns[schema.label.name]
    return features, columns[schema.label.name], columns[schema.weight]


def _optional_spec(schema: Schema) -> dict[str, Any]:
    """Records that somebody else wrote may lack what is missing."""
    import tensorflow as tf

    return {
        each.name: tf.io.FixedLenFeature(
            each.shape, getattr(tf, each.dtype), np.full(each.shape, "" if each.dtype == "string" else np.nan).tolist()
        )
        for each in schema.features
        if not each.is_whole
    }


def _referenced_files(dataset: Path) -> Mapping[str, list[str]]:
    try:
        content: dict[str, list[str]] = json.loads((dataset / FILES_FILE).read_text(encoding="utf-8"))
    except OSError:
        return {}
    return content
