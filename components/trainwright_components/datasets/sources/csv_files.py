"""CSV and TSV, in blocks. Every value is read as text: what a column holds is decided on all of its rows."""

import csv
import io
import re
from collections.abc import Iterator, Sequence
from typing import IO, Any, ClassVar

import numpy as np

from trainwright_components.datasets.chunks import CHUNK_ROWS, Chunk, FileFormat, SourceTraits
from trainwright_components.errors import InvalidData
from trainwright_components.storage.addresses import base_name
from trainwright_components.storage.locations import open_binary, size_bytes

_BLOCK_BYTES = 1 << 20
_HEADER_BYTES = 1 << 20
_DELIMITERS = ",\t;|"


class CsvFiles:
    """Rows of CSV files that share one header.

    Args:
        files: In the order to read them.
        delimiter: Between values; found from the header when empty.
    """

    format_name: ClassVar[str] = "csv"
    file_names: ClassVar[re.Pattern[str]] = re.compile(r".+\.(csv|tsv)(\.gz)?")

    def __init__(self, files: Sequence[str], *, delimiter: str = "") -> None:
        self._files = files
        self._names, self._delimiter = _read_header(files[0], delimiter)
        for file in files[1:]:
            names, _ = _read_header(file, self._delimiter)
            _check_same_header(file, names, files[0], self._names)

    @property
    def traits(self) -> SourceTraits:
        """What is known before reading."""
        size = sum(size_bytes(file) for file in self._files)
        return SourceTraits(name=base_name(self._files[0]), columns=tuple(self._names), size_bytes=size)

    def chunks(self) -> Iterator[Chunk]:
        """All rows from the start; values are stripped of blanks around them.

        Raises:
            InvalidData: A row has too many or too few values, or the text is not UTF-8.
        """
        for file in self._files:
            yield from self._file_chunks(file)

    def _file_chunks(self, file: str) -> Iterator[Chunk]:
        import pyarrow as pa
        from pyarrow import csv as arrow_csv

        ragged: list[Any] = []

        def note_ragged(row: Any) -> str:
            ragged.append(row)
            return "error"

        first_row = 1
        try:
            with open_binary(file) as stream:
                reader = arrow_csv.open_csv(
                    pa.PythonFile(stream, "r"),
                    read_options=arrow_csv.ReadOptions(use_threads=False, block_size=_BLOCK_BYTES),
                    parse_options=arrow_csv.ParseOptions(
                        delimiter=self._delimiter, newlines_in_values=True, invalid_row_handler=note_ragged
                    ),
                    convert_options=arrow_csv.ConvertOptions(
                        column_types=dict.fromkeys(_raw_names(file, self._delimiter), pa.string()),
                        strings_can_be_null=False,
                    ),
                )
                for batch in reader:
                    for start in range(0, batch.num_rows, CHUNK_ROWS):
                        part = batch.slice(start, CHUNK_ROWS)
                        columns = {name: _stripped(part.column(number)) for number, name in enumerate(self._names)}
                        yield Chunk(columns=columns, origin=file, first_row=first_row, is_typed=False)
                        first_row += part.num_rows
        except (pa.ArrowInvalid, OSError, EOFError) as error:
            raise _translated(error, file, ragged[0] if ragged else None, first_row) from error


def _read_header(file: str, delimiter: str) -> tuple[list[str], str]:
    names = _raw_names(file, delimiter := delimiter or _find_delimiter(file))
    named = [name.strip() or f"unnamed_{number + 1}" for number, name in enumerate(names)]
    if repeated := {name for name in named if named.count(name) > 1}:
        raise InvalidData(f"{file}: the header names a column twice: {', '.join(sorted(repeated))}; rename one")
    return named, delimiter


def _raw_names(file: str, delimiter: str) -> list[str]:
    return next(csv.reader(_header_text(file), delimiter=delimiter))


def _find_delimiter(file: str) -> str:
    line = _header_text(file).readline()
    return max(_DELIMITERS, key=line.count)


def _header_text(file: str) -> IO[str]:
    with open_binary(file) as stream:
        head = stream.read(_HEADER_BYTES)
    text = head.decode("utf-8-sig", errors="replace").lstrip("\r\n")
    if not text.strip():
        raise InvalidData(f"{file} is empty; a CSV file starts with a line that names the columns")
    if "\0" in text:
        raise InvalidData(f"{file} is not a CSV file: it holds binary data; say its format, or give another file")
    return io.StringIO(text, newline="")


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


def _stripped(column: Any) -> Any:
    import pyarrow.compute as pc

    return np.asarray(pc.utf8_trim_whitespace(column).to_numpy(zero_copy_only=False), dtype=object)


def _translated(error: Exception, file: str, ragged: Any, first_row: int) -> InvalidData:
    if ragged is not None:
        where = f"row {ragged.number - 1}" if ragged.number is not None else f"a row after row {first_row - 1}"
        text = ragged.text if len(ragged.text) <= 80 else ragged.text[:77] + "..."
        return InvalidData(
            f"{file}, {where}: {ragged.actual_columns} values where the header names {ragged.expected_columns} "
            f"columns: {text!r}; quote values that hold the delimiter, or correct the row"
        )
    if "straddling" in str(error):
        return InvalidData(
            f"{file}, row {first_row} or soon after: a row is longer than {_BLOCK_BYTES >> 20} MB; "
            "close its quotes, or put long values into files of their own"
        )
    if "UTF8" in str(error):
        return InvalidData(f"{file}, after row {first_row - 1}: the text is not UTF-8; convert the file to UTF-8")
    return InvalidData(f"{file}, after row {first_row - 1}: cannot be read as CSV: {error}")


_: type[FileFormat] = CsvFiles
