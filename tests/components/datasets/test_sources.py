"""Each format is read in full, in order, in chunks, and its damages are named with file and row."""

import gzip
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import tensorflow as tf
from pyarrow import parquet

from trainwright_components.datasets.chunks import Column, Source
from trainwright_components.datasets.sources.opening import open_source
from trainwright_components.errors import InvalidData, InvalidSetting


def read_all(source: Source) -> dict[str, Column]:
    chunks = list(source.chunks())
    return {name: np.concatenate([chunk.columns[name] for chunk in chunks]) for name in chunks[0].columns}


def test_csv_is_read_across_blocks_with_quotes_line_breaks_and_umlauts(tmp_path: Path) -> None:
    rows = 30_000
    table = pd.DataFrame({"id": range(rows), "text": [f'ä"{i},\n{"z" * 50}' for i in range(rows)]})
    table.to_csv(tmp_path / "rows.csv", index=False)
    assert (tmp_path / "rows.csv").stat().st_size > 1 << 20
    columns = read_all(open_source(str(tmp_path / "rows.csv")))
    assert columns["id"].tolist() == [str(i) for i in range(rows)]
    assert columns["text"].tolist() == table["text"].tolist()


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_csv_delimiters_byte_order_marks_and_blanks_are_taken_in(tmp_path: Path, delimiter: str) -> None:
    lines = [delimiter.join(row) for row in (("a", " b"), ("1", " x "), ("", "y"))]
    (tmp_path / "rows.csv").write_bytes("\ufeff".encode() + "\r\n".join(lines).encode())
    columns = read_all(open_source(str(tmp_path / "rows.csv")))
    assert {name: column.tolist() for name, column in columns.items()} == {"a": ["1", ""], "b": ["x", "y"]}


@pytest.mark.parametrize("row", [2, 50_000])
@pytest.mark.parametrize(("text", "count"), [("1,2", 2), ("1,2,3,4", 4)])
def test_a_ragged_row_is_named(tmp_path: Path, row: int, text: str, count: int) -> None:
    lines = ["a,b,c", *(f"{i},20,{'x' * 30}" for i in range(1, row)), text, "7,8,9"]
    (tmp_path / "rows.csv").write_text("\n".join(lines))
    with pytest.raises(InvalidData, match=rf"rows\.csv, row {row}: {count} values where there are 3 columns: '1,2"):
        read_all(open_source(str(tmp_path / "rows.csv")))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"rows\.csv is empty; a CSV file has a line for each row"),
        (b"a,b,a\n1,2,3\n", r"the header names a column twice: a; rename one"),
        (
            "a,b\n1,é\n".encode("latin-1"),
            r"row 1, column 'b': byte 0xe9 is not UTF-8; if this reads well: 'é', say data\.encoding=cp1252",
        ),
        (b'a,b\n1,"' + b"x\n" * 1_500_000, r"row 1 or soon after: a row is longer than 1 MB; close its quotes"),
        (b"\x00\x01\x02\x00", r"is not a CSV file: it holds binary data"),
    ],
)
def test_damaged_csv_is_explained(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "rows.csv").write_bytes(content)
    with pytest.raises(InvalidData, match=message):
        read_all(open_source(str(tmp_path / "rows.csv")))


def test_csv_files_read_together_have_the_same_columns(tmp_path: Path) -> None:
    (tmp_path / "1.csv").write_text("a,b\n1,2\n")
    (tmp_path / "2.csv").write_text("a,c\n1,2\n")
    with pytest.raises(
        InvalidData, match=r"2\.csv has other columns than .*1\.csv \(missing: b; not in the first: c\)"
    ):
        open_source(str(tmp_path / "*.csv"))


def test_json_lines_hold_numbers_texts_booleans_arrays_and_gaps(tmp_path: Path) -> None:
    rows = [
        {"n": 1, "t": "a", "b": True, "v": [1, 2]},
        {"n": None, "t": None, "b": False, "v": [3, 4.5]},
        {"t": 7, "b": True, "v": [5, 6]},
    ]
    (tmp_path / "rows.jsonl").write_text("\n\n".join(map(json.dumps, rows)))
    columns = read_all(open_source(str(tmp_path / "rows.jsonl")))
    np.testing.assert_array_equal(columns["n"], [1, np.nan, np.nan])
    assert columns["t"].tolist() == ["a", None, "7"]
    assert columns["b"].tolist() == [True, False, True]
    np.testing.assert_array_equal(columns["v"], [[1, 2], [3, 4.5], [5, 6]])


