"""Write predictions batch by batch: JSON lines, CSV or Parquet."""

import csv
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from trainwright_components.datasets.chunks import Column
from trainwright_components.short_floats import as_json, plain_list


class PredictionWriter(Protocol):
    """A file that takes columns of equally many rows, always the same columns; a context manager."""

    def write(self, columns: Mapping[str, Column]) -> None:
        """Append rows."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...


class JsonLinesWriter:
    """One object per row."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w", encoding="utf-8")

    def write(self, columns: Mapping[str, Column]) -> None:
        """Append rows."""
        values = [as_json(plain_list(column)) for column in columns.values()]
        for row in zip(*values, strict=True):
            self._file.write(json.dumps(dict(zip(columns, row, strict=True)), ensure_ascii=False) + "\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()


class CsvWriter:
    """A header and one line per row; arrays are written as JSON."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w", encoding="utf-8", newline="")
        self._rows = csv.writer(self._file, lineterminator="\n")
        self._has_header = False

    def write(self, columns: Mapping[str, Column]) -> None:
        """Append rows."""
        if not self._has_header:
            self._rows.writerow(columns)
            self._has_header = True
        values = [plain_list(column) for column in columns.values()]
        for row in zip(*values, strict=True):
            self._rows.writerow(map(_cell, row))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()


class ParquetWriter:
    """One row group per batch; arrays are lists."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: Any = None

    def write(self, columns: Mapping[str, Column]) -> None:
        """Append rows."""
        import pyarrow as pa
        from pyarrow import parquet

        arrays = {name: pa.array(column if column.ndim == 1 else column.tolist()) for name, column in columns.items()}
        table = pa.table(arrays)
        if self._file is None:
            self._file = parquet.ParquetWriter(self._path, table.schema)
        self._file.write_table(table.cast(self._file.schema))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()


def _cell(value: Any) -> Any:
    if isinstance(value, list):
        return json.dumps(as_json(value))
    return None if value != value else value


WRITERS: Mapping[str, Callable[[Path], PredictionWriter]] = {
    "jsonl": JsonLinesWriter,
    "csv": CsvWriter,
    "parquet": ParquetWriter,
}
