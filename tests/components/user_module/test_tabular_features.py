"""Columns of any table become inputs of a model: scaled, without NaN, categories looked up, words weighed."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from sklearn.feature_extraction.text import TfidfVectorizer

from trainwright_components.datasets.accumulate import SplitAccumulator
from trainwright_components.datasets.schema import Feature, Schema
from trainwright_components.datasets.statistics import Statistics
from trainwright_components.errors import InvalidData
from trainwright_components.user_module.module import Context
from trainwright_components.user_module.tabular_features import table_inputs, table_sizes


def number(name: str, **more: Any) -> Feature:
    return Feature(name=name, kind="numeric", **{"dtype": "float32", **more})


def category(name: str, *vocabulary: str) -> Feature:
    return Feature(name=name, kind="categorical", dtype="string", vocabulary=vocabulary)


TEXT = Feature(name="t", kind="text", dtype="string")


def context(train: dict[str, Any], *features: Feature) -> Context:
    """Of a training split with these columns."""
    schema, split = Schema(features=features), SplitAccumulator(Schema(features=features))
    columns = {each.name: np.array(train[each.name], object if each.dtype == "string" else None) for each in features}
    split.add(columns)
    return Context(params={}, schema=schema, statistics=Statistics(splits={"train": split.result()}), dataset=Path())


def row(of: Context, **columns: Any) -> Any:
    features = {name: tf.constant(values, of.schema.feature(name).dtype) for name, values in columns.items()}
    made = table_inputs(features, of)["row"]
    assert made.shape[1] == table_sizes(of).row
    return made.numpy()


def test_numbers_are_scaled_and_those_missing_in_training_are_marked() -> None:
    of = context({"a": [6.0, 14.0], "b": [8.0, np.nan]}, number("a"), number("b"))
    made = row(of, a=[14.0, np.nan, 2.0], b=[8.0, 9.0, np.nan])
    np.testing.assert_array_equal(made, [[1, 0, 0], [0, 1, 0], [-2, 0, 1]])


def test_arrays_and_whole_numbers_are_numbers_too() -> None:
    of = context(
        {"b": [[6.0, 14.0], [6.0, 14.0]], "a": [6, 14], "c": [True, False]},
        number("b", shape=(2,)),
        number("a", dtype="int64"),
        number("c", dtype="bool"),
    )
    made = row(of, b=[[10.0, 6.0], [10.0, 10.0]], a=np.array([10, 14]), c=[True, False])
    np.testing.assert_array_equal(made, [[1, 0, 0, -1], [-1, 1, 0, 0]])


def test_a_long_tail_comes_as_its_logarithm_too() -> None:
    prices = np.exp(np.random.default_rng(0).normal(size=2_000) * 1.5)
    of = context({"price": prices, "size": np.log(prices)}, number("price"), number("size"))
    (quarter, middle, rest), far = np.quantile(prices, [0.25, 0.5, 0.75]), prices.max()
    made = row(of, price=[middle, far, np.nan], size=[0.0, 0.0, 0.0])
    np.testing.assert_allclose(made[:, 2], [0, np.log1p((far - middle) / (rest - quarter)), 0], rtol=1e-4, atol=1e-6)
    assert made.shape == (3, 3)


def test_a_category_is_one_that_training_saw_or_nothing() -> None:
    of = context({"c": ["x", "y", ""], "d": ["y", "y", "y"]}, category("c", "", "w", "x", "y"), category("d", "y"))
    made = row(of, c=["y", "", "new", "x", "w"], d=["y", "x", "y", "", "y"])
    np.testing.assert_array_equal(made, [[0, 0, 1, 1], [1, 0, 0, 0], [0, 0, 0, 1], [0, 1, 0, 0], [0, 0, 0, 1]])


def test_many_categories_are_ids_with_one_for_the_rare_and_unknown() -> None:
    names = [f"city {number}" for number in range(40)]
    train = [*names, *names[:3], names[0]]  # one seen three times, two twice
    of = context({"a": train, "b": train}, category("a", *names), category("b", *names))
    ids = table_inputs({name: tf.constant(["city 0", "city 39", "", "city 2"]) for name in "ab"}, of)["ids"]
    np.testing.assert_array_equal(ids, [[1, 5], [0, 4], [0, 4], [3, 7]])
    sizes = table_sizes(of)
    assert (sizes.row, sizes.ids, sizes.categories) == (0, 2, 8)


def test_a_date_becomes_its_parts_as_pandas_has_them() -> None:
    train = ["2020-02-28", "2020-03-02 12:00", ""]
    asked = ["2000-02-29T18:00:00Z", "1999-12-31", "2024-03-01 06:30", "", "31.12.1999"]
    of = context({"t": train}, TEXT)
    made = row(of, t=asked)
    moments = pd.to_datetime(pd.Series(asked[:3]), format="ISO8601", utc=True)
    days = (moments.dt.floor("D") - pd.Timestamp("2020-02-29 12:00", tz="UTC")) / pd.Timedelta(days=1.5)
    np.testing.assert_allclose(made[:3, 0], days, rtol=1e-6)
    np.testing.assert_array_equal(made[:3, 5:12].argmax(axis=1), moments.dt.day_of_week)
    hours = 2 * np.pi * (moments.dt.hour + moments.dt.minute / 60) / 24
    np.testing.assert_allclose(made[:3, 3:5], np.stack([np.sin(hours), np.cos(hours)], axis=1), atol=1e-6)
    year = 2 * np.pi * (31 * (moments.dt.month - 1) + moments.dt.day - 1) / 372
    np.testing.assert_allclose(made[:3, 1:3], np.stack([np.sin(year), np.cos(year)], axis=1), atol=1e-6)
    np.testing.assert_array_equal(made[3:], [[*[0] * 12, 1]] * 2)
    np.testing.assert_array_equal(made[:3, 12], 0)


def test_dates_of_other_orders_are_those_of_iso() -> None:
    iso = ["2020-02-28", "2020-03-02", "", "2020-12-31 09:05:00"]
    written = {
        "by_day": ["28/2/2020", "02.03.2020", "", "31-12-2020 9:05:00"],
        "by_month": ["2/28/2020", "3/2/2020", "", "12/31/2020 9:05:00"],
        "by_year": ["2020/2/28", "2020.3.2", "", "2020/12/31T9:05:00"],
        "iso": iso,
    }
    of = context(written, *(replace(TEXT, name=name) for name in written))
    made = row(of, **written).reshape(len(iso), len(written), -1)
    for place in range(len(written)):
        np.testing.assert_allclose(made[:, place], made[:, -1], atol=1e-6)
    alone = row(context({"iso": iso}, replace(TEXT, name="iso")), iso=iso)
    np.testing.assert_allclose(made[:, 0], alone, atol=1e-6)
    asked = row(of, **{name: ["2020-12-31", "31/12/2020", "12/31/2020", "soon"] for name in written})
    is_missing = asked.reshape(4, len(written), -1)[..., -1]  # by day, by month, by year, iso
    order = sorted(written, key=lambda name: of.statistics.split("train").column(name).date_order)
    found = {name: is_missing[:, order.index(name)].tolist() for name in written}
    assert found["by_day"] == [0, 0, 1, 1]
    assert found["by_month"] == [0, 1, 0, 1]
    assert found["by_year"] == found["iso"] == [0, 1, 1, 1]


def test_words_weigh_what_scikit_learn_gives_them() -> None:
    train = ["Die Straße, die STRASSE!", "Ein Café_1 in Zürich 2", "die in in Zürich", "ein café", "Straße ein ein"]
    asked = ["DIE Zürich zürich unbekannt", "", "straße-ein, in?"]
    vectorizer = TfidfVectorizer().fit(train)
    of = context({"t": train}, TEXT)
    made = table_inputs({"t": tf.constant(asked)}, of)["words"].numpy()
    words = list(of.statistics.split("train").column("t").words)
    assert sorted(words) == sorted(vectorizer.vocabulary_)
    expected = vectorizer.transform(asked).toarray()
    np.testing.assert_allclose(made, expected[:, [vectorizer.vocabulary_[word] for word in words]], atol=1e-6)


def test_each_character_of_chinese_and_japanese_is_a_word() -> None:
    train = ["很好,喜欢。𠀀 A4", "不好,很差 abc!", "とても良い・カー 很"]
    asked = ["好好的abc喜", "カーテン、、良い a4", "差"]
    letters = re.compile(r"[a-z0-9]{2,}|[^\x00-\x7f、。・]")
    vectorizer = TfidfVectorizer(analyzer=lambda text: letters.findall(text.lower())).fit(train)
    of = context({"t": train}, TEXT)
    made = table_inputs({"t": tf.constant(asked)}, of)["words"].numpy()
    words = list(of.statistics.split("train").column("t").words)
    assert sorted(words) == sorted(vectorizer.vocabulary_)
    expected = vectorizer.transform(asked).toarray()
    np.testing.assert_allclose(made, expected[:, [vectorizer.vocabulary_[word] for word in words]], atol=1e-6)


def test_the_graph_does_not_grow_with_the_columns() -> None:
    def operations(count: int) -> int:
        names = [f"n{index}" for index in range(count)]
        features = [number(name) for name in names] + [category(f"c{name}", "x", "y") for name in names]
        train = {each.name: ["x", "y"] if each.vocabulary else [0.0, np.nan] for each in features}
        of = context(train, *features)
        specs = {each.name: tf.TensorSpec([None], each.dtype) for each in features}
        graph = tf.function(lambda given: table_inputs(given, of)).get_concrete_function(specs).graph
        return sum(each.type != "Placeholder" for each in graph.get_operations())

    assert operations(50) == operations(2)


def test_an_encoded_image_is_refused() -> None:
    image = Feature(name="i", kind="image", dtype="string")
    with pytest.raises(InvalidData, match="feature 'i' is an encoded image; use an image module"):
        table_sizes(context({"i": [b"1"]}, image))


def test_texts_without_a_word_in_common_are_refused() -> None:
    with pytest.raises(InvalidData, match="'t': add columns"):
        table_sizes(context({"t": ["one", "two"]}, TEXT))
