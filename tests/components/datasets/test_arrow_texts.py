"""Numbers read by Arrow, against what the texts say to Python."""

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from trainwright_components.datasets.sources.arrow_texts import LazyColumns, read_plain, trimmed

MISSING = frozenset({"", "NA", "-"})


@pytest.mark.parametrize(
    "texts",
    [
        ["1", "-2", "+3", "0", "-0", "0.5"],
        ["1.", ".5", "5.e3", "1e5", "1E+5", "+.5e-3"],
        ["123456789012345678", "1e400", "1e-400"],
        ["1", "", "NA", "-", "2.5"],
        ["", ""],
        [],
    ],
)
def test_plain_numbers_are_what_python_reads(texts: list[str]) -> None:
    _, read = read_plain(pa.array(texts, pa.string()), MISSING)
    assert read is not None
    expected = [math.nan if text in MISSING else float(text) for text in texts]
    assert [repr(value) for value in read.tolist()] == [repr(value) for value in expected]


def test_a_number_may_mean_missing() -> None:
    kept, read = read_plain(pa.array(["1", "-999", "2"], pa.string()), frozenset({"", "-999"}))
    assert read is not None
    assert [repr(value) for value in read.tolist()] == ["1.0", "nan", "2.0"]
    assert kept.to_pylist() == ["1", "", "2"]


@pytest.mark.parametrize(
    "text", ["007", "00", "x", "1,5", "1_000", "nan", "inf", "0x10", "--5", "+-5", "1e", "e5", ".", "1-2", "1 2", "٣"]
)
def test_codes_and_other_texts_are_no_numbers(text: str) -> None:
    assert read_plain(pa.array(["1", text, "2"], pa.string()), MISSING)[1] is None


def test_a_part_of_a_batch_is_read_from_where_it_starts() -> None:
    values = pa.array(["007", "1", "", "22", "x"], pa.string()).slice(1, 3)
    _, read = read_plain(values, MISSING)
    assert read is not None
    assert [repr(value) for value in read.tolist()] == ["1.0", "nan", "22.0"]


def test_blanks_around_values_go_those_of_other_scripts_too() -> None:
    assert trimmed(pa.array([" a b ", "\u00a0c\u3000", "d"], pa.string())).to_pylist() == ["a b", "c", "d"]


def test_a_column_is_made_when_it_is_asked_for_and_once() -> None:
    made = []

    def make() -> np.ndarray[Any, Any]:
        made.append("a")
        return np.zeros(1)

    columns = LazyColumns({"a": make, "b": make})
    assert list(columns) == ["a", "b"]
    assert "a" in columns
    assert not made
    assert columns["a"] is columns["a"]
    assert made == ["a"]
