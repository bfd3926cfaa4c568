"""Any table becomes rows of numbers: scaled, without NaN, categories and words as indicators."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from trainwright_components.datasets.schema import Feature, Schema
from trainwright_components.datasets.statistics import ColumnStatistics, SplitStatistics, Statistics
from trainwright_components.errors import InvalidData
from trainwright_components.user_module.module import Context
from trainwright_components.user_module.tabular_features import TEXT_BUCKETS, features_as_row, row_width


def context(*features: Feature) -> Context:
    columns = {feature.name: ColumnStatistics(count=3, mean=10.0, std=4.0) for feature in features}
    statistics = Statistics(splits={"train": SplitStatistics(rows=3, columns=columns)})
    return Context(params={}, schema=Schema(features=features), statistics=statistics, dataset=Path())


def test_numbers_are_scaled_and_missing_ones_marked() -> None:
    of = context(Feature(name="a", kind="numeric", dtype="float32"))
    row = features_as_row({"a": tf.constant([14.0, np.nan, 2.0])}, of)
    np.testing.assert_array_equal(row, [[1, 0], [0, 1], [-2, 0]])


def test_arrays_and_whole_numbers_are_numbers_too() -> None:
    of = context(
        Feature(name="a", kind="numeric", dtype="int64"), Feature(name="b", kind="numeric", dtype="float32", shape=(2,))
    )
    row = features_as_row({"a": tf.constant([10, 14], tf.int64), "b": tf.constant([[10.0, 6.0], [10.0, 10.0]])}, of)
    np.testing.assert_array_equal(row, [[0, 0, 0, -1, 0, 0], [1, 0, 0, 0, 0, 0]])
    assert row_width(of) == 6


def test_a_category_is_one_of_its_vocabulary_or_nothing() -> None:
    of = context(Feature(name="c", kind="categorical", dtype="string", vocabulary=("x", "y")))
    row = features_as_row({"c": tf.constant(["y", "", "new", "x"])}, of)
    np.testing.assert_array_equal(row, [[0, 1], [0, 0], [0, 0], [1, 0]])


def test_a_text_is_the_counts_of_its_words() -> None:
    of = context(Feature(name="t", kind="text", dtype="string"))
    row = features_as_row({"t": tf.constant(["Good good film", "", "film"])}, of).numpy()
    assert row.shape == (3, TEXT_BUCKETS)
    assert sorted(row[0][row[0] > 0]) == [1, 2]
    assert row[1].sum() == 0
    assert row[0][row[2].argmax()] == 1


def test_an_encoded_image_is_refused() -> None:
    with pytest.raises(InvalidData, match="feature 'i' is an encoded image; use an image module"):
        row_width(context(Feature(name="i", kind="image", dtype="string")))
