"""Where the rows of a split come from: the prepared dataset, in memory or streamed, or the user's `make_dataset`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainwright_components.datasets.reader import (
    check_count,
    check_files,
    count_rows,
    parse_examples,
    read_split,
    split_files,
)
from trainwright_components.datasets.schema import Schema
from trainwright_components.errors import InvalidData
from trainwright_components.training.data.batches import Rows, RowsInMemory, StreamedRows
from trainwright_components.user_module.module import Context, ModelModule

if TYPE_CHECKING:
    import tensorflow as tf

MEMORY_LIMIT_BYTES = 256 << 20
_RECORDS_PER_READ = 1024


TRAIN, VALIDATION = "train", "validation"


def open_split(split: str, module: ModelModule, context: Context) -> Rows:
    """The rows of `split`, as `(features, label)` or `(features, label, weight)`.

    Raises:
        InvalidData: Its files lack rows that its statistics count; streamed, the end of the first pass may tell it.
    """
    if module.make_dataset is not None:
        return _users_rows(module.make_dataset(split, context))
    files = split_files(context.dataset, split)
    if sum(file.stat().st_size for file in files) <= MEMORY_LIMIT_BYTES:
        rows = _read_all(files, context.schema)
        check_count(context.dataset, split, rows.count)
        return rows
    check_files(context.dataset, split)
    import tensorflow as tf

    records = tf.data.TFRecordDataset([str(file) for file in files])
    count = count_rows(context.dataset, split)
    return StreamedRows(
        elements=records.apply(tf.data.experimental.assert_cardinality(count)),
        decode=lambda batch: parse_examples(batch, context.schema),
        count=count,
    )


def _read_all(files: Sequence[Path], schema: Schema) -> RowsInMemory:
    import tensorflow as tf

    records = tf.data.TFRecordDataset([str(file) for file in files]).batch(_RECORDS_PER_READ)
    parts = list(records)
    columns = parse_examples(tf.concat(parts, 0) if parts else tf.zeros([0], tf.string), schema)
    return RowsInMemory(columns=columns, count=int(tf.nest.flatten(columns)[0].shape[0]))


def _users_rows(dataset: "tf.data.Dataset") -> StreamedRows:
    import tensorflow as tf

    cardinality = int(dataset.cardinality())
    count: int | None = cardinality
    if cardinality == tf.data.INFINITE_CARDINALITY:
        count = None
    elif cardinality == tf.data.UNKNOWN_CARDINALITY:
        count = int(dataset.reduce(tf.constant(0, tf.int64), lambda total, *_: total + 1))
    return StreamedRows(elements=dataset, decode=_as_tuple, count=count)


def _as_tuple(batch: Any) -> Any:
    return batch if isinstance(batch, tuple) else (batch,)


def has_split(split: str, module: ModelModule, context: Context) -> bool:
    """Whether there are rows to look for; a reader of the user's has to give every split."""
    found = context.statistics.splits.get(split)
    return module.make_dataset is not None or (found is not None and found.rows > 0)


def name_split(split: str, module: ModelModule) -> str:
    """A split in messages."""
    return f"the {split} split" + (f" of make_dataset of {module.location.name}" if module.make_dataset else "")


def first_batch(split: str, module: ModelModule, context: Context) -> "tuple[Any, ...]":
    """The first rows of `split` in stored order, as many as a batch has.

    Raises:
        InvalidData: There are none.
    """
    rows = module.make_dataset(split, context) if module.make_dataset else read_split(context.dataset, split)
    for batch in rows.take(context.batch_size).batch(context.batch_size):
        first: tuple[Any, ...] = batch
        return first
    if module.make_dataset is None:
        check_count(context.dataset, split, 0)
    raise InvalidData(f"{name_split(split, module)} has no rows")
