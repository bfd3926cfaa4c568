"""Rows to ask a served model about: from an argument, or a file of CSV, JSON or JSON lines."""

import csv
import json
import math
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainwright_components.errors import InvalidData

if TYPE_CHECKING:
    from trainwright_components.datasets.schema import Schema


def parse_rows(text: str, *, name: str = "ROWS") -> list[Any]:
    """Rows from JSON: one row, a list of them, or one per line.

    Raises:
        InvalidData: It is no JSON.
    """
    try:
        content = json.loads(text)
    except ValueError as error:
        lines = [line for line in text.splitlines() if line.strip()]
        if len(lines) < 2:
            raise InvalidData(f"{name} is no JSON: {error}; write it like '{{\"column\": 1.5}}'") from error
        return [_parse_line(line, number, name) for number, line in enumerate(lines, start=1)]
    if isinstance(content, dict) and isinstance(content.get("instances"), list):  # a request as curl sends it
        content = content["instances"]
    rows = content if isinstance(content, list) else [content]
    if not rows:
        raise InvalidData(f"{name} holds no row")
    return rows


def read_rows_file(file: str, *, schema: "Schema | None") -> list[Any]:
    """Rows of a file; `-` is standard input. Columns of a CSV get the types of `schema`, others are left out.

    Raises:
        InvalidData: It cannot be read, lacks a column, or a value is no number where one is needed.
    """
    if file == "-":
        return parse_rows(sys.stdin.read(), name="standard input")
    path = Path(file)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidData(f"{path} cannot be read: {error}") from error
    if path.suffix.lower() == ".csv":
        return _csv_rows(text, schema, path)
    return parse_rows(text, name=str(path))


def _parse_line(line: str, number: int, name: str) -> Any:
    try:
        return json.loads(line)
    except ValueError as error:
        raise InvalidData(f"{name}, line {number} is no JSON: {error}") from error


def _csv_rows(text: str, schema: "Schema | None", path: Path) -> list[dict[str, Any]]:
    reader = csv.DictReader(text.splitlines())
    columns = reader.fieldnames or []
    readers = _column_readers(schema, columns)
    if missing := [name for name in readers if name not in columns]:
        raise InvalidData(f"{path} lacks {', '.join(missing)}, which the model needs")
    rows = []
    for number, row in enumerate(reader, start=2):
        try:
            rows.append({name: read(row[name] or "") for name, read in readers.items()})
        except ValueError as error:
            raise InvalidData(f"{path}, line {number}: {error}") from error
    if not rows:
        raise InvalidData(f"{path} holds no row")
    return rows


def _column_readers(schema: "Schema | None", columns: Any) -> Mapping[str, Callable[[str], Any]]:
    if schema is None:
        return dict.fromkeys(columns, _guess)
    by_type: dict[str, Callable[[str], Any]] = {"float32": _number, "bool": _boolean, "string": str}
    return {feature.name: by_type.get(feature.dtype, int) for feature in schema.features}


def _number(text: str) -> float:
    return float(text) if text.strip() else math.nan


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
