"""CSV and its like, in blocks. Every value is read as text: what a column holds is decided on all of its rows."""

import csv
import io
import logging
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import IO, Any, ClassVar

import numpy as np

from trainwright_components.datasets.chunks import Chunk, Column, FileFormat, SourceTraits
from trainwright_components.datasets.sources.arrow_texts import (
    LazyColumns,
    as_objects,
    has_line_feed,
    read_plain,
    trimmed,
    without,
)
from trainwright_components.datasets.sources.dialect import (
    Dialect,
    DialectOptions,
    Found,
    NotUtf8,
    find_dialect,
    read_rows,
)
from trainwright_components.datasets.sources.reading import KnownTable, TableReading, find_known
from trainwright_components.datasets.sources.undecodable import describe_undecodable
from trainwright_components.datasets.sources.values import Strays, ValueOptions, find_readings
from trainwright_components.errors import InvalidData
from trainwright_components.storage.addresses import base_name
from trainwright_components.storage.locations import open_binary, size_bytes

_BLOCK_BYTES = 1 << 20
_CHUNK_ROWS, _SAMPLE_ROWS = 16_384, 4_096
_HEAD_BYTES = 1 << 20

_log = logging.getLogger(__name__)


class CsvFiles:
    """Rows of text files that have the same columns.

    Args:
        files: In the order to read them.
        options: What a person says about how they are written; the rest is found from the head of the first.
        values: What a person says about how values are written.
        known: What is known from elsewhere, such as how the rows were read that a model was trained on.
    """

    format_name: ClassVar[str] = "csv"
    file_names: ClassVar[re.Pattern[str]] = re.compile(r".+\.(csv|tsv|tab|arff)(\.(gz|bz2|xz))?")
    other_names: ClassVar[re.Pattern[str]] = re.compile(r".+\.(data|dat|txt|asc|test|trn|tst)(\.(gz|bz2|xz))?")
    """Names that text files of other content have too, such as a readme beside the data."""

    def __init__(
        self,
        files: Sequence[str],
        options: DialectOptions | None = None,
        values: ValueOptions | None = None,
        known: KnownTable | None = None,
    ) -> None:
        self._files = files
        self._options = _with_known(values or ValueOptions(), known)
        options = options or DialectOptions()
        self._said_by = options.said_by
        first = _look_at(files[0], options, known)
        for sentence in first.evidence:
            _log.info("%s: %s", base_name(files[0]), sentence)
        self.dialect = first.dialect
        self._names = list(first.names)
        self._dialects = {files[0]: first.dialect}
        self._kinds, self._label = first.kinds, first.label
        self._options = replace(self._options, texts=self._options.texts.union(first.kinds))
        self._readings, said = find_readings(
            self._sample(files[0]),
            self._options,
            delimiter=first.dialect.delimiter,
            known=known.columns if known else None,
        )
        for sentence in said:
            _log.info("%s: column %s", base_name(files[0]), sentence)
        self.evidence = (*first.evidence, *said)
        header = "yes" if first.dialect.has_header else "no"
        alike = replace(options, delimiter=first.dialect.delimiter, header=header)
        for file in files[1:]:
            found = _look_at(file, alike, known)
            _check_same_header(file, list(found.names), files[0], self._names)
            self._dialects[file] = found.dialect

    @property
    def traits(self) -> SourceTraits:
        """What is known before reading."""
        reading = TableReading(dialect=self.dialect, columns=self._readings, stray=self._options.stray)
        return SourceTraits(
            name=base_name(self._files[0]),
            columns=tuple(self._names),
            size_bytes=sum(size_bytes(file) for file in self._files),
            default_label=self._label,
            kinds={name: kind for name, kind in self._kinds.items() if kind},
            read_from=tuple(self._files),
            reading=reading.to_mapping(),
        )

    def chunks(self) -> Iterator[Chunk]:
        """All rows from the start; values are stripped of blanks around them.

        Raises:
            InvalidData: A row has too many or too few values, or the text is not of its encoding.
        """
        for file in self._files:
            strays = Strays()
            for first_row, batch in self._batches(file, self._dialects[file]):
                yield self._chunk(batch, strays, file=file, first_row=first_row)
            if found := strays.describe():
                if self._options.stray == "error":
                    raise InvalidData(
                        f"{file}: {'; '.join(found)}; say data.stray=missing to count them as missing, or the column's "
                        "kind with data.kinds"
                    )
                for sentence in found:
                    _log.warning("%s: %s; they count as missing", base_name(file), sentence)

    def _chunk(self, batch: Any, strays: Strays, *, file: str, first_row: int) -> Chunk:
        columns: dict[str, Callable[[], Column]] = {}
        numbers: dict[str, Column] = {}
        texts: dict[str, Any] = {}
        notes_strays = self._options.stray == "missing" or not self._options.keeps_strays
        for name, values in zip(self._names, map(trimmed, batch.columns), strict=True):
            reading = self._readings[name]
            plain = None
            if reading.format is None:
                texts[name] = without(values, reading.missing)
            elif reading.is_plain:
                cleaned, plain = read_plain(values, reading.missing)
            if plain is not None:
                texts[name], numbers[name] = cleaned, plain
            if name in texts:
                columns[name] = partial(as_objects, texts[name])
                continue
            column = reading.plain(as_objects(values))
            if notes_strays:
                column = strays.take(name, column, first_row=first_row)
            columns[name] = partial(np.asarray, column)
        return Chunk(
            columns=LazyColumns(columns),
            numbers=numbers,
            texts=texts,
            row_count=len(batch),
            origin=file,
            first_row=first_row,
        )

    def _sample(self, file: str) -> dict[str, list[str]]:
        """The first values of each column."""
        for _, batch in self._batches(file, self._dialects[file]):
            first = batch.slice(0, _SAMPLE_ROWS).columns
            return {name: trimmed(values).to_pylist() for name, values in zip(self._names, first, strict=True)}
        return {name: [] for name in self._names}

    def _batches(self, file: str, dialect: Dialect) -> Iterator[tuple[int, Any]]:
        """Rows as a `pyarrow.RecordBatch` of texts, each with the number of its first."""
        import pyarrow as pa
        from pyarrow import csv as arrow_csv

        ragged: list[Any] = []

        def note_ragged(row: Any) -> str:
            ragged.append(row)
            return "error"

        first_row, lines, is_rewritten = 1, 0, _is_rewritten(dialect)
        try:
            with open_binary(file) as binary, _rewritten(binary, dialect) as stream:
                reader = arrow_csv.open_csv(
                    pa.PythonFile(stream, "r"),
                    read_options=arrow_csv.ReadOptions(
                        use_threads=False,
                        block_size=_BLOCK_BYTES,
                        column_names=self._names,
                        skip_rows=0 if is_rewritten else dialect.first_line,
                        encoding="utf-8" if is_rewritten else dialect.encoding,
                    ),
                    parse_options=arrow_csv.ParseOptions(
                        delimiter="," if is_rewritten else dialect.delimiter,
                        quote_char='"' if is_rewritten else dialect.quote or False,
                        newlines_in_values=bool(dialect.quote),
                        invalid_row_handler=note_ragged,
                    ),
                    convert_options=arrow_csv.ConvertOptions(
                        column_types=dict.fromkeys(self._names, pa.string()), strings_can_be_null=False
                    ),
                )
                for batch in reader:
                    lines += _values_of_several_lines(batch) if dialect.quote else 0
                    for start in range(0, batch.num_rows, _CHUNK_ROWS):
                        part = batch.slice(start, _CHUNK_ROWS)
                        yield first_row, part
                        first_row += part.num_rows
        except (pa.ArrowInvalid, UnicodeError, OSError, EOFError, csv.Error) as error:
            undecodable = None
            if not ragged and (isinstance(error, UnicodeError) or "UTF8" in str(error)):
                undecodable = describe_undecodable(file, dialect, self._names, said_by=self._said_by)
            raise undecodable or _translated(error, file, ragged[0] if ragged else None, first_row, dialect) from error
        if lines:
            _log.info(
                "%s: %d values are of several lines; if they should not be, some quotes are not closed", file, lines
            )


