"""Text files as people write them: what is found from the head, and the rows, which pandas reads too when told how."""

import bz2
import gzip
import lzma
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from trainwright_components.datasets.sources.csv_files import CsvFiles
from trainwright_components.datasets.sources.dialect import Dialect, DialectOptions, find_dialect
from trainwright_components.datasets.sources.opening import open_source
from trainwright_components.errors import InvalidData, InvalidSetting
from trainwright_components.prepare_data.prepare import prepare_data
from trainwright_components.prepare_data.settings import PrepareSettings

ROWS = [("Ana", "1.5", 'says "no"'), ("Bo; b", "2.25", ""), ("Cé", "-3", "x\ty"), ("Dan", "4", "two\nlines")]


def read(path: Path, **options: Any) -> tuple[list[str], list[list[str]]]:
    source = CsvFiles([str(path)], DialectOptions(**options))
    columns = {
        name: np.concatenate([chunk.columns[name] for chunk in source.chunks()]) for name in source.traits.columns
    }
    return list(columns), [list(row) for row in zip(*(column.tolist() for column in columns.values()), strict=True)]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_what_pandas_writes_is_read(tmp_path: Path, delimiter: str, encoding: str) -> None:
    table = pd.DataFrame(ROWS, columns=["name", "amount (€)", "note"])
    table.to_csv(tmp_path / "rows.csv", sep=delimiter, encoding=encoding, index=False)
    assert read(tmp_path / "rows.csv") == (list(table), [list(row) for row in ROWS])


@pytest.mark.parametrize(("suffix", "opened"), [("gz", gzip.open), ("bz2", bz2.open), ("xz", lzma.open)])
def test_packed_files_are_unpacked(tmp_path: Path, suffix: str, opened: Any) -> None:
    path = tmp_path / f"rows.csv.{suffix}"
    with opened(path, "wt") as file:
        file.write("a,b\n1,x\n")
    chunk = next(iter(open_source(str(path)).chunks()))
    assert {name: column.tolist() for name, column in chunk.columns.items()} == {"a": ["1"], "b": ["x"]}


@pytest.mark.parametrize(
    ("text", "names", "row", "evidence"),
    [
        ("# made by hand\n#\n\nx,y\n1,2\n3,4\n", ["x", "y"], ["1", "2"], "the first 3 lines are no rows"),
        ("sep=;\nx;y\n1;2\n3;4\n", ["x", "y"], ["1", "2"], "the first 1 lines are no rows"),
        ("x   y  z\n1  2   3\n 4 5 6\n", ["x", "y", "z"], ["1", "2", "3"], "values are delimited by blanks"),
        ('x y\n1 "a b"\n2 c\n', ["x", "y"], ["1", "a b"], "values are delimited by blanks"),
        ("E,E,5\nB,D,6\nE,D,4\n", ["column_1", "column_2", "column_3"], ["E", "E", "5"], "the first line holds values"),
        ("p,x\ne,x\np,x\ne,y\n", ["column_1", "column_2"], ["p", "x"], "the first line recurs below"),
        ("2024-01-01,a\n2024-01-02,b\n", ["column_1", "column_2"], ["2024-01-01", "a"], "the first line holds a time"),
        ("land,1/22/20,1/23/20\nA,1,2\nB,3,4\n", ["land", "1/22/20", "1/23/20"], ["A", "1", "2"], ""),
        ('a, b\n1, "x, y"\n2, "z"\n3, ""\n', ["a", "b"], ["1", "x, y"], "blanks between a delimiter and a quote"),
        ("a,0,b\n1,2,3\n4,5,6\n", ["a", "0", "b"], ["1", "2", "3"], ""),
        ("8,?,?,Lake\n53,?,?,Tuk\n24,?,?,Ab\n", [f"column_{n}" for n in range(1, 5)], ["8", "", "", "Lake"], ""),
        ('1\ta\n2\t"b\n3\tc\n4\t"d\n5\te\n', ["column_1", "column_2"], ["1", "a"], "quotes are part of the values"),
        ('"a","b"\n"r1",1,2\n"r2",3,4\n', ["unnamed_1", "a", "b"], ["r1", "1", "2"], "one value more than the header"),
        ("a\tb\nd\tc\nclass\t\nx\t1\ny\t2\n", ["a", "b"], ["x", "1"], "are Orange's"),
    ],
)
def test_what_is_unlike_plain_csv_is_found_and_said(
    tmp_path: Path, text: str, names: list[str], row: list[str], evidence: str
) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(text)
    found, rows = read(path)
    assert (found, rows[0]) == (names, row)
    assert evidence in "; ".join(CsvFiles([str(path)]).evidence)


@pytest.mark.parametrize(
    "text",
    [
        "country,1990,1991,1992\nDE,1,2,3\nFR,4,5,6\n",  # years are names
        "0,1,2\n5,5,5\n6,6,6\n",  # as pandas writes a table without names
        "Week (first, second);Target, all\n1;316.307\n4;2,5\n",  # more commas than semicolons
        "a\n1\n2\n",
        "name,size\n,\nx,y\n",
        "x;y\n0,66;1,5\n0,5;2,5\n",
    ],
)
def test_a_header_is_taken_for_one(tmp_path: Path, text: str) -> None:
    (tmp_path / "rows.csv").write_text(text)
    names, rows = read(tmp_path / "rows.csv")
    delimiter = ";" if ";" in text else ","
    assert names == text.splitlines()[0].split(delimiter)
    assert len(rows) == len(text.splitlines()) - 1


