"""Data that differs from the schema it should have stops the run with a table of what differs."""

import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from trainwright_components.datasets.schema import Schema
from trainwright_components.errors import InvalidData, InvalidSetting
from trainwright_components.prepare_data.prepare import PreparedData, prepare_data
from trainwright_components.prepare_data.settings import PrepareSettings

Prepare = Callable[..., PreparedData]


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory, patients: pd.DataFrame) -> Path:
    """The dataset of all visits, without patient and moment."""
    folder = tmp_path_factory.mktemp("expected")
    patients.to_csv(folder / "rows.csv", index=False)
    settings = PrepareSettings(label="outcome", exclude=("patient", "visited"))
    return prepare_data(folder / "rows.csv", folder / "dataset", settings).dataset


def anomalies(prepare: Prepare, table: pd.DataFrame, expected: Path) -> list[list[str]]:
    with pytest.raises(InvalidData) as caught:
        prepare(table, expected_schema=str(expected))
    rows = str(caught.value).splitlines()[2:-1]
    return [re.split(r"\s{2,}", row.strip()) for row in rows]


def test_data_that_fits_keeps_the_classes_and_vocabularies_of_the_schema(
    patients: pd.DataFrame, expected: Path, prepare: Prepare
) -> None:
    part = patients[(patients["ward"] != "west") & (patients["outcome"] != "better")].drop(
        columns=["patient", "visited"]
    )
    prepared = prepare(part, expected_schema=str(expected))
    assert prepared.schema == Schema.load(expected)
    assert dict(prepared.statistics.split("train").column("outcome").values)["better"] == 0


def test_every_difference_is_in_the_table(patients: pd.DataFrame, expected: Path, prepare: Prepare) -> None:
    table = patients.drop(columns=["patient", "visited", "age"]).astype({"pressure": object})
    table.loc[4, "pressure"] = "high"
    table.loc[5, "ward"] = "east"
    table.loc[6, "outcome"] = "dead"
    table["new"] = 1
    found = {row[0]: row[1:] for row in anomalies(prepare, table, expected)}
    kind, text = found.pop("pressure")
    assert found == {
        "age": ["numeric float32", "no such column"],
        "ward": ["3 known values", "new: 'east'"],
        "outcome": ["3 known classes", "new: 'dead'"],
        "new": ["no such column", "integers"],
    }
    assert kind == "numeric float32"
    assert re.fullmatch(r"texts \(\d+ different\), such as 'high' \(.*rows\.csv, row 5\)", text)


def test_missing_labels_and_empty_columns_are_differences(
    patients: pd.DataFrame, expected: Path, prepare: Prepare
) -> None:
    table = patients.drop(columns=["patient", "visited"]).assign(dose=None)
    table.loc[2, "outcome"] = None
    found = {row[0]: row[1:] for row in anomalies(prepare, table, expected)}
    assert found["dose"] == ["numeric float32", "no value in any row"]
    assert re.fullmatch(r"texts \(3 different\), .*, 1 missing \(first: .*rows\.csv, row 3\)", found["outcome"][1])


def test_new_columns_can_be_excluded(patients: pd.DataFrame, expected: Path, prepare: Prepare) -> None:
    prepared = prepare(patients, expected_schema=str(expected / "schema.json"), exclude=("patient", "visited"))
    assert prepared.schema == Schema.load(expected)


def test_the_message_says_what_to_do(patients: pd.DataFrame, expected: Path, prepare: Prepare) -> None:
    message = (
        r"rows\.csv does not fit the expected schema, 2 differences:\n"
        r"  column   expected        found\n"
        r"  patient  no such column  integers\n"
        r"  visited  no such column  texts \(600 different\).*\n"
        r"Correct the data, exclude new columns, or prepare without data\.expected_schema to accept the change\."
    )
    with pytest.raises(InvalidData, match=message):
        prepare(patients, expected_schema=str(expected))


def test_another_label_than_expected_is_refused(patients: pd.DataFrame, expected: Path, prepare: Prepare) -> None:
    with pytest.raises(InvalidSetting, match="label is 'ward', but the expected schema has 'outcome'"):
        prepare(patients, label="ward", expected_schema=str(expected))


def test_an_expected_schema_that_is_not_there_is_named(
    patients: pd.DataFrame, tmp_path: Path, prepare: Prepare
) -> None:
    with pytest.raises(InvalidSetting, match=r"expected_schema: there is no file '.*nowhere"):
        prepare(patients, expected_schema=str(tmp_path / "nowhere" / "schema.json"))
