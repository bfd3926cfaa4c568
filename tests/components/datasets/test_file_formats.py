"""Each file format keeps the contract: it is found by name, reads the same rows again and again, and tells damage."""

import ast
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

import trainwright_components
import trainwright_pipelines
from trainwright_components.datasets.chunks import Source
from trainwright_components.datasets.sources.opening import FORMATS, open_source
from trainwright_components.errors import InvalidData, InvalidSetting

TABLE: dict[str, list[Any]] = {"x": [0.5, 1.5, -2.0], "n": [1, 2, 3], "c": ["a", "b", "é"]}


def _write_tfrecord(file: Path) -> None:
    with tf.io.TFRecordWriter(str(file)) as writer:
        for x, n, c in zip(*TABLE.values(), strict=True):
            features = {
                "x": tf.train.Feature(float_list=tf.train.FloatList(value=[x])),
                "n": tf.train.Feature(int64_list=tf.train.Int64List(value=[n])),
                "c": tf.train.Feature(bytes_list=tf.train.BytesList(value=[str(c).encode()])),
            }
            writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())


def _write_npz(file: Path) -> None:
    arrays: dict[str, Any] = {name: np.array(each) for name, each in TABLE.items()}
    np.savez(file, **arrays)


WRITERS: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "csv": ("table.csv", lambda file: pd.DataFrame(TABLE).to_csv(file, index=False)),
    "jsonl": ("table.jsonl", lambda file: pd.DataFrame(TABLE).to_json(file, orient="records", lines=True)),
    "parquet": ("table.parquet", lambda file: pd.DataFrame(TABLE).to_parquet(file)),
    "tfrecord": ("table.tfrecord", _write_tfrecord),
    "npz": ("table.npz", _write_npz),
}
"""A file name by which each format is found, and an independent writer of it."""


def read(source: Source) -> dict[str, list[str]]:
    columns: dict[str, list[str]] = {}
    for chunk in source.chunks():
        for name, column in chunk.columns.items():
            columns.setdefault(name, []).extend(map(_plain, column))
    return columns


def _plain(value: Any) -> str:
    text = value.decode() if isinstance(value, bytes) else str(value)
    try:
        return f"{float(text):g}"
    except ValueError:
        return text


def test_there_is_a_writer_of_each_file_format() -> None:
    assert (*WRITERS, "images") == FORMATS


@pytest.mark.parametrize("name", WRITERS)
class TestFileFormat:
    """The contract of `FileFormat`."""

    @pytest.fixture
    def file(self, name: str, tmp_path: Path) -> Path:
        file_name, write = WRITERS[name]
        write(tmp_path / file_name)
        return tmp_path / file_name

    def test_its_rows_are_read_the_same_again_and_again(self, name: str, file: Path) -> None:
        wanted = {column: [_plain(each) for each in values] for column, values in TABLE.items()}
        source = open_source(str(file))
        assert read(source) == wanted
        assert read(source) == wanted
        assert read(open_source(str(file.parent))) == wanted
        assert source.traits.size_bytes == file.stat().st_size
        assert set(source.traits.columns) <= set(TABLE)

    def test_a_file_of_another_name_is_read_when_the_format_is_said(self, name: str, file: Path) -> None:
        other = file.rename(file.with_name("rows.bin"))
        assert read(open_source(str(other), format_name=name)).keys() == TABLE.keys()
        with pytest.raises(InvalidSetting, match="is not known from its name"):
            open_source(str(other))

    def test_a_damaged_file_is_told_by_its_name(self, name: str, file: Path) -> None:
        file.write_bytes(b'\xff\xfe{"x": \x00' + file.read_bytes()[:20])
        with pytest.raises(InvalidData, match=file.name):
            read(open_source(str(file)))

    def test_a_file_that_is_gone_is_told_by_its_name(self, name: str, file: Path) -> None:
        file.unlink()
        with pytest.raises(InvalidSetting, match=file.name):
            open_source(str(file))


def test_every_text_that_lists_the_formats_lists_all() -> None:
    *others, last = FORMATS
    listed = f"{', '.join(others)} or {last}"
    texts = []
    for package in (trainwright_components, trainwright_pipelines):
        for file in Path(package.__path__[0]).rglob("*.py"):
            documented = [
                node
                for node in ast.walk(ast.parse(file.read_text()))
                if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
            ]
            texts += [ast.get_docstring(node) or "" for node in documented]
        texts += [file.read_text() for file in Path(package.__path__[0]).rglob("*.md")]
    found = [text.replace("`", "") for text in texts if "jsonl, parquet" in text.replace("`", "")]
    assert len(found) >= 4
    assert all(listed in text for text in found), json.dumps([text for text in found if listed not in text])
