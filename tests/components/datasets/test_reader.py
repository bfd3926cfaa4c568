"""What was prepared is read back, whole and in order."""

from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

from trainwright_components.datasets.reader import count_rows, read_split
from trainwright_components.datasets.schema import SPLITS, Schema


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
