"""Rows to ask a served model about: long ids keep their digits, and what a row lacks is named."""

from dataclasses import replace
from pathlib import Path

import pytest

from trainwright_components.datasets.schema import Feature, History, Schema
from trainwright_components.errors import InvalidData
from trainwright_pipelines.requests.rows import fit_rows, parse_rows, read_rows_file

LONG = 2**64 - 1
SCHEMA = Schema(
    features=(
        Feature(name="id", kind="categorical", dtype="string", vocabulary=(str(LONG),)),
        Feature(name="x", kind="numeric", dtype="float32"),
    )
)
ROW = {"id": str(LONG), "x": 1.5}


def test_a_long_id_is_sent_with_all_its_digits(tmp_path: Path) -> None:
    text = f'{{"id": {LONG}, "x": 1.5}}'
    assert fit_rows(parse_rows(text), SCHEMA) == [ROW]
    (tmp_path / "rows.csv").write_text(f"id,x\n{LONG},1.5\n{LONG},1.5\n")
    (tmp_path / "rows.jsonl").write_text(f"{text}\n{text}\n")
    for name in ("rows.csv", "rows.jsonl"):
        assert read_rows_file(str(tmp_path / name), schema=SCHEMA) == [ROW, ROW]


def test_a_row_that_lacks_a_feature_is_told_what_to_give() -> None:
    with pytest.raises(InvalidData, match=r"^ROWS, row 2 lacks 'x', which the model takes; give each of id, x, null"):
        fit_rows([ROW, {"id": str(LONG)}], SCHEMA)


def test_a_row_without_earlier_labels_is_told_what_they_are() -> None:
    history = History(label="sold", time="day", series="shop", lags=(1, 7), windows=(3,))
    made = tuple(Feature(name=name, kind="numeric", dtype="float32") for name in history.names)
    schema = replace(SCHEMA, features=(*SCHEMA.features, *made), history=history)
    with pytest.raises(InvalidData) as refused:
        fit_rows([{**ROW, "sold_lag_1": 3}], schema)
    assert str(refused.value) == (
        "ROWS, row 1 lacks 'sold_lag_7', 'sold_mean_3', which the model takes; "
        "give sold_lag_7 ('sold' of 7 rows before), sold_mean_3 (the mean of the 3 before), null where it is not "
        "known, or --file with a table of id, x, shop, day, sold that has the 7 rows before too"
    )
