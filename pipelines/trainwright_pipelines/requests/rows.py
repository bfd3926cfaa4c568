"""Rows to ask a served model about: from an argument, or a file of any format that a model can be trained on."""

import base64
import json
import math
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trainwright_components.errors import InvalidData, InvalidSetting

if TYPE_CHECKING:
    from trainwright_components.datasets.chunks import Chunk
    from trainwright_components.datasets.schema import Feature, Schema
    from trainwright_components.datasets.sources.dialect import DialectOptions


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
    """JSON rows as the model takes them: null is a missing value, a number among texts is a text.

    What is not a feature is left out with a note. Rows that name no features stay as they are.

    Raises:
        InvalidData: A feature is absent, or a value is missing that cannot be.
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
                    key: _missing(features[key]) if _is_missing(value, features[key]) else _fit(value, features[key])
                    for key, value in row.items()
                    if key in features
                }
            )
        except ValueError as error:
            raise InvalidData(f"{name}, row {number}: {error}") from error
        if absent := [key for key in features if key not in row]:
            raise InvalidData(f"{name}, row {number} {_absent(absent, schema)}")
    return fitted


def read_rows_file(file: str, *, schema: "Schema | None", dialect: "DialectOptions | None" = None) -> list[Any]:
    """Rows of a file or a folder, or the row of an image; `-` is JSON on standard input.

    With a schema they are read as those that the model was trained on, but for what `dialect` says, and columns that it
    does not take are left out.

    Raises:
        InvalidData: It cannot be read, lacks a column, or a value does not fit the schema.
    """
    path, name = Path(file), "standard input" if file == "-" else file
    if _is_image(path):
        return [_picture_row(path, schema)]
    if path.is_dir() or _is_no_json(path):
        return _source_rows(file, schema, dialect)
    try:
        text = sys.stdin.read() if file == "-" else path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidData(f"{name} cannot be read: it is no text, and its name tells no format") from error
    except OSError as error:
        raise InvalidData(f"{path} cannot be read: {error}") from error
    rows = parse_rows(text, name=name)
    history = schema.history.names if schema and schema.history else ()
    if history and file != "-" and all(isinstance(row, dict) and not row.keys() & {*history} for row in rows):
        return _source_rows(file, schema, dialect)
    return fit_rows(rows, schema, name=name) if schema else rows


def _is_image(path: Path) -> bool:
    from trainwright_components.datasets.sources.image_folder import IMAGE_SUFFIXES

    return path.suffix.lower() in IMAGE_SUFFIXES


def _picture_row(path: Path, schema: "Schema | None") -> Any:
    from trainwright_components.datasets.encode import checked_image

    try:
        picture = _sendable(checked_image(path.read_bytes()))
    except OSError as error:
        raise InvalidData(f"{path} cannot be read: {error}") from error
    except InvalidData as error:
        raise InvalidData(f"{path}: {error}") from error
    if schema is None:
        return picture
    if [(feature.kind, feature.dtype) for feature in schema.features] != [("image", "string")]:
        raise InvalidData(f"{path} is an image, but the model takes {', '.join(schema.feature_names)}")
    return {schema.feature_names[0]: picture}


def _sendable(value: Any) -> Any:
    return {"b64": base64.b64encode(value).decode()} if isinstance(value, bytes) else value


def _is_missing(value: Any, feature: "Feature") -> bool:
    return value is None or (value == "" and feature.dtype != "string")


def _fit(value: Any, feature: "Feature") -> Any:
    """A number as the text that training makes of it where it stands among texts."""
    if feature.kind in ("categorical", "text") and isinstance(value, int | float):
        from trainwright_components.datasets.chunks import scalar_text

        return scalar_text(value)
    return value


def _missing(feature: "Feature") -> Any:
    if feature.dtype == "string" and feature.kind != "image":
        return ""
    if feature.dtype == "float32" and not feature.shape:
        return math.nan
    raise ValueError(f"{feature.name!r} has no value, which this model needs")


def _absent(names: Sequence[str], schema: "Schema") -> str:
    """What a row lacks, and what to give."""
    lacks = f"lacks {', '.join(map(repr, names))}, which the model takes"
    history = schema.history
    if history is None or not {*names} & {*history.names}:
        return f"{lacks}; give each of {', '.join(schema.feature_names)}, null where a value is not known"
    meanings = {
        history.lag_name(lag): f"{history.label!r} of {'the row' if lag == 1 else f'{lag:,} rows'} before"
        for lag in history.lags
    }
    meanings |= {history.mean_name(size): f"the mean of the {size:,} before" for size in history.windows}
    made = ", ".join(f"{each} ({meanings[each]})" for each in names if each in meanings)
    columns = ", ".join((*(each for each in schema.feature_names if each not in meanings), *history.columns))
    return (
        f"{lacks}; give {made}, null where it is not known, or --file with a table of {columns} that has the "
        f"{history.depth:,} rows before too"
    )


def _note_ignored(names: Iterable[str], where: str) -> None:
    if listing := ", ".join(map(repr, sorted(names))):
        click.echo(f"{where}: the model does not take {listing}; ignored", err=True)


def _parse_line(line: str, number: int, name: str) -> Any:
    try:
        return json.loads(line)
    except ValueError as error:
        raise InvalidData(f"{name}, line {number} is not valid JSON: {error}") from error


def _is_no_json(path: Path) -> bool:
    from trainwright_components.datasets.sources.csv_files import CsvFiles
    from trainwright_components.datasets.sources.opening import format_of

    is_packed = path.suffix.lower() == ".gz"
    return is_packed or format_of(str(path)) not in ("", "jsonl") or bool(CsvFiles.other_names.fullmatch(path.name))


def _source_rows(file: str, schema: "Schema | None", dialect: "DialectOptions | None") -> list[dict[str, Any]]:
    from trainwright_components.datasets.history import with_history
    from trainwright_components.datasets.sources.opening import open_source
    from trainwright_components.datasets.sources.reading import KnownTable
    from trainwright_components.datasets.sources.values import ValueOptions

    try:
        source = open_source(
            file,
            dialect=dialect,
            values=ValueOptions(keeps_strays=True),  # the schema says what is a number
            known=KnownTable.of_schema(schema) if schema else None,
        )
    except InvalidSetting as error:
        raise InvalidData(f"{file} cannot be read: {error}") from error
    history = schema.history if schema else None
    source = with_history(source, history)
    rows: list[dict[str, Any]] = []
    taken = (*source.traits.identifiers, source.traits.default_label, *(history.columns if history else ()))
    for chunk in source.chunks():
        if schema and not rows:
            _note_ignored(chunk.columns.keys() - {*schema.feature_names, *taken}, file)
        columns = _model_columns(chunk, schema) if schema else _guessed_columns(chunk)
        rows += [
            dict(zip(columns, map(_sendable, values), strict=True)) for values in zip(*columns.values(), strict=True)
        ]
    if not rows:
        raise InvalidData(f"{file} holds no row")
    return rows


def _model_columns(chunk: "Chunk", schema: "Schema") -> dict[str, list[Any]]:
    """What the model takes, as batch_score would give it; float32 with the digits that people wrote."""
    from trainwright_components.datasets.chunks import is_missing
    from trainwright_components.datasets.encode import encode_features
    from trainwright_components.short_floats import plain_list

    if absent := [name for name in schema.feature_names if name not in chunk.columns]:
        raise InvalidData(f"{chunk.origin} lacks {', '.join(absent)}, which the model needs")
    for feature in schema.features:
        if (missing := is_missing(chunk.column(feature.name))).any():
            try:
                _missing(feature)
            except ValueError as error:
                raise InvalidData(f"{chunk.place(int(missing.argmax()))}: {error}") from error
    return {name: plain_list(column) for name, column in encode_features(chunk, schema).items()}


def _guessed_columns(chunk: "Chunk") -> dict[str, list[Any]]:
    return {name: [_guess(value) for value in column.tolist()] for name, column in chunk.columns.items()}


def _guess(value: Any) -> Any:
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value
