"""What training found out about a text file holds for those that come later, as small as they are."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from trainwright_components.datasets.encode import encode_features
from trainwright_components.datasets.schema import Feature, Label, Schema
from trainwright_components.datasets.sources.csv_files import CsvFiles
from trainwright_components.datasets.sources.dialect import DialectOptions
from trainwright_components.datasets.sources.reading import KnownTable
from trainwright_components.datasets.sources.values import ValueOptions
from trainwright_components.errors import InvalidData

PRICES = "land;preis;anteil;art\n" + "".join(
    f"{land};{preis};{anteil};{art}\n"
    for land, preis, anteil, art in [
        ("DE", "1.234,5", "12 %", "a"),
        ("NA", "2.000", "-", "b"),
        ("FR", "0,25", "7,5 %", "a"),
        ("CH", "-", "1 %", "b"),
    ]
)


def schema_of(file: Path, features: Mapping[str, str], *, label: str = "", **options: Any) -> Schema:
    """The schema of a training table, once through JSON as the artifacts carry it."""
    names = {each.name for each in DialectOptions.__dataclass_fields__.values()}
    dialect = DialectOptions(**{name: value for name, value in options.items() if name in names})
    values = ValueOptions(**{name: value for name, value in options.items() if name not in names})
    source = CsvFiles([str(file)], dialect, values)
    schema = Schema(
        features=tuple(Feature(name=name, kind=kind, dtype=DTYPES[kind]) for name, kind in features.items()),
        label=Label(name=label, kind="number", dtype="float32") if label else None,
        reading=source.traits.reading,
    )
    return Schema.from_json(schema.to_json())


DTYPES = {"numeric": "float32", "categorical": "string", "text": "string"}


def rows_of(file: Path, schema: Schema) -> list[list[Any]]:
    """What a model gets from a later file, row by row."""
    source = CsvFiles([str(file)], values=ValueOptions(keeps_strays=True), known=KnownTable.of_schema(schema))
    [chunk] = source.chunks()
    columns = [column.tolist() for column in encode_features(chunk, schema).values()]
    return [["" if value != value else value for value in row] for row in zip(*columns, strict=True)]


@pytest.fixture
def prices(tmp_path: Path) -> Schema:
    (tmp_path / "train.csv").write_text(PRICES)
    return schema_of(
        tmp_path / "train.csv", {"land": "categorical", "preis": "numeric", "anteil": "numeric"}, label="art"
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("land;preis;anteil\nNA;1.234;5 %\n", [["NA", 1234.0, 5.0]]),  # alone it would be 1.234, and NA missing
        ("anteil;preis;land\n7,5 %;1,5;DE\n", [["DE", 1.5, 7.5]]),
        ("preis;extra;anteil;land\n-;x;-;FR\n", [["FR", "", ""]]),
        ("land,preis,anteil\nDE,1234.5,3\nFR,1.5,2\n", [["DE", 1234.5, 3.0], ["FR", 1.5, 2.0]]),
        ('land\tpreis\tanteil\nDE\t"1.234,5"\t3%\n', [["DE", 1234.5, 3.0]]),
        ("# new\nland;preis;anteil\n\nDE;12;1\n", [["DE", 12.0, 1.0]]),
    ],
)
def test_numbers_are_read_as_in_training(tmp_path: Path, prices: Schema, text: str, expected: list[Any]) -> None:
    (tmp_path / "new.csv").write_text(text)
    assert rows_of(tmp_path / "new.csv", prices) == expected


@pytest.mark.parametrize("text", ["1,5;x;3\n", "1,5;3\n", "3;1,5;y\n"])
def test_columns_without_a_header_are_those_of_training(tmp_path: Path, text: str) -> None:
    (tmp_path / "train.txt").write_text("1,5;x;3\n2,25;y;4\n1;x;7\n")
    schema = schema_of(tmp_path / "train.txt", {"column_1": "numeric", "column_3": "numeric"}, label="column_2")
    if text.startswith("3"):
        text = "column_3;column_1;column_2\n" + text
    (tmp_path / "new.txt").write_text(text)
    assert rows_of(tmp_path / "new.txt", schema) == [[1.5, 3.0]]


def test_other_columns_without_a_header_are_refused(tmp_path: Path, prices: Schema) -> None:
    (tmp_path / "train.txt").write_text("1,5;x;3\n2,25;y;4\n1;x;7\n")
    schema = schema_of(tmp_path / "train.txt", {"column_1": "numeric", "column_3": "numeric"}, label="column_2")
    (tmp_path / "new.txt").write_text("1;2;3;4;5\n2;3;4;5;6\n")
    with pytest.raises(InvalidData, match=r"5 values in its first row, where training had 3 columns \(column_1, col"):
        rows_of(tmp_path / "new.txt", schema)
    for text in ("DE;1,5;2\nFR;3;4\n", "DE;1,5;2\n"):
        (tmp_path / "new.txt").write_text(text)
        with pytest.raises(InvalidData, match=r"the first line \(DE, 1,5, 2\) has to name the columns.* land, preis"):
            rows_of(tmp_path / "new.txt", prices)


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "utf-16", "utf-16-le"])
def test_what_is_no_utf8_is_in_the_encoding_of_training(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "train.csv").write_bytes("x,stadt\n1,Zürich\n2,Genève\n".encode("cp1252"))
    schema = schema_of(tmp_path / "train.csv", {"x": "numeric", "stadt": "text"}, encoding="cp1252")
    (tmp_path / "new.csv").write_bytes("stadt,x\nZürich,1\n".encode(encoding))
    assert rows_of(tmp_path / "new.csv", schema) == [[1.0, "Zürich"]]


def test_what_a_person_said_of_the_training_table_holds_too(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("a b\n1,000 none\n2,500 -99\n-99 x\n")
    schema = schema_of(
        tmp_path / "train.csv",
        {"a": "numeric", "b": "text"},
        decimal=",",
        missing=("-99", "none"),
        stray="missing",
        delimiter="blanks",
    )
    (tmp_path / "new.csv").write_text("a b\n1,000 NA\n-99 none\nbroken x\n")
    assert rows_of(tmp_path / "new.csv", schema) == [[1.0, "NA"], ["", ""], ["", "x"]]


def test_quotes_that_are_none_stay_none(tmp_path: Path) -> None:
    (tmp_path / "train.tsv").write_text('1\ta\n2\t"b\n3\tc\n4\t"d\n5\te\n')
    schema = schema_of(tmp_path / "train.tsv", {"column_1": "numeric", "column_2": "text"})
    (tmp_path / "new.tsv").write_text('7\t"so"\n8\t"and\n9\tso"\n')
    assert rows_of(tmp_path / "new.tsv", schema) == [[7.0, '"so"'], [8.0, '"and'], [9.0, 'so"']]


def test_schemas_that_differ_in_their_reading_alone_are_equal(prices: Schema) -> None:
    other = prices.without_reading()
    assert prices == other
    assert hash(prices) == hash(other)
    assert "reading" not in other.to_json()
    assert Schema.from_json(prices.to_json()).reading == prices.reading != {}


def test_a_damaged_reading_is_told() -> None:
    schema = Schema(features=(Feature(name="x", kind="numeric", dtype="float32"),), reading={"columns": 3})
    with pytest.raises(InvalidData, match="the schema's reading is damaged: KeyError: 'dialect'"):
        KnownTable.of_schema(schema)
