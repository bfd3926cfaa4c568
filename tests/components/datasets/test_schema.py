"""A schema survives its file and refuses what contradicts itself."""

from pathlib import Path

import pytest

from trainwright_components.datasets.schema import Feature, Label, Schema
from trainwright_components.errors import InvalidData, InvalidSetting

SCHEMA = Schema(
    features=(
        Feature(name="age", kind="numeric", dtype="float32"),
        Feature(name="scan", kind="image", dtype="int64", shape=(4, 4)),
        Feature(name="city", kind="categorical", dtype="string", vocabulary=("Oslo", "Zürich")),
    ),
    label=Label(name="y", kind="class", dtype="int64", class_names=("no", "yes")),
    weight="w",
)


def test_a_schema_is_the_same_after_reading_it_again(tmp_path: Path) -> None:
    SCHEMA.save(tmp_path)
    assert Schema.load(tmp_path) == SCHEMA


def test_columns_come_in_the_order_features_label_weight() -> None:
    assert SCHEMA.column_names == ("age", "scan", "city", "y", "w")


def test_an_unknown_feature_is_corrected() -> None:
    with pytest.raises(InvalidSetting, match="no feature is called 'aeg'; did you mean 'age'"):
        SCHEMA.feature("aeg")


def test_a_folder_without_a_schema_is_no_dataset(tmp_path: Path) -> None:
    with pytest.raises(
        InvalidData, match=r"is not a prepared dataset: it has no schema\.json; make one with prepare_data"
    ):
        Schema.load(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", '{"features": [{"name": "a"}]}', '{"features": [{"surprise": 1}]}'])
def test_text_that_is_no_schema_is_refused(text: str) -> None:
    with pytest.raises(InvalidData, match="not a schema"):
        Schema.from_json(text)


def test_a_name_is_given_once() -> None:
    with pytest.raises(InvalidData, match="names a column twice: age"):
        Schema(features=SCHEMA.features, weight="age")


def test_a_kind_is_one_of_four() -> None:
    with pytest.raises(InvalidData, match=r"feature 'a': kind must be one of .*, got 'number'"):
        Feature(name="a", kind="number", dtype="float32")