def test_rows_with_open_quotes_are_all_read(tmp_path: Path) -> None:
    """Taken for quotes of CSV they would swallow the lines up to the next one, without a word."""
    lines = [f"{number}\t{'' if number % 50 else chr(34)}text {number}" for number in range(1_000)]
    (tmp_path / "rows.txt").write_text("\n".join(lines) + "\n")
    _, rows = read(tmp_path / "rows.txt")
    assert [row[0] for row in rows] == [str(number) for number in range(1_000)]


def test_sentences_between_quotes_are_rows_of_their_own(tmp_path: Path) -> None:
    lines = ['1\t"They came.', "2\tThey saw.", '3\tThey won."', "4\tThen they left."]
    (tmp_path / "rows.txt").write_text("\n".join(lines) + "\n")
    assert [row[0] for row in read(tmp_path / "rows.txt")[1]] == ["1", "2", "3", "4"]


def test_values_of_several_lines_stay_whole(tmp_path: Path) -> None:
    table = pd.DataFrame({"id": range(300), "text": [f'line "one"\nline {number}, too' for number in range(300)]})
    table.to_csv(tmp_path / "rows.csv", index=False)
    _, rows = read(tmp_path / "rows.csv")
    assert [row[1] for row in rows] == table["text"].tolist()


def test_what_is_said_goes_before_what_is_found(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("1,2;3\n4,5;6\n")
    assert read(tmp_path / "rows.csv", delimiter=",", header="yes") == (["1", "2;3"], [["4", "5;6"]])
    assert read(tmp_path / "rows.csv", delimiter="semicolon", header="no")[1] == [["1.2", "3"], ["4.5", "6"]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"delimiter": "ab"}, r"data\.delimiter must be one sign, or comma, tab, semicolon, bar, blanks; got 'ab'"),
        ({"encoding": "utf-99"}, r"data\.encoding 'utf-99' is not known; utf-8, utf-16, cp1252 and latin-1"),
        ({"header": "none"}, r"data\.header must be one of auto, yes, no; got 'none'"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, str], message: str) -> None:
    with pytest.raises(InvalidSetting, match=message):
        PrepareSettings.from_mapping(options, label="y")


def test_another_encoding_is_refused_with_its_place_and_read_when_it_is_said(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes("city,n\nBonn,1\nKöln,2\nGöttingen,3\n".encode("cp1252"))
    with pytest.raises(
        InvalidData, match=r"row 2, column 'city': byte 0xf6 is not UTF-8.*'Köln', say data\.encoding=cp1252"
    ):
        CsvFiles([str(path)])
    assert read(path, encoding="cp1252")[1][1:] == [["Köln", "2"], ["Göttingen", "3"]]


@pytest.mark.parametrize(
    ("encoding", "damaged", "message"),
    [
        (
            "utf-8",
            b'7,"caf\xe9\nau lait"\n',
            "row 60001, column 'name': byte 0xe9 is not UTF-8; .*: 'caf.*au lait', say",
        ),
        ("utf-16-le", b"7\0,\0a\0\0\xd8a\0\n\0", "row 60001, column 'name': byte 0x00 is not UTF-16-LE; say another"),
        ("cp1252", b"7,caf\x81\n", "row 60001, column 'name': byte 0x81 is not CP1252; say another data.encoding"),
    ],
)
def test_a_byte_that_is_not_of_the_encoding_is_found_in_any_row(
    tmp_path: Path, encoding: str, damaged: bytes, message: str
) -> None:
    rows = ["id,name", *(f"{number},name number {number}" for number in range(60_000))]
    content = "".join(row + "\n" for row in rows).encode(encoding)
    assert len(content) > 1 << 20, "the first megabyte is looked at before any row is read"
    (tmp_path / "rows.csv").write_bytes(content + damaged)
    with pytest.raises(InvalidData, match=f"(?s){re.escape(str(tmp_path))}/rows.csv, {message}"):
        read(tmp_path / "rows.csv", encoding="" if encoding == "utf-8" else encoding)


def test_an_encoding_is_guessed_from_enough_text(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(("имя,город\n" + "Анна,Санкт-Петербург\nБорис,Нижний Новгород\n" * 20).encode("cp1251"))
    with pytest.raises(InvalidData, match=r"if this reads well: 'имя,город', say data\.encoding=cp1251"):
        CsvFiles([str(path)])


def test_files_without_a_header_are_prepared_together(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    for name in ("a.data", "b.data"):
        pd.DataFrame({"x": rng.normal(size=100), "y": rng.choice(["p", "q"], 100)}).to_csv(
            tmp_path / name, index=False, header=False, sep=";"
        )
    prepared = prepare_data(f"{tmp_path}/*.data", tmp_path / "dataset", PrepareSettings(label="column_2"))
    assert prepared.schema.feature_names == ("column_1",)
    assert prepared.schema.class_names == ("p", "q")
    assert sum(numbers.rows for numbers in prepared.statistics.splits.values()) == 200


def test_a_file_without_the_mark_of_utf_16_is_refused() -> None:
    with pytest.raises(InvalidData, match=r"^t\.csv is not utf-16: .* BOM; say another data\.encoding$"):
        find_dialect(b"x,y\n1,2\n", DialectOptions(encoding="utf-16"), file="t.csv")


def test_a_label_that_is_not_there_lists_made_up_names(tmp_path: Path) -> None:
    (tmp_path / "rows.data").write_text("1,2,a\n3,4,b\n")
    with pytest.raises(InvalidSetting, match=r"label names the column 'y', which rows\.data lacks"):
        prepare_data(tmp_path / "rows.data", tmp_path / "dataset", PrepareSettings(label="y"))


def test_the_dialect_is_written_down_and_read_back() -> None:
    found = find_dialect(b"x;y\n1;2\n3;4\n", DialectOptions(), file="rows.csv")
    assert Dialect.from_mapping(found.dialect.to_mapping()) == replace(found.dialect, first_line=0)
