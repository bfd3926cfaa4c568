"""What spoils a training run is refused, with file, row, column and what to do."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from trainwright_components.errors import InvalidData, InvalidSetting, TrainwrightError
from trainwright_components.prepare_data.prepare import PreparedData

Prepare = Callable[..., PreparedData]


def good(rows: int = 40) -> pd.DataFrame:
    return pd.DataFrame(
        {"x": np.arange(rows, dtype=float), "c": ["u", "v"] * (rows // 2), "y": ["a", "b"] * (rows // 2)}
    )


def with_value(column: str, row: int, value: Any) -> pd.DataFrame:
    table = good().astype({column: object})
    table.loc[row - 1, column] = value
    return table


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"label": "z"}, r"label names the column 'z', which rows\.csv lacks; there is: x, c, y"),
        ({"label": "y", "exclude": ("xx",)}, r"exclude names the column 'xx', which rows\.csv lacks; did you mean 'x'"),
        ({"label": "y", "weight_column": "w"}, r"weight_column names the column 'w', which rows\.csv lacks"),
        ({"label": "y", "kinds": {"c": "category"}}, r"kinds: 'c' cannot be 'category'; did you mean 'categorical'"),
        (
            {"label": "y", "kinds": {"y": "numeric"}},
            r"names the label 'y', but .* say data\.task=regression for a label",
        ),
        ({"labels": ["x", "y"], "kinds": {"y": "categorical"}}, r"data\.kinds names the label 'y'"),
        ({"label": "y", "weight_column": "x", "kinds": {"x": "numeric"}}, r"names data\.weight_column 'x', which"),
        ({"label": "y", "kinds": {"d": "text"}}, r"kinds names the column 'd', which rows\.csv lacks"),
        ({}, r"label is not set: name the column of rows\.csv to predict \(there is x, c, y\), or set data\.task=none"),
        ({"label": "y", "format": "cvs"}, r"data\.format 'cvs' is not known; did you mean 'csv'"),
    ],
)
def test_settings_that_do_not_fit_the_columns_are_corrected(
    prepare: Prepare, settings: dict[str, object], message: str
) -> None:
    with pytest.raises(InvalidSetting, match=message):
        prepare(good(), **settings)


@pytest.mark.parametrize(
    ("table", "settings", "message"),
    [
        (
            with_value("y", 7, None),
            {},
            r"rows\.csv, row 7: label 'y' has no value \(1 of 40 rows\); fill it in, or say data\.drop_unlabeled=true",
        ),
        (
            with_value("y", 7, "once"),
            {},
            r"label 'y': class 'once' has one example, which cannot be in training and test",
        ),
        (good().assign(y="a"), {}, r"label 'y' has the one value 'a' in all rows; there is nothing to learn"),
        (
            with_value("y", 3, "1e400"),
            {"task": "regression"},
            r"row 1: label 'y' holds 'a', but data.task=regression needs numbers",
        ),
        (
            with_value("x", 9, "inf"),
            {},
            r"rows\.csv, row 9: column 'x' is infinite; leave it empty where it is unknown",
        ),
        (
            with_value("x", 9, "nine"),
            {"kinds": {"x": "numeric"}},
            r"row 9: column 'x' holds 'nine', but data.kinds says",
        ),
        (with_value("x", 9, -1), {"weight_column": "x"}, r"weight_column 'x' must be at least 0 and finite; .* -1"),
        (with_value("x", 9, None), {"weight_column": "x"}, r"row 9: data\.weight_column 'x' has no value"),
        (with_value("x", 9, "w"), {"weight_column": "x"}, r"row 9: data\.weight_column 'x' must hold numbers, got 'w'"),
        (good()[:0], {}, r"rows\.csv holds no rows"),
        (good()[["y"]], {}, r"rows\.csv has no column left that could be a feature"),
        (
            good(2_000).assign(y=np.arange(2_000) / 3),
            {"task": "classification"},
            r"label 'y' has 2,000 different values in 2,000 rows, and 2,000 of them stand in one row only, such as "
            r"'0\.0': these are no classes; if it is a quantity, set data\.task=regression",
        ),
    ],
)
def test_values_that_spoil_a_training_are_named(
    prepare: Prepare, table: pd.DataFrame, settings: dict[str, object], message: str
) -> None:
    with pytest.raises(InvalidData, match=message):
        prepare(table, label="y", **settings)


def test_too_many_classes_or_categories_are_refused(prepare: Prepare) -> None:
    many = pd.DataFrame({"x": [f"v{i // 2}" for i in range(20_002)], "y": ["a", "b"] * 10_001})
    with pytest.raises(InvalidData, match="column 'x' has more than 10,000 different values; make it text or numeric"):
        prepare(many, label="y", kinds={"x": "categorical"})
    with pytest.raises(InvalidData, match="label 'x' has more than 10,000 different values, which cannot be classes"):
        prepare(many, label="x")


def test_every_refusal_leaves_no_output(prepare: Prepare, tmp_path: Path) -> None:
    with pytest.raises(TrainwrightError):
        prepare(with_value("y", 7, "once"), label="y")
    assert [path.name for path in tmp_path.iterdir()] == ["rows.csv"]


def test_a_failure_keeps_the_dataset_that_was_there(prepare: Prepare, tmp_path: Path) -> None:
    before = prepare(good(), label="y").dataset
    (tmp_path / "rows.jsonl").write_text('{"x": 1, "y": "a"}\n{"x": 2, "y": "a"}\n{"x": "\n')
    with pytest.raises(InvalidData, match="row 3: not JSON"):
        prepare(tmp_path / "rows.jsonl", label="y")
    assert (before / "schema.json").is_file()
