"""What was prepared is read back, whole and in order."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from trainwright_components.datasets.reader import count_rows, read_split, split_files
from trainwright_components.datasets.schema import SPLITS, Schema
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
