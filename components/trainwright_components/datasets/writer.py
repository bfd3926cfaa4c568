"""Write the folder of a dataset: sharded TFRecords of tf.Example per split, schema.json, statistics.json."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from trainwright_components.datasets.accumulate import Columns, SplitAccumulator
from trainwright_components.datasets.examples import encode_rows
from trainwright_components.datasets.schema import Schema
from trainwright_components.datasets.statistics import Statistics
from trainwright_components.files import write_whole

FILES_FILE = "files.json"
ROWS_PER_SHARD = 10_000
BYTES_PER_SHARD = 64 << 20
MAX_SHARDS = 256
_SMALL_SHARDS, _ROWS_PER_SMALL_SHARD = 4, 100  # a few workers can share even a small dataset file by file


def shard_name(number: int, total: int) -> str:
    """The name of the file of shard `number`, counted from 0."""
    return f"part-{number:05d}-of-{total:05d}.tfrecord"


def choose_shards(rows: int, *, size_bytes: int = 0) -> int:
    """How many files hold `rows` rows of `size_bytes` together."""
    small = min(_SMALL_SHARDS, rows // _ROWS_PER_SMALL_SHARD)
    return min(MAX_SHARDS, max(1, small, -(-rows // ROWS_PER_SHARD), -(-size_bytes // BYTES_PER_SHARD)))


class DatasetWriter:
    """Writes rows as they come; a context manager whose normal end writes the schema and the statistics.

    Each row goes to a shard drawn at random (the same for the same input), so that a source sorted by class does not
    become shards of one class each.

    Args:
        folder: An existing folder.
        shards: The number of files of each split; only these splits can be written.
        unlabeled: How many rows of the source are left out, since they have no label.

    Attributes:
        accumulators: Of each split.
    """

    def __init__(self, folder: Path, schema: Schema, *, shards: Mapping[str, int], unlabeled: int = 0) -> None:
        import tensorflow as tf

        self._folder, self._schema, self._unlabeled = folder, schema, unlabeled
        self.accumulators = {split: SplitAccumulator(schema) for split in shards}
        self._random = {split: np.random.default_rng(0) for split in shards}
        self._files: dict[str, list[Any]] = {}
        for split, total in shards.items():
            (folder / split).mkdir()
            names = [str(folder / split / shard_name(number, total)) for number in range(total)]
            self._files[split] = [tf.io.TFRecordWriter(name) for name in names]
        self.statistics: Statistics | None = None

    def write(self, split: str, columns: Columns) -> list[int]:
        """Append rows: every column of the schema as `(rows, *shape)` numbers or `(rows,)` objects, str or bytes.

        Returns:
            The number of the shard of each row; within one they keep their order.
        """
        rows = len(next(iter(columns.values())))
        if not rows:
            return []
        self.accumulators[split].add(columns)
        files = self._files[split]
        places: list[int] = self._random[split].integers(len(files), size=rows).tolist()
        for place, record in zip(places, encode_rows(columns, self._schema), strict=True):
            files[place].write(record)
        return places

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for files in self._files.values():
            for file in files:
                file.close()
        if error is None:
            splits = {split: accumulator.result() for split, accumulator in self.accumulators.items()}
            self.statistics = Statistics(splits=splits, unlabeled=self._unlabeled)
            self._schema.save(self._folder)
            self.statistics.save(self._folder)


class ReferenceWriter:
    """Leaves rows in the TFRecord files that they came in and writes what a dataset needs beside them.

    Args:
        folder: An existing folder.
        files: The files of each split.
    """

    def __init__(self, folder: Path, schema: Schema, *, files: Mapping[str, Sequence[str]]) -> None:
        self._folder, self._schema, self._files = folder, schema, files
        self.accumulators = {split: SplitAccumulator(schema) for split in files}
        self.statistics: Statistics | None = None

    def write(self, split: str, columns: Columns) -> list[int]:
        """Count rows in; they keep their order."""
        rows = len(next(iter(columns.values())))
        if rows:
            self.accumulators[split].add(columns)
        return [0] * rows

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            splits = {split: accumulator.result() for split, accumulator in self.accumulators.items()}
            self.statistics = Statistics(splits=splits)
            self._schema.save(self._folder)
            self.statistics.save(self._folder)
            write_whole(self._folder / FILES_FILE, json.dumps(dict(self._files), indent=2) + "\n")
