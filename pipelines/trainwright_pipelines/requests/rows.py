"""Rows to ask a served model about: from an argument, or a file of CSV and its like, JSON or JSON lines."""

import json
import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trainwright_components.errors import InvalidData, InvalidSetting

if TYPE_CHECKING:
    from trainwright_components.datasets.schema import Feature, Schema

_OTHER_FORMATS = {".bz2", ".gz", ".npz", ".parquet", ".tfrecord", ".tfrecords", ".xz"}


def parse_rows(text: str, *, name: str = "ROWS") -> list[Any]:
    """Rows from JSON: one row, a list of them, or one per line.

    Raises:
        InvalidData: It is not valid JSON.
    """
    try:
        content = json.loads(text)
    except ValueError as error:
        lines = [line for line in text.splitlines() if line.strip()]
        if len(lines) < 2:
            raise InvalidData(f"{name} is not valid JSON: {error}; write it like '{{\"column\": 1.5}}'") from error
        return [_parse_line(line, number, name) for number, line in enumerate(lines, start=1)]
    if isinstance(content, dict) and isinstance(content.get("instances"), list):  # a request as curl sends it
        content = content["instances"]
    rows = content if isinstance(content, list) else [content]
    if not rows:
        raise InvalidData(f"{name} holds no row")
    return rows


def fit_rows(rows: Sequence[Any], schema: "Schema", *, name: str = "ROWS") -> list[Any]:
    """JSON rows as the model takes them: null is a missing value, and what is not a feature is left out with a note.

    Rows that name no features stay as they are.

    Raises:
        InvalidData: A value is missing that cannot be.
    """
    features = {feature.name: feature for feature in schema.features}
    named = [row for row in rows if isinstance(row, dict) and features.keys() & row.keys()]
    _note_ignored({key for row in named for key in row if key not in features}, name)
    fitted: list[Any] = []
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict) or not features.keys() & row.keys():
            fitted.append(row)
            continue
        try:
            fitted.append(
                {
                    key: _missing(features[key]) if _is_missing(value, features[key]) else value
                    for key, value in row.items()
                    if key in features
                }
            )
        except ValueError as error:
            raise InvalidData(f"{name}, row {number}: {error}") from error
    return fitted


def read_rows_file(file: str, *, schema: "Schema | None") -> list[Any]:
    """Rows of a file; `-` is standard input. They get the types of `schema`, other columns are left out.

    Raises:
        InvalidData: It cannot be read, lacks a column, or a value is not a number where one is needed.
    """
    from trainwright_components.datasets.sources.csv_files import CsvFiles

    path, name = Path(file), "standard input" if file == "-" else file
    if CsvFiles.file_names.fullmatch(path.name.lower()) or CsvFiles.other_names.fullmatch(path.name.lower()):
        return _table_rows(file, schema)
    if path.suffix.lower() in _OTHER_FORMATS:
        raise _unknown_format(name)
    try:
        text = sys.stdin.read() if file == "-" else path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise _unknown_format(name) from error
    except OSError as error:
        raise InvalidData(f"{path} cannot be read: {error}") from error
    rows = parse_rows(text, name=name)
    return fit_rows(rows, schema, name=name) if schema else rows


def _unknown_format(name: str) -> InvalidData:
    return InvalidData(
        f"{name} cannot be read: --file takes CSV and its like, JSON and JSON lines; "
        "score other formats with the pipeline batch_score"
    )


def _is_missing(value: Any, feature: "Feature") -> bool:
    return value is None or (value == "" and feature.dtype != "string")


def _missing(feature: "Feature") -> Any:
    if feature.dtype == "string" and feature.kind != "image":
        return ""
    if feature.dtype == "float32" and not feature.shape:
        return math.nan
    raise ValueError(f"{feature.name!r} has no value, which this model needs")


def _note_ignored(names: Iterable[str], where: str) -> None:
    if listing := ", ".join(map(repr, sorted(names))):
        click.echo(f"{where}: the model does not take {listing}; ignored", err=True)


def _parse_line(line: str, number: int, name: str) -> Any:
    try:
        return json.loads(line)
    except ValueError as error:
        raise InvalidData(f"{name}, line {number} is not valid JSON: {error}") from error


def _table_rows(file: str, schema: "Schema | None") -> list[dict[str, Any]]:
    from trainwright_components.datasets.sources.csv_files import CsvFiles
    from trainwright_components.datasets.sources.values import ValueOptions

    texts = frozenset(each.name for each in schema.features if each.dtype == "string") if schema else frozenset[str]()
    try:
        table = CsvFiles([file], values=ValueOptions(texts=texts, keeps_strays=True))
    except InvalidSetting as error:
        raise InvalidData(f"{file} cannot be read: {error}") from error
    columns = table.traits.columns
    readers = _column_readers(schema, columns)
    if missing := [name for name in readers if name not in columns]:
        raise InvalidData(f"{file} lacks {', '.join(missing)}, which the model needs")
    _note_ignored({name for name in columns if name not in readers}, file)
    rows = []
    for chunk in table.chunks():
        for number in range(chunk.rows):
            try:
                rows.append({name: read(chunk.columns[name][number]) for name, read in readers.items()})
            except ValueError as error:
                raise InvalidData(f"{chunk.place(number)}: {error}") from error
    if not rows:
        raise InvalidData(f"{file} holds no row")
    return rows


def _column_readers(schema: "Schema | None", columns: Any) -> Mapping[str, Callable[[str], Any]]:
    if schema is None:
        return dict.fromkeys(columns, _guess)
    return {feature.name: _reader(feature) for feature in schema.features}


def _reader(feature: "Feature") -> Callable[[str], Any]:
    """Reads what prepare_data and batch_score would read; the empty text is a missing value."""
    by_type: dict[str, Callable[[str], Any]] = {"float32": float, "bool": _boolean, "string": str}
    read = by_type.get(feature.dtype, _whole)

    def read_text(text: str) -> Any:
        if not text:
            return _missing(feature)
        try:
            return read(text)
        except ValueError as error:
            raise ValueError(f"column {feature.name!r}: {error}") from error

    return read_text


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        number = float(text)
        if not number.is_integer():
            raise ValueError(f"must be an integer, got {text!r}") from None
        return int(number)


def _boolean(text: str) -> bool:
    values = {"1": True, "true": True, "0": False, "false": False}
    if text.strip().lower() not in values:
        raise ValueError(f"must be true or false, got {text!r}")
    return values[text.strip().lower()]


def _guess(text: str) -> Any:
    try:
        return float(text)
    except ValueError:
        return text