def _with_known(options: ValueOptions, known: KnownTable | None) -> ValueOptions:
    """`options` with what is known of texts, and of strays, which somebody has then agreed to count as missing."""
    if known is None:
        return options
    options = replace(options, texts=options.texts | known.texts)
    if known.reading and known.reading.stray == "missing":
        options = replace(options, stray="missing")
    return options


def _look_at(file: str, options: DialectOptions, known: KnownTable | None) -> Found:
    with open_binary(file) as stream:
        head = stream.read(_HEAD_BYTES)
    is_whole = len(head) < _HEAD_BYTES
    try:
        if known is None:
            found = find_dialect(head, options, file=file, is_whole=is_whole)
        else:
            found = find_known(head, options, known, file=file, is_whole=is_whole)
    except NotUtf8 as error:
        found = find_dialect(head, replace(options, encoding="utf-8"), file=file, is_whole=is_whole)
        raise (describe_undecodable(file, found.dialect, found.names, said_by=options.said_by) or error) from error
    if repeated := {name for name in found.names if found.names.count(name) > 1}:
        raise InvalidData(f"{file}: the header names a column twice: {', '.join(sorted(repeated))}; rename one")
    return found


def _is_rewritten(dialect: Dialect) -> bool:
    """Whether Arrow does not read such rows, but what `_rewritten` makes of them."""
    return dialect.delimiter == " " or dialect.skips_blanks or bool(dialect.comment)


