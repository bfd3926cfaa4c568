"""What was prepared is read back, whole and in order."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from trainwright_components.datasets.reader import count_rows, read_split, sample_split, split_files
from trainwright_components.datasets.schema import SPLITS, Feature, Label, Schema
from trainwright_components.datasets.writer import DatasetWriter
from trainwright_components.errors import InvalidData


def test_every_row_is_read_back_once(digits_dataset: Path) -> None:
    rows = [
        (int(label), features["image"].astype(int).tobytes())
        for split in SPLITS
        for features, label in read_split(digits_dataset, split).as_numpy_iterator()
    ]
    digits = load_digits()
    expected = [
        (int(label), image.astype(int).tobytes()) for image, label in zip(digits.images, digits.target, strict=True)
    ]
    assert sorted(rows) == sorted(expected)
    assert sum(count_rows(digits_dataset, split) for split in SPLITS) == 1_797


def test_rows_come_in_the_same_order_each_time(digits_dataset: Path) -> None:
    first, second = (
        np.array([label for _, label in read_split(digits_dataset, "test").as_numpy_iterator()]) for _ in range(2)
    )
    assert (first == second).all()


@pytest.fixture(scope="module")
def numbered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The numbers from 0 to 9,999 in one file in this order, with a label and a weight."""
    folder = tmp_path_factory.mktemp("numbered")
    schema = Schema(
        features=(Feature(name="x", kind="numeric", dtype="float32"),),
        label=Label(name="y", kind="number", dtype="float32"),
        weight="w",
    )
    numbers = np.arange(10_000, dtype=np.float32)
    with DatasetWriter(folder, schema, shards={"train": 1, "test": 1}) as writer:
        writer.write("train", {"x": numbers, "y": -numbers, "w": numbers + 1})
        writer.write("test", {"x": numbers[:10], "y": -numbers[:10], "w": numbers[:10] + 1})
    return folder


@pytest.mark.parametrize(("count", "part"), [(1, 10_000), (7, 10_000 / 7), (100, 100), (2_500, 4), (6_000, 10 / 6)])
def test_a_sample_has_one_row_of_each_equal_part_of_a_sorted_split(numbered: Path, count: int, part: float) -> None:
    drawn, again = (next(iter(sample_split(numbered, "train", count).batch(10_000))) for _ in range(2))
    x, labels, weights = drawn[0]["x"].numpy(), drawn[1].numpy(), drawn[2].numpy()
    assert (labels == -x).all()
    assert (weights == x + 1).all()
    assert ((np.floor(np.arange(count) * part + 1e-9) <= x) & (x < np.arange(1, count + 1) * part)).all()
    assert (again[0]["x"].numpy() == x).all()
    if part >= 4:
        assert len(set(x % part)) > 1 or count == 1  # drawn, not each n-th


def test_a_sample_of_a_split_with_no_more_rows_is_all_of_it(numbered: Path) -> None:
    for count in (10, 11, 1_000):
        rows = [float(features["x"]) for features, *_ in sample_split(numbered, "test", count).as_numpy_iterator()]
        assert rows == list(range(10))


def test_tensors_have_the_shapes_and_dtypes_of_the_schema(digits_dataset: Path) -> None:
    schema = Schema.load(digits_dataset)
    features, label = read_split(digits_dataset, "train").element_spec
    assert features["image"].shape == schema.feature("image").shape == (8, 8)
    assert (features["image"].dtype.name, label.dtype.name) == ("float32", "int64")


@pytest.mark.parametrize(
    ("there", "missing"),
    [
        (["part-00000-of-00002", "part-00001-of-00002"], ""),
        (["part-1-of-2", "part-2-of-2"], ""),
        (["a", "b"], ""),
        (["part-00000-of-00003", "part-00002-of-00003"], "part-00001-of-00003"),
        (["part-2-of-2"], "part-1-of-2"),
        (["part-0-of-1", "other-1-of-2", "other-0-of-2", "part-0-of-2"], "part-1-of-2"),
    ],
)
def test_a_shard_that_the_names_of_others_tell_of_has_to_be_there(
    tmp_path: Path, there: list[str], missing: str
) -> None:
    (tmp_path / "train").mkdir()
    for name in there:
        (tmp_path / "train" / f"{name}.tfrecord").touch()
    if not missing:
        assert len(split_files(tmp_path, "train")) == len(there)
        return
    with pytest.raises(InvalidData, match=rf"train/{missing}\.tfrecord is missing; prepare the data again"):
        split_files(tmp_path, "train")
