"""The same rows make the same dataset, whatever file they come in."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from trainwright_components.datasets.reader import read_split, split_files
from trainwright_components.datasets.schema import SPLITS, Feature, Label, Schema
from trainwright_components.prepare_data.prepare import PreparedData, prepare_data
from trainwright_components.prepare_data.settings import PrepareSettings

Prepare = Callable[..., PreparedData]
EXCLUDED = ("patient", "visited")


def rows_of(dataset: Path) -> list[tuple[Any, ...]]:
    """All rows, sorted; NaN and None as text so that they compare equal."""
    schema = Schema.load(dataset)
    rows = []
    for split in SPLITS:
        for features, label in read_split(dataset, split).as_numpy_iterator():
            rows.append((*(str(features[name]) for name in schema.feature_names), int(label)))
    return sorted(rows)


def expected_rows(patients: pd.DataFrame) -> list[tuple[Any, ...]]:
    classes = ("better", "same", "worse")
    return sorted(
        (
            *(str(np.float32(row[name])) for name in ("age", "pressure", "dose")),
            str(b"" if pd.isna(row["ward"]) else row["ward"].encode()),
            classes.index(row["outcome"]),
        )
        for _, row in patients.iterrows()
    )


def write_table(table: pd.DataFrame, path: Path) -> None:
    if "parquet" in path.name:
        table.to_parquet(path)
    elif "jsonl" in path.name:
        table.to_json(path, orient="records", lines=True)
    else:
        table.to_csv(path, index=False, sep="\t" if "tsv" in path.name else ",")


@pytest.mark.parametrize("name", ["rows.csv", "rows.tsv.gz", "rows.jsonl", "rows.parquet"])
def test_a_table_keeps_every_value(patients: pd.DataFrame, tmp_path: Path, prepare: Prepare, name: str) -> None:
    write_table(patients, tmp_path / name)
    prepared = prepare(tmp_path / name, label="outcome", exclude=EXCLUDED)
    assert prepared.schema == Schema(
        features=(
            Feature(name="age", kind="numeric", dtype="float32"),
            Feature(name="pressure", kind="numeric", dtype="float32"),
            Feature(name="dose", kind="numeric", dtype="float32"),
            Feature(name="ward", kind="categorical", dtype="string", vocabulary=("north", "south", "west")),
        ),
        label=Label(name="outcome", kind="class", dtype="int64", class_names=("better", "same", "worse")),
    )
    assert rows_of(prepared.dataset) == expected_rows(patients)


def test_several_files_are_one_table(patients: pd.DataFrame, tmp_path: Path, prepare: Prepare) -> None:
    for number in range(3):
        patients[number::3].to_csv(tmp_path / f"part-{number}.csv", index=False)
    prepared = prepare(tmp_path / "part-*.csv", label="outcome", exclude=EXCLUDED)
    assert rows_of(prepared.dataset) == expected_rows(patients)


def test_tfrecords_keep_every_value(patients: pd.DataFrame, tmp_path: Path, prepare: Prepare) -> None:
    with tf.io.TFRecordWriter(str(tmp_path / "rows.tfrecord")) as writer:
        for _, row in patients.iterrows():
            example = tf.train.Example()
            feature = example.features.feature
            for name in ("age", "pressure", "dose"):
                if not pd.isna(row[name]):
                    feature[name].float_list.value.append(row[name])
            feature["outcome"].bytes_list.value.append(row["outcome"].encode())
            if not pd.isna(row["ward"]):
                feature["ward"].bytes_list.value.append(row["ward"].encode())
            writer.write(example.SerializeToString())
    prepared = prepare(tmp_path / "rows.tfrecord", label="outcome")
    kinds = {feature.name: feature.kind for feature in prepared.schema.features}
    assert kinds == {"age": "numeric", "dose": "numeric", "pressure": "numeric", "ward": "categorical"}
    assert sorted(row[-1] for row in rows_of(prepared.dataset)) == sorted(row[-1] for row in expected_rows(patients))
    numbers = [columns.std for columns in (prepared.statistics.split("train").column("dose"),)]
    assert numbers[0] is not None
    assert sum(split.column("age").missing for split in prepared.statistics.splits.values()) == 55


def test_npz_arrays_keep_their_shape_and_whole_numbers(tmp_path: Path, prepare: Prepare) -> None:
    random = np.random.default_rng(0)
    pixels = random.integers(0, 255, (200, 3, 5), dtype=np.uint8)
    signal = random.normal(size=(200, 7)).astype(np.float32)
    np.savez(tmp_path / "rows.npz", pixels=pixels, signal=signal, y=random.integers(3, 6, 200))
    prepared = prepare(tmp_path / "rows.npz", kinds={"pixels": "image"})
    assert prepared.schema.features == (
        Feature(name="pixels", kind="image", dtype="uint8", shape=(3, 5)),
        Feature(name="signal", kind="numeric", dtype="float32", shape=(7,)),
    )
    assert prepared.schema.class_names == ("3", "4", "5")
    found = sorted(
        features["pixels"].tobytes()
        for split in SPLITS
        for features, _ in read_split(prepared.dataset, split).as_numpy_iterator()
    )
    assert found == sorted(row.tobytes() for row in pixels)


def test_unsigned_identifiers_keep_all_digits_where_int64_holds_them(
    tmp_path: Path, prepare: Prepare, caplog: pytest.LogCaptureFixture
) -> None:
    x = np.arange(40, dtype=np.uint64) + 2**40
    np.savez(tmp_path / "rows.npz", x=x, most=x + np.uint64(2**62), beyond=x + np.uint64(2**63), y=np.arange(40) % 2)
    prepared = prepare(tmp_path / "rows.npz", kinds=dict.fromkeys(("x", "most", "beyond"), "numeric"))
    dtypes = {feature.name: feature.dtype for feature in prepared.schema.features}
    assert dtypes == {"x": "int64", "most": "int64", "beyond": "float32"}
    rows = [row for split in SPLITS for row, _ in read_split(prepared.dataset, split).as_numpy_iterator()]
    assert sorted(int(row["x"]) for row in rows) == [2**40 + index for index in range(40)]
    assert sorted(int(row["most"]) for row in rows) == [2**62 + 2**40 + index for index in range(40)]
    [warning] = caplog.messages
    assert warning.startswith("column 'beyond' of rows.npz holds integers up to 9.223e+18, beyond int64; it becomes")


def test_an_npz_with_train_and_test_arrays_is_split_as_it_says(tmp_path: Path, prepare: Prepare) -> None:
    arrays = {"x_train": np.zeros((80, 2)), "y_train": np.arange(80) % 2, "x_test": np.ones((20, 2))}
    np.savez(tmp_path / "rows.npz", **arrays, y_test=np.arange(20) % 2)  # type: ignore[arg-type]  # numpy's stub
    prepared = prepare(tmp_path / "rows.npz", validation_fraction=0)
    splits = prepared.statistics.splits
    assert {name: split.rows for name, split in splits.items()} == {"train": 80, "test": 20}
    assert (splits["train"].column("x").mean, splits["test"].column("x").mean) == (0, 1)


def test_whole_numbers_are_classes_up_to_twenty_and_quantities_beyond(tmp_path: Path, prepare: Prepare) -> None:
    few, many = [pd.DataFrame({"x": range(420), "y": [i % count for i in range(420)]}) for count in (20, 21)]
    assert prepare(few, label="y").schema.class_names == tuple(map(str, range(20)))
    label = prepare(many, label="y").schema.label
    assert label == Label(name="y", kind="number", dtype="float32")
    assert len(prepare(many, label="y", task="classification").schema.class_names) == 21
    label = prepare(few, label="y", task="regression").schema.label
    assert label is not None
    assert label.kind == "number"


def test_regression_labels_keep_their_values(prepare: Prepare) -> None:
    table = pd.DataFrame({"x": np.arange(100.0), "y": np.arange(100) / 7})
    dataset = prepare(table, label="y").dataset
    rows = [row for split in SPLITS for row in read_split(dataset, split).as_numpy_iterator()]
    for features, label in rows:
        assert label == pytest.approx(features["x"] / 7)
    assert len(rows) == 100


def test_weights_come_as_the_third_element(prepare: Prepare) -> None:
    table = pd.DataFrame({"x": np.arange(50.0), "y": ["a", "b"] * 25, "w": np.arange(50) / 10})
    prepared = prepare(table, label="y", weight_column="w")
    assert (prepared.schema.weight, prepared.schema.feature_names) == ("w", ("x",))
    for features, _, weight in read_split(prepared.dataset, "train").as_numpy_iterator():
        assert weight == pytest.approx(features["x"] / 10)


def test_data_without_a_label_has_features_alone(prepare: Prepare) -> None:
    prepared = prepare(pd.DataFrame({"x": np.arange(40.0)}), task="none")
    assert prepared.schema.label is None
    assert len(next(iter(read_split(prepared.dataset, "test").as_numpy_iterator()))) == 1


def test_kinds_codes_and_free_text_are_told_apart(prepare: Prepare) -> None:
    rows = 300
    table = pd.DataFrame(
        {
            "zip": [f"{i % 40:05d}" for i in range(rows)],
            "floor": [i % 5 for i in range(rows)],
            "comment": [f"visit number {i}" for i in range(rows)],
            "flag": [i % 2 == 0 for i in range(rows)],
            "nothing": [None] * rows,
            "y": ["a", "b"] * (rows // 2),
        }
    )
    prepared = prepare(table, label="y", kinds={"floor": "categorical"})
    kinds = {feature.name: feature.kind for feature in prepared.schema.features}
    assert kinds == {"zip": "categorical", "floor": "categorical", "comment": "text", "flag": "categorical"}
    assert prepared.schema.feature("floor").vocabulary == ("0", "1", "2", "3", "4")
    assert prepared.schema.feature("zip").vocabulary[1] == "00001"


def test_classes_may_be_booleans_of_json(tmp_path: Path, prepare: Prepare) -> None:
    lines = [json.dumps({"x": i, "y": i % 3 == 0}) for i in range(60)]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines))
    prepared = prepare(tmp_path / "rows.jsonl", label="y")
    assert prepared.schema.class_names == ("false", "true")
    for features, label in read_split(prepared.dataset, "train").as_numpy_iterator():
        assert label == (features["x"] % 3 == 0)


def test_preparing_twice_gives_the_same_bytes(patients: pd.DataFrame, tmp_path: Path) -> None:
    patients.to_csv(tmp_path / "rows.csv", index=False)
    settings = PrepareSettings(label="outcome")
    first, second = (prepare_data(tmp_path / "rows.csv", tmp_path / name, settings) for name in ("one", "two"))
    files = [path.relative_to(first.dataset) for path in sorted(first.dataset.rglob("*")) if path.is_file()]
    assert len(files) > 3
    for file in files:
        assert (first.dataset / file).read_bytes() == (second.dataset / file).read_bytes()


def test_a_source_sorted_by_class_is_mixed_over_the_shards(prepare: Prepare) -> None:
    table = pd.DataFrame({"x": range(2_000), "y": ["a"] * 1_000 + ["b"] * 1_000})
    dataset = prepare(table, label="y").dataset
    files = split_files(dataset, "train")
    assert [path.name for path in files] == [f"part-{i:05d}-of-00004.tfrecord" for i in range(4)]
    for file in files:
        records = [tf.train.Example.FromString(r) for r in tf.data.TFRecordDataset(str(file)).as_numpy_iterator()]
        share = np.mean([record.features.feature["y"].int64_list.value[0] for record in records])
        assert 0.35 < share < 0.65


def test_an_output_folder_made_before_is_replaced(patients: pd.DataFrame, tmp_path: Path, prepare: Prepare) -> None:
    (tmp_path / "dataset").mkdir()
    (tmp_path / "dataset" / "stale").touch()
    prepared = prepare(patients, label="outcome")
    assert sorted(path.name for path in prepared.dataset.iterdir()) == [
        "schema.json",
        "statistics.json",
        "test",
        "train",
        "validation",
        "verdicts.json",
    ]


@pytest.mark.parametrize("gap", ["", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "null", "?"])
def test_a_csv_column_of_numbers_stays_one_with_usual_signs_for_gaps(gap: str, tmp_path: Path) -> None:
    rows = "".join(f"{gap if row % 6 == 0 else row},{'ab'[row % 2]}\n" for row in range(60))
    (tmp_path / "gaps.csv").write_text(f"size,label\n{rows}")
    prepared = prepare_data(tmp_path / "gaps.csv", tmp_path / "dataset", PrepareSettings(label="label"))
    (size,) = prepared.schema.features
    assert (size.kind, size.dtype) == ("numeric", "float32")
    assert sum(split.column("size").missing for split in prepared.statistics.splits.values()) == 10
