"""Integers of more digits than a float keeps: they name something, and no digit of them is lost."""

import json
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from trainwright_components.batch_predict.rows import open_rows
from trainwright_components.datasets.encode import encode_features
from trainwright_components.datasets.reader import read_split
from trainwright_components.prepare_data.prepare import PreparedData, prepare_data

ROWS = 120
FIRST = {
    "18 digits": 123456789012345678,
    "int64": 2**63 - 5,
    "-int64": -(2**63),
    "uint64": 2**64 - 5,
    "25 digits": 10**24,
}
FORMATS = ("csv", "jsonl", "parquet")


def write(path: Path, ids: list[int | None]) -> None:
    """`ids` with a number and a class, in the format that the name says."""
    x, y = [row % 60 / 8 for row in range(len(ids))], ["a" if row % 3 else "b" for row in range(len(ids))]
    if path.suffix == ".parquet":
        exact = [None if each is None else Decimal(each) for each in ids]
        table = pa.table({"id": pa.array(exact, pa.decimal128(30, 0)), "x": x, "y": y})
        parquet.write_table(table, path)
        return
    rows = [dict(zip(("id", "x", "y"), row, strict=True)) for row in zip(ids, x, y, strict=True)]
    if path.suffix == ".jsonl":
        path.write_text("\n".join(map(json.dumps, rows)))
        return
    lines = [",".join("" if value is None else str(value) for value in row.values()) for row in rows]
    path.write_text("\n".join(["id,x,y", *lines]) + "\n")


def prepare(path: Path, **settings: object) -> PreparedData:
    return prepare_data(path, path.parent / "dataset", {"label": "y", **settings})


@pytest.mark.parametrize(
    ("suffix", "first"), [*(("csv", first) for first in FIRST.values()), ("jsonl", 2**64 - 5), ("parquet", 2**63 - 5)]
)
def test_no_digit_of_a_repeated_id_is_lost(tmp_path: Path, suffix: str, first: int) -> None:
    ids = [None if row == 7 else first + row % 5 for row in range(ROWS)]
    write(tmp_path / f"rows.{suffix}", ids)
    prepared = prepare(tmp_path / f"rows.{suffix}")
    texts = sorted({str(each) for each in ids if each is not None})
    feature = prepared.schema.feature("id")
    assert (feature.kind, list(feature.vocabulary or ())) == ("categorical", texts)
    stored = [row["id"].decode() for row, _ in read_split(prepared.dataset, "train").as_numpy_iterator()]
    assert {*texts} <= {*stored} <= {*texts, ""}
    source = open_rows(str(tmp_path / f"rows.{suffix}"), source_format="", split="", schema=prepared.schema)
    scored = [text for chunk in source.chunks() for text in encode_features(chunk, prepared.schema)["id"]]
    assert scored == ["" if each is None else str(each) for each in ids]


@pytest.mark.parametrize("first", [FIRST["int64"], FIRST["25 digits"]])
def test_an_id_of_each_row_is_told_by_its_digits(tmp_path: Path, first: int) -> None:
    write(tmp_path / "rows.csv", [first + row for row in range(ROWS)])
    [verdict] = [each for each in prepare(tmp_path / "rows.csv").verdicts if each.columns == ("id",)]
    assert (verdict.kind, verdict.is_left_out) == ("unique id", True)
    assert f"{first}" in verdict.finding


def test_quantities_of_many_digits_stay_numbers(tmp_path: Path) -> None:
    write(tmp_path / "rows.csv", [10**18 + 10**15 * (row % 50) for row in range(ROWS)])
    assert prepare(tmp_path / "rows.csv").schema.feature("id").kind == "numeric"


def test_whoever_says_that_they_are_numbers_gets_numbers(tmp_path: Path) -> None:
    write(tmp_path / "rows.csv", [2**64 - 1 - row % 5 for row in range(ROWS)])
    assert prepare(tmp_path / "rows.csv", kinds={"id": "numeric"}).schema.feature("id").dtype == "float32"


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_classes_of_many_digits_keep_them(tmp_path: Path, suffix: str) -> None:
    write(tmp_path / f"rows.{suffix}", [2**64 - 1 - row % 3 for row in range(ROWS)])
    prepared = prepare(tmp_path / f"rows.{suffix}", label="id")
    assert prepared.schema.class_names == tuple(str(2**64 - 3 + place) for place in range(3))
    assert prepared.statistics.splits["train"].column("id").values.keys() == {*prepared.schema.class_names}
