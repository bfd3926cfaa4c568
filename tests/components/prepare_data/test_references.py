"""Large TFRecord sets stay where they are, with the same schema, statistics and rows as a copy."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import tensorflow as tf

from trainwright_components.datasets.reader import count_rows, read_split, split_files
from trainwright_components.datasets.schema import Label
from trainwright_components.prepare_data.prepare import PreparedData

Prepare = Callable[..., PreparedData]


def write_shards(
    folder: Path, shards: int, *, rows: int = 50, label: Sequence[object] = (0, 1, 2), start: int = 0
) -> None:
    folder.mkdir(exist_ok=True)
    for shard in range(shards):
        with tf.io.TFRecordWriter(str(folder / f"{start:03d}-{shard:02d}.tfrecord")) as writer:
            for number in range(rows):
                example = tf.train.Example()
                feature = example.features.feature
                feature["x"].float_list.value.extend([start + shard, number])
                if number % 10:
                    feature["size"].float_list.value.append(number)
                feature["y2"].int64_list.value.append(number)
                value = label[number % len(label)]
                if isinstance(value, int):
                    feature["y"].int64_list.value.append(value)
                else:
                    feature["y"].bytes_list.value.append(str(value).encode())
                writer.write(example.SerializeToString())


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    write_shards(tmp_path / "shards", 10)
    return tmp_path / "shards"


def rows_in(prepared: PreparedData, split: str) -> list[tuple[float, float, int]]:
    return [
        (float(features["x"][0]), float(features["x"][1]), int(label))
        for features, label in read_split(prepared.dataset, split).as_numpy_iterator()
    ]


def test_whole_files_are_referred_to(shards: Path, prepare: Prepare) -> None:
    prepared = prepare(shards, label="y", reference_above_mb=0)
    assert prepared.is_referenced
    names = ["files.json", "schema.json", "statistics.json", "verdicts.json"]
    assert sorted(path.name for path in prepared.dataset.iterdir()) == names
    files = {split: split_files(prepared.dataset, split) for split in prepared.statistics.splits}
    assert {split: len(names) for split, names in files.items()} == {"train": 6, "validation": 2, "test": 2}
    assert sorted(path for names in files.values() for path in names) == sorted(shards.iterdir())
    assert count_rows(prepared.dataset, "train") == len(rows_in(prepared, "train")) == 300
    assert prepared.statistics.split("train").column("size").missing == 30
    assert prepared.statistics.split("train").column("y").values == {"0": 102, "1": 102, "2": 96}


def test_a_reference_and_a_copy_hold_the_same_rows(shards: Path, prepare: Prepare) -> None:
    referenced = prepare(shards, label="y", reference_above_mb=0)
    rows = sorted(row for split in referenced.statistics.splits for row in rows_in(referenced, split))
    copied = prepare(shards, label="y")
    assert not copied.is_referenced
    assert rows == sorted(row for split in copied.statistics.splits for row in rows_in(copied, split))
    assert referenced.schema == copied.schema


def test_given_files_are_referred_to_and_completed(tmp_path: Path, shards: Path, prepare: Prepare) -> None:
    write_shards(tmp_path / "test", 1, start=100)
    prepared = prepare(shards, label="y", test_source=str(tmp_path / "test"), reference_above_mb=0)
    assert split_files(prepared.dataset, "test") == [tmp_path / "test" / "100-00.tfrecord"]
    assert {split: numbers.rows for split, numbers in prepared.statistics.splits.items()} == {
        "train": 400,
        "test": 50,
        "validation": 100,
    }


def test_class_numbers_keep_their_meaning(tmp_path: Path, prepare: Prepare) -> None:
    write_shards(tmp_path / "gaps", 6, label=(1, 4))
    prepared = prepare(tmp_path / "gaps", label="y", reference_above_mb=0)
    assert prepared.schema.label == Label(name="y", kind="class", dtype="int64", class_names=("0", "1", "2", "3", "4"))
    assert {label for _, _, label in rows_in(prepared, "train")} == {1, 4}


@pytest.mark.parametrize("reason", ["texts", "few files", "key"])
def test_what_cannot_stay_is_copied(tmp_path: Path, prepare: Prepare, reason: str) -> None:
    files = 2 if reason == "few files" else 6
    write_shards(tmp_path / "rows", files, label=("a", "b") if reason == "texts" else (0, 1))
    key = {"key_column": "y2"} if reason == "key" else {}
    prepared = prepare(tmp_path / "rows", label="y", reference_above_mb=0, **key)
    assert not prepared.is_referenced
    assert split_files(prepared.dataset, "train")[0].parent == prepared.dataset / "train"


def test_remote_files_are_referred_to_by_their_address(tmp_path: Path, shards: Path, prepare: Prepare) -> None:
    tf.io.gfile.makedirs("ram://records")
    for path in shards.iterdir():
        tf.io.gfile.copy(str(path), f"ram://records/{path.name}")
    prepared = prepare("ram://records/*.tfrecord", label="y", reference_above_mb=0)
    files = json.loads((prepared.dataset / "files.json").read_text())
    assert all(name.startswith("ram://records/") for names in files.values() for name in names)
    assert len(rows_in(prepared, "test")) == 100