@pytest.mark.parametrize("form", ["{}", '{{"data": {}, "count": 1}}', "\ufeff {}"])
def test_a_list_of_objects_is_read_as_lines_are(tmp_path: Path, form: str) -> None:
    table = pd.DataFrame({"x": np.arange(5000) / 8, "t": [f"é{n}]," * (n % 50) for n in range(5000)]})
    (tmp_path / "rows.json").write_text(form.format(table.to_json(orient="records", indent=1)))
    columns = read_all(open_source(str(tmp_path / "rows.json")))
    np.testing.assert_array_equal(columns["x"], table["x"])
    assert columns["t"].tolist() == table["t"].tolist()


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (['{"a": 1}', '{"a": '], r"rows\.jsonl, row 2: not JSON"),
        (["{a: 1}"], r"row 1: not JSON.*it has to hold one object per line, or one list of objects"),
        (["[1, 2]"], r"row 1: expected a JSON object, got 1"),
        (["[", '{"a": 1}'], r"row 2: the list is not closed"),
        (['[{"a": 1}, {"a": }]'], r"row 2: not JSON: Expecting value.* in '\{\"a\": \}\]'"),
        (['{"a": 1}', '{"a": {"b": 2}}'], r"row 2: column 'a' holds an object"),
        (['{"a": [1, 2]}', '{"a": [1, 2, 3]}'], r"row 2: column 'a' must hold lists of one length"),
        (['{"a": [1, "x"]}'], r"row 1: column 'a' must hold lists of numbers"),
    ],
)
def test_bad_json_lines_are_named(tmp_path: Path, lines: list[str], message: str) -> None:
    (tmp_path / "rows.jsonl").write_text("\n".join(lines))
    with pytest.raises(InvalidData, match=message):
        read_all(open_source(str(tmp_path / "rows.jsonl")))


@pytest.mark.parametrize("form", ["{}\n{}", "[{},\n{}]"])
def test_json_that_is_not_utf8_is_named_with_its_byte(tmp_path: Path, form: str) -> None:
    rows = form.format('{"a": 1}', '{"a": "café"}')
    (tmp_path / "rows.jsonl").write_bytes(rows.encode("latin-1"))
    with pytest.raises(
        InvalidData, match=r"""row [02]: byte 0xe9 after '.*"a": "caf' is not UTF-8, as JSON has to be"""
    ):
        read_all(open_source(str(tmp_path / "rows.jsonl")))


def test_parquet_types_become_numbers_texts_and_arrays(tmp_path: Path) -> None:
    moment = pd.Timestamp("2026-01-31 12:00")
    table = pa.table(
        {
            "whole": pa.array([2**53 + 1, 2]),
            "gaps": pa.array([1, None], pa.int32()),
            "decimal": pa.array([Decimal("1.5"), Decimal(2)]),
            "flag": pa.array([True, False]),
            "when": pa.array([moment, moment]),
            "code": pa.array(["x", None]).dictionary_encode(),
            "vector": pa.array([[1.0, 2.0], [3.0, 4.0]], pa.list_(pa.float32(), 2)),
            "empty": pa.nulls(2),
        }
    )
    parquet.write_table(table, tmp_path / "rows.parquet")
    columns = read_all(open_source(str(tmp_path / "rows.parquet")))
    assert columns["whole"].tolist() == [2**53 + 1, 2]
    np.testing.assert_array_equal(columns["gaps"], [1, np.nan])
    assert (columns["decimal"].tolist(), columns["flag"].tolist()) == ([1.5, 2.0], [True, False])
    assert columns["when"][0].startswith("2026-01-31 12:00")
    assert (columns["code"].tolist(), columns["empty"].tolist()) == (["x", None], [None, None])
    np.testing.assert_array_equal(columns["vector"], [[1, 2], [3, 4]])


def test_damaged_parquet_is_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    pd.DataFrame({"a": np.arange(10_000.0)}).to_parquet(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InvalidData, match=r"rows\.parquet, after row 0: cannot be read as Parquet"):
        open_source(str(path))


def test_parquet_structs_make_no_feature(tmp_path: Path) -> None:
    parquet.write_table(pa.table({"s": pa.array([{"x": 1}])}), tmp_path / "rows.parquet")
    with pytest.raises(InvalidData, match=r"column 's' has the type struct<x: int64>, which makes no feature"):
        read_all(open_source(str(tmp_path / "rows.parquet")))


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_arrays_are_streamed(tmp_path: Path, save: object) -> None:
    random = np.random.default_rng(0)
    x = random.integers(0, 255, (9_000, 4, 4), dtype=np.uint8)
    y = random.integers(0, 3, 9_000)
    names = np.array(["a", "ä"])[y % 2]
    save(tmp_path / "rows.npz", x=x, y=y, names=names)  # type: ignore[operator]  # one of two functions
    source = open_source(str(tmp_path / "rows.npz"))
    columns = read_all(source)
    np.testing.assert_array_equal(columns["x"], x)
    assert (columns["y"].tolist(), columns["names"].tolist()) == (y.tolist(), names.tolist())
    assert (columns["x"].dtype, source.traits.default_label) == (np.uint8, "y")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.zeros((3, 2)), "y": np.zeros(4)}, r"different numbers of rows \(x: 3, y: 4\)"),
        ({"x": np.array([{"a": 1}, None], dtype=object)}, "holds Python objects"),
        ({"x": np.array([["a", "b"]])}, "save numbers, or one text per row"),
        ({"x": np.zeros(3, complex)}, r"it holds complex128 of shape \(3,\)"),
        ({"x": np.asfortranarray(np.zeros((3, 2)))}, "in Fortran order"),
    ],
)
def test_npz_arrays_that_make_no_rows_are_refused(tmp_path: Path, arrays: dict[str, np.ndarray], message: str) -> None:
    np.savez(tmp_path / "rows.npz", **arrays)  # type: ignore[arg-type]  # numpy's stub takes allow_pickle for a name
    with pytest.raises(InvalidData, match=message):
        open_source(str(tmp_path / "rows.npz"))


