"""JSON: an object per line, or a list of them. Missing keys and nulls are missing values, lists of numbers arrays."""

import codecs
import json
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any, ClassVar

import numpy as np

from trainwright_components.datasets.chunks import CHUNK_ROWS, Chunk, Column, FileFormat, SourceTraits, scalar_text
from trainwright_components.errors import InvalidData
from trainwright_components.storage.addresses import base_name
from trainwright_components.storage.locations import open_binary, size_bytes

_log = logging.getLogger(__name__)

_BLOCK_BYTES = 1 << 16
_LONGEST_ROW = 16 << 20  # characters
_EXACT = 2**53  # beyond, floats lose digits of integers
_LIST = re.compile(rb'(\xef\xbb\xbf)?\s*(\[|\{\s*"[^"\\]*"\s*:\s*\[(?=\s*\{))')
_BETWEEN = (re.compile(r"\s*"), re.compile(r"(\s*,)?\s*"))


class JsonLines:
    """Rows of files with one JSON object per line, where blank lines do not count, or with one list of objects.

    The list may be the first value of an object: `{"data": [{"x": 1}, {"x": 2}]}`; what follows it is not read.
    """

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
        list_start = _LIST.match(stream.read(_BLOCK_BYTES))
    if list_start and b"{" in list_start[0]:
        _log.warning("%s: the rows are the first list of the object; what follows it is not read", base_name(file))
    with open_binary(file) as stream:
        rows = _listed_rows(stream, file, list_start.end()) if list_start else _line_rows(stream, file)
        for number, row in enumerate(rows, start=1):
            if not isinstance(row, dict):
                raise InvalidData(f"{file}, row {number}: expected a JSON object, got {_brief(row)}")
            yield row


def _line_rows(stream: IO[bytes], file: str) -> Iterator[Any]:
    number = 0
    for line in stream:
        if not (text := line.strip()):
            continue
        number += 1
        try:
            yield json.loads(text.removeprefix(codecs.BOM_UTF8) if number == 1 else text)
        except UnicodeDecodeError as error:
            raise InvalidData(f"{file}, row {number}: {_not_utf8(error)}") from error
        except ValueError as error:
            hint = "; it has to hold one object per line, or one list of objects" if number == 1 else ""
            raise InvalidData(f"{file}, row {number}: not JSON: {error}{hint}") from error


def _listed_rows(stream: IO[bytes], file: str, start: int) -> Iterator[Any]:
    """The values of the list that opens before the byte `start`, with memory for one block and one value."""
    stream.read(start)
    decoder, characters = json.JSONDecoder(), codecs.getincrementaldecoder("utf-8")()
    buffer, number, is_read = "", 1, False
    try:
        while True:
            rest = buffer[_BETWEEN[number > 1].match(buffer).end() :]  # type: ignore[union-attr]  # it matches nothing too
            if rest.startswith("]"):
                return
            try:
                value, end = decoder.raw_decode(rest)
            except ValueError as error:
                if is_read or len(rest) > _LONGEST_ROW:
                    what = "the list is not closed" if not rest.strip() else f"not JSON: {error} in {rest[:40]!r}"
                    raise InvalidData(f"{file}, row {number}: {what}; correct the row") from error
                more = stream.read(max(_BLOCK_BYTES, len(buffer)))
                buffer, is_read = buffer + characters.decode(more, final=not more), not more
                continue
            yield value
            buffer, number = rest[end:], number + 1
    except UnicodeDecodeError as error:
        raise InvalidData(f"{file}, after row {number - 1}: {_not_utf8(error)}") from error


def _not_utf8(error: UnicodeDecodeError) -> str:
    before = bytes(error.object[max(0, error.start - 40) : error.start]).decode("utf-8", errors="ignore")
    return (
        f"byte 0x{error.object[error.start]:02x} after {before!r} is not UTF-8, as JSON has to be; convert the file to "
        "UTF-8"
    )


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
        if kinds == {int} and any(value is not None and abs(value) > _EXACT for value in values):
            return _digits(values)
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
        return _digits(values)


def _digits(values: Sequence[int | None]) -> Column:
    """Integers as texts, where floats would lose digits."""
    return np.array([None if value is None else str(value) for value in values], dtype=object)


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