@contextmanager
def _rewritten(binary: IO[bytes], dialect: Dialect) -> Iterator[IO[bytes]]:
    """`binary`, or plain CSV where Arrow does not read its dialect."""
    if not _is_rewritten(dialect):
        yield binary
        return
    text = io.TextIOWrapper(binary, encoding=dialect.encoding, newline="")
    try:
        for _ in range(dialect.first_line):
            text.readline()
        yield _PlainCsv(read_rows(text, dialect))  # type: ignore[misc]  # Arrow calls read and closed alone
    finally:
        text.detach()


class _PlainCsv:
    closed = False

    def __init__(self, rows: Iterator[list[str]]) -> None:
        self._rows = rows

    def read(self, size: int = -1) -> bytes:
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        for row in self._rows:
            if row:
                writer.writerow(row)
            if 0 <= size <= text.tell():
                break
        return text.getvalue().encode()


def _check_same_header(file: str, names: list[str], first: str, expected: list[str]) -> None:
    if names == expected:
        return
    absent = [name for name in expected if name not in names]
    added = [name for name in names if name not in expected]
    detail = "; ".join(
        f"{what}: {', '.join(columns)}"
        for what, columns in (("missing", absent), ("not in the first", added))
        if columns
    )
    raise InvalidData(f"{file} has other columns than {first} ({detail or 'another order'}); give files that agree")


def _values_of_several_lines(batch: Any) -> int:
    import pyarrow.compute as pc

    return sum(
        pc.sum(pc.match_substring(column, "\n")).as_py() or 0 for column in batch.columns if has_line_feed(column)
    )


def _translated(error: Exception, file: str, ragged: Any, first_row: int, dialect: Dialect) -> InvalidData:
    if ragged is not None:
        skipped = 0 if _is_rewritten(dialect) else dialect.first_line
        where = f"row {ragged.number - skipped}" if ragged.number is not None else f"a row after row {first_row - 1}"
        text = ragged.text if len(ragged.text) <= 80 else ragged.text[:77] + "..."
        return InvalidData(
            f"{file}, {where}: {ragged.actual_columns} values where there are {ragged.expected_columns} "
            f"columns: {text!r}; quote values that hold the delimiter, or correct the row"
        )
    if "straddling" in str(error):
        return InvalidData(
            f"{file}, row {first_row} or soon after: a row is longer than {_BLOCK_BYTES >> 20} MB; "
            "close its quotes, or put long values into files of their own"
        )
    return InvalidData(f"{file}, after row {first_row - 1}: cannot be read as CSV: {error}")


_: type[FileFormat] = CsvFiles