def test_a_damaged_npz_is_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.npz"
    np.savez(path, x=np.arange(100_000))
    whole = path.read_bytes()
    path.write_bytes(whole[:50_000])
    with pytest.raises(InvalidData, match=r"rows\.npz is not an NPZ archive"):
        open_source(str(path))
    path.write_bytes(whole[:50_000] + b"\xff" * 8 + whole[50_008:])
    with pytest.raises(InvalidData, match=r"rows\.npz: the archive is damaged"):
        read_all(open_source(str(path)))


def example(**features: Any) -> bytes:
    record = tf.train.Example()
    for name, value in features.items():
        values = value if isinstance(value, list) else [value]
        kind = {int: "int64_list", float: "float_list", bytes: "bytes_list"}[type(values[0])]
        getattr(record.features.feature[name], kind).value.extend(values)
    return bytes(record.SerializeToString())


def write_records(path: Path, records: list[bytes], compression: str = "") -> Path:
    with tf.io.TFRecordWriter(str(path), options=compression or None) as writer:
        for record in records:
            writer.write(record)
    return path


@pytest.mark.parametrize(("name", "compression"), [("a.tfrecord", ""), ("a.tfrecord-00000-of-00001.gz", "GZIP")])
def test_tfrecords_tell_their_own_types(tmp_path: Path, name: str, compression: str) -> None:
    records = [example(n=i, x=[i / 2, 1.0], t=f"é{i}".encode()) for i in range(3_000)]
    records[7] = example(n=7, x=[3.5, 1.0])
    path = write_records(tmp_path / name, records, compression)
    columns = read_all(open_source(str(path)))
    assert columns["n"].tolist() == list(range(3_000))
    assert columns["x"].shape == (3_000, 2)
    assert columns["t"].tolist()[6:9] == ["é6", "", "é8"]


def test_a_damaged_tfrecord_is_named(tmp_path: Path) -> None:
    path = write_records(tmp_path / "a.tfrecord", [example(n=i) for i in range(5_000)])
    content = bytearray(path.read_bytes())
    content[-40] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(InvalidData, match=r"a\.tfrecord, after row \d+: the file is damaged: corrupted record"):
        read_all(open_source(str(path)))


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([b"no example"], r"the records are not tf\.Example"),
        ([example(x=[1.0, 2.0]), example(x=[1.0])], r"feature 'x' has 1 to 2 values per record; write one number"),
        ([example(x=[b"a", b"b"])], r"feature 'x' has 2 texts per record; write each as a feature of its own"),
        ([example(x=1), example(x=1.0)], r"feature 'x' is int64_list in one record and float_list in another"),
        (
            [example(x=1)] * 100 + [example(x=1.0)],
            r"row 101: feature 'x' is not what it is in the first records: Data types don't match",
        ),
        (
            [example(x=1)] * 100 + [example(y=1)],
            r"feature 'x' is not what it is in the first records: .*could not be found",
        ),
        ([example(x=1)] * 100 + [b"no example"], r"the file is damaged: Could not parse example input"),
        ([], r"holds no record with a feature"),
    ],
)
def test_tfrecords_that_do_not_agree_are_refused(tmp_path: Path, records: list[bytes], message: str) -> None:
    path = write_records(tmp_path / "a.tfrecord", records)
    with pytest.raises(InvalidData, match=message):
        read_all(open_source(str(path)))


def test_a_truncated_gzip_is_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv.gz"
    path.write_bytes(gzip.compress(b"a,b\n" + b"".join(b"%d,%d\n" % (i, i * i) for i in range(90_000)))[:-2_000])
    with pytest.raises(InvalidSetting, match=r"cannot unpack '.*rows\.csv\.gz'"):
        read_all(open_source(str(path)))


def test_only_one_npz_is_read_at_a_time(tmp_path: Path) -> None:
    for name in ("a.npz", "b.npz"):
        np.savez(tmp_path / name, x=np.zeros(3))
    with pytest.raises(InvalidSetting, match="only one NPZ archive can be read at a time, got 2"):
        open_source(str(tmp_path))
