"""Values as people write them: numbers become plain ones, words that mean missing are, and what is found is said."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from trainwright_components.datasets.describe import describe_table
from trainwright_components.datasets.infer import Roles
from trainwright_components.datasets.sources.csv_files import CsvFiles
from trainwright_components.datasets.sources.values import ValueOptions
from trainwright_components.errors import InvalidData, InvalidSetting
from trainwright_components.prepare_data.prepare import prepare_data
from trainwright_components.prepare_data.settings import PrepareSettings

NUMBERS = [1234.5, -0.25, 12.0, 1234567.75, 3.0]


def column(path: Path, name: str = "x", options: ValueOptions | None = None) -> tuple[list[str], str]:
    source = CsvFiles([str(path)], values=options)
    values = np.concatenate([chunk.columns[name] for chunk in source.chunks()]).tolist()
    return values, "; ".join(source.evidence)


def write(path: Path, values: list[str], *, delimiter: str = ";") -> Path:
    rows = [f'"{value}"{delimiter}t{number % 2}' for number, value in enumerate(values)]
    path.write_text("\n".join([f"x{delimiter}y", *rows]) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("decimal", "thousands"), [(",", ""), (",", "."), (".", ","), (".", " "), (",", "\u00a0"), (".", "'")]
)
@pytest.mark.parametrize("signs", ["{}", "€ {}", "{} %", "${}"])
def test_numbers_become_what_they_are(tmp_path: Path, decimal: str, thousands: str, signs: str) -> None:
    """Written by Python's own format, as people of several countries do."""
    written = [signs.format(f"{number:,}".translate({ord(","): thousands, ord("."): decimal})) for number in NUMBERS]
    values, said = column(write(tmp_path / "rows.csv", written))
    assert [float(value) for value in values] == NUMBERS
    assert "'x': numbers with" in said


@pytest.mark.parametrize(("delimiter", "number"), [(";", 1.234), (",", 1234.0)])
def test_what_can_be_both_is_told_by_the_delimiter(tmp_path: Path, delimiter: str, number: float) -> None:
    values, _ = column(write(tmp_path / "rows.csv", ["1,234", "5,678"], delimiter=delimiter))
    assert float(values[0]) == number


def test_what_is_said_goes_before_it(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.csv", ["1,234", "5,678"])
    assert column(path, options=ValueOptions(thousands=","))[0] == ["1234", "5678"]
    assert column(write(tmp_path / "b.csv", ["1", "-99", "NA"]), options=ValueOptions(missing=("-99",)))[0] == [
        "1",
        "",
        "NA",
    ]


def test_words_that_mean_missing_do_so_by_column(tmp_path: Path) -> None:
    table = pd.DataFrame(
        {
            "country": ["NA", "DE", "FR", "NA"],
            "grade": ["NA", "good", "bad", "n/a"],
            "size": ["1.5", "-", "?", "2"],
            "sign": ["-", "+", "-", "+"],
        }
    )
    table.to_csv(tmp_path / "rows.csv", index=False)
    source = CsvFiles([str(tmp_path / "rows.csv")])
    [chunk] = source.chunks()
    assert {name: values.tolist() for name, values in chunk.columns.items()} == {
        "country": ["NA", "DE", "FR", "NA"],
        "grade": ["", "good", "bad", ""],
        "size": ["1.5", "", "", "2"],
        "sign": ["-", "+", "-", "+"],
    }
    assert source.evidence == (
        "'country': NA is a value there, since all others are codes like it (DE, FR)",
        "'size': - means missing among its numbers",
    )


def strays(path: Path) -> Path:
    values = [str(number) for number in range(1_000)]
    values[41], values[700] = "unknown", "about 3"
    return write(path, values)


def test_single_words_among_numbers_are_refused_with_their_rows(tmp_path: Path) -> None:
    path = strays(tmp_path / "rows.csv")
    with pytest.raises(
        InvalidData,
        match=r"'x' holds numbers but for 2 values: 'unknown' in row 42, 'about 3' in row 701; say data\.stray",
    ):
        prepare_data(path, tmp_path / "dataset", PrepareSettings(label="y"))
    assert not (tmp_path / "dataset").exists()


def test_they_count_as_missing_when_that_is_said(tmp_path: Path) -> None:
    prepared = prepare_data(
        strays(tmp_path / "rows.csv"), tmp_path / "dataset", PrepareSettings(label="y", stray="missing")
    )
    assert prepared.schema.feature("x").kind == "numeric"
    assert sum(numbers.column("x").missing for numbers in prepared.statistics.splits.values()) == 2


def test_a_kind_that_is_said_makes_them_words(tmp_path: Path) -> None:
    roles = Roles(label="y", kinds={"x": "text"})
    values = ValueOptions(texts=frozenset({"x"}))
    schema = describe_table(strays(tmp_path / "rows.csv"), roles, values=values).schema
    assert schema.feature("x").kind == "text"


def test_a_column_with_more_words_is_one_of_words(tmp_path: Path) -> None:
    values, said = column(write(tmp_path / "rows.csv", ["1,5", "2,5", "low", "3,5"] * 20))
    assert (values[:4], said) == (["1,5", "2,5", "low", "3,5"], "values are delimited by semicolon")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"decimal": ";"}, r'data\.decimal must be one of "", "\.", ","; got \';\''),
        ({"thousands": "x"}, r"data\.thousands must be one of"),
        ({"stray": "ignore"}, r"data\.stray must be one of error, missing; got 'ignore'"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, str], message: str) -> None:
    with pytest.raises(InvalidSetting, match=message):
        PrepareSettings.from_mapping(options, label="y")
