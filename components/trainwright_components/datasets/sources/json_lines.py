"""JSON lines: one object per line. Missing keys and nulls are missing values; lists of numbers are arrays."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from trainwright_components.datasets.chunks import CHUNK_ROWS, Chunk, Column, FileFormat, SourceTraits, scalar_text
from trainwright_components.errors import InvalidData
from trainwright_components.storage.addresses import base_name
from trainwright_components.storage.locations import open_binary, size_bytes


class JsonLines:
    """Rows of files with one JSON object per line; blank lines are skipped and do not count as rows."""

    format_name: ClassVar[str] = "jsonl"
    file_names: ClassVar[re.Pattern[str]] = re.compile(r".+\.(jsonl|ndjson|json)(\.gz)?")

    def __init__(self, files: Sequence[str]) -> None:
        self._files = files

    @property
    def traits(self) -> SourceTraits:
        """What is known before reading."""
        return SourceTraits(
            name=base_name(self._files[0]),
            size_bytes=sum(size_bytes(file) for file in self._files),
            read_from=tuple(self._files),
        )

    def chunks(self) -> Iterator[Chunk]:
        """All rows from the start.

        Raises:
            InvalidData: A line is not a JSON object, or a value is neither scalar nor an array of one shape.
        """
        for file in self._files:
            rows: list[Mapping[str, Any]] = []
            first_row = 1
            for row in _read_rows(file):
                rows.append(row)
                if len(rows) == CHUNK_ROWS:
                    yield _chunk(rows, file, first_row)
                    first_row += len(rows)
                    rows = []
            if rows:
                yield _chunk(rows, file, first_row)


def _read_rows(file: str) -> Iterator[Mapping[str, Any]]:
    with open_binary(file) as stream:
        number = 0
        for line in stream:
            if not (text := line.strip()):
                continue
            number += 1
            try:
                row = json.loads(text)
            except ValueError as error:
                hint = "; this is a JSON array, write one object per line" if number == 1 and text[:1] == b"[" else ""
                raise InvalidData(f"{file}, row {number}: not JSON: {error}{hint}") from error
            if not isinstance(row, dict):
                raise InvalidData(f"{file}, row {number}: expected one JSON object per line, got {_brief(row)}")
            yield row


def _chunk(rows: list[Mapping[str, Any]], file: str, first_row: int) -> Chunk:
    names = dict.fromkeys(name for row in rows for name in row)
    columns = {}
    for name in names:
        try:
            columns[name] = column_of([row.get(name) for row in rows])
        except UnevenValues as error:
            raise InvalidData(f"{file}, row {first_row + error.row}: column {name!r} {error}") from error
    return Chunk(columns=columns, origin=file, first_row=first_row)


class UnevenValues(ValueError):
    """Values that make no column; `row` is the index of the first that does not fit."""

    def __init__(self, message: str, row: int) -> None:
        super().__init__(message)
        self.row = row


def column_of(values: list[Any]) -> Column:
    """Python values as a column: numbers, texts (numbers among texts become texts) or arrays of one shape.

    Raises:
        UnevenValues: A value does not fit.
    """
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {bool} and kinds and None not in values:
        return np.array(values, bool)
    if kinds <= {int, float, bool} and kinds:
        if None not in values and kinds == {int}:
            return _whole_numbers(values)
        return np.array([np.nan if value is None else value for value in values], np.float64)
    if list in kinds:
        return _arrays(values)
    for row, value in enumerate(values):
        if isinstance(value, dict):
            raise UnevenValues("holds an object; write its fields as columns of their own", row)
    return np.array([None if value is None else scalar_text(value) for value in values], dtype=object)


def _whole_numbers(values: list[int]) -> Column:
    try:
        return np.array(values, np.int64)
    except OverflowError:
        return np.array(values, np.float64)


def _arrays(values: list[Any]) -> Column:
    shape: tuple[int, ...] | None = None
    arrays = []
    for row, value in enumerate(values):
        try:
            array = np.asarray(value, np.float64)
        except (TypeError, ValueError) as error:
            raise UnevenValues(f"must hold lists of numbers, got {_brief(value)}", row) from error
        if value is None or array.shape != (shape or array.shape) or not array.ndim:
            raise UnevenValues(f"must hold lists of one length, got {_brief(value)} where {shape} is expected", row)
        shape = array.shape
        arrays.append(array)
    return np.stack(arrays)


def _brief(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else text[:37] + "..."


_: type[FileFormat] = JsonLines
