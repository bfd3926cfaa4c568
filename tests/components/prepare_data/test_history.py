"""Lags and windows by settings of data, from the table to what is stored."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from tests.components.prepare_data.conftest import Prepare

from trainwright_components.batch_predict.predict import predict_rows
from trainwright_components.datasets.reader import read_split
from trainwright_components.datasets.schema import Schema
from trainwright_components.errors import InvalidData, InvalidSetting
from trainwright_components.prepare_data.settings import PrepareSettings
from trainwright_pipelines.requests.rows import read_rows_file

DAYS = {"label": "sold", "time_column": "day", "lags": (1,), "windows": (3,), "season": 7}
NAMES = ["sold_lag_1", "sold_lag_7", "sold_mean_3"]


@pytest.fixture
def days() -> pd.DataFrame:
    """60 days of few different counts, which alone would be classes."""
    random = np.random.default_rng(3)
    day = pd.date_range("2026-01-01", periods=60).strftime("%Y-%m-%d")
    return pd.DataFrame({"day": day, "rain": random.random(60).round(2), "sold": random.integers(0, 9, 60)})


def stored(dataset: Path, split: str) -> pd.DataFrame:
    rows = [({**features, "sold": label}) for features, label in read_split(dataset, split).as_numpy_iterator()]
    return pd.DataFrame(rows).astype(float)


def expected(days: pd.DataFrame) -> pd.DataFrame:
    sold = days["sold"].astype(float)
    columns = {"sold_lag_1": sold.shift(1), "sold_lag_7": sold.shift(7), "sold_mean_3": sold.shift(1).rolling(3).mean()}
    return days[["rain"]].assign(**columns, sold=sold)


def in_stored_order(table: pd.DataFrame) -> pd.DataFrame:
    return table.sort_values(["rain", "sold_lag_7"]).reset_index(drop=True)


def test_what_is_stored_is_what_pandas_makes_of_the_table(days: pd.DataFrame, prepare: Prepare) -> None:
    prepared = prepare(days, **DAYS)
    assert prepared.schema.feature_names == ("rain", *NAMES)
    assert prepared.schema.label is not None
    assert prepared.schema.label.kind == "number"
    wanted, ends = expected(days), {"train": (0, 42), "validation": (42, 51), "test": (51, 60)}
    for split, (start, end) in ends.items():
        found = stored(prepared.dataset, split)[list(wanted)]
        pd.testing.assert_frame_equal(in_stored_order(found), in_stored_order(wanted[start:end]), rtol=1e-6)


def test_a_steady_series_does_not_leak_into_its_own_lags(days: pd.DataFrame, prepare: Prepare) -> None:
    days = pd.concat([days] * 10, ignore_index=True).assign(day=range(600))
    days["sold"] = np.random.default_rng(0).normal(size=600).cumsum() + np.arange(600)
    days["copied"] = days["sold"].shift(1)
    found = [verdict.columns for verdict in prepare(days, **DAYS).verdicts if verdict.kind == "leak"]
    assert found == [("copied",)]


def test_rows_without_a_label_count_as_rows_before_they_are_dropped(days: pd.DataFrame, prepare: Prepare) -> None:
    days["sold"] = days["sold"].astype(float)
    days.loc[20, "sold"] = np.nan
    with pytest.raises(InvalidData, match="row 21: label 'sold' has no value"):
        prepare(days, **DAYS)
    prepared = prepare(days, **DAYS, drop_unlabeled=True)
    found, wanted = stored(prepared.dataset, "train"), expected(days)[:43].drop(index=20)
    wanted = wanted[: len(found)]
    pd.testing.assert_frame_equal(in_stored_order(found[list(wanted)]), in_stored_order(wanted), rtol=1e-6)
    assert found["sold_lag_1"].isna().sum() == 2, "of the first row, and of the one after the gap"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lags": (0,)}, "data.lags must be numbers of rows before, from 1 to 4,000,000, got 0"),
        ({"lags": (-1,)}, "data.lags must be .* got -1"),
        ({"lags": (10**18,)}, "data.lags must be .* got 1000000000000000000"),
        ({"windows": (0,)}, "data.windows must be .* got 0"),
        ({"windows": (20_000,)}, "data.windows must be numbers of rows before, from 1 to 10,000, got 20000"),
        ({"season": -7}, "data.season must be at least 0, got -7"),
        ({"time_column": ""}, "data.lags needs data.time_column"),
        ({"task": "classification"}, "data.lags needs a label of one number .* leave it or data.task out"),
        ({"label": "", "labels": ("a", "b")}, "data.lags needs a label of one number .* leave it or data.labels out"),
        ({"lags": (), "windows": (), "season": 0, "series_column": "shop"}, "data.series_column 'shop' is for"),
        ({"series_column": "day"}, "data.series_column 'day' cannot be label or data.time_column too"),
    ],
)
def test_settings_that_make_no_series_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidSetting, match=message):
        PrepareSettings(**{**DAYS, **settings})


def test_tables_that_make_no_series_are_refused(days: pd.DataFrame, prepare: Prepare) -> None:
    with pytest.raises(InvalidData, match=r"rows.csv has 60 rows at most, so that no row has 60 before it; lower data"):
        prepare(days, **{**DAYS, "lags": (60,)})
    with pytest.raises(InvalidData, match=r"rows.csv, row 1: 'sky' is 'grey', but has to be a number"):
        prepare(days.assign(sky="grey"), **{**DAYS, "label": "sky"})
    with pytest.raises(InvalidData, match=r"rows.csv, row 2: 'day' is 2026-02-28, after 2026-03-01 before it"):
        prepare(days[::-1], **DAYS)


def test_an_expected_schema_makes_them_too(days: pd.DataFrame, prepare: Prepare, tmp_path: Path) -> None:
    kept = tmp_path / "kept.json"
    kept.write_text(prepare(days, **DAYS).schema.to_json())
    again = prepare(days, label="sold", time_column="day", expected_schema=str(kept))
    assert again.schema == Schema.from_json(kept.read_text())
    with pytest.raises(InvalidSetting, match=r"make sold_lag_2, but the expected schema has sold_lag_1, sold_lag_7, "):
        prepare(days, label="sold", time_column="day", lags=(2,), expected_schema=str(kept))


def test_later_rows_are_scored_with_what_came_before_them(days: pd.DataFrame, prepare: Prepare, tmp_path: Path) -> None:
    schema = prepare(days, **DAYS).schema

    class Model(tf.Module):
        @tf.function(
            input_signature=[{each.name: tf.TensorSpec([None], each.dtype, name=each.name) for each in schema.features}]
        )
        def serve(self, features: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            return {"y": features["sold_lag_1"] + 10 * features["sold_lag_7"] + 100 * features["sold_mean_3"]}

    model = Model()
    tf.saved_model.save(model, str(tmp_path / "model"), signatures=model.serve)
    (tmp_path / "model" / "assets.extra").mkdir()
    schema.save(tmp_path / "model" / "assets.extra")
    later = days[40:50].assign(sold=days["sold"][40:49])  # the last is to be forecast
    later.to_csv(tmp_path / "later.csv", index=False)
    scored = predict_rows(tmp_path / "model", tmp_path / "later.csv", tmp_path / "out")
    answers = [json.loads(line)["prediction"] for line in scored.file.read_text().splitlines()]
    sold = days["sold"].tolist()
    assert answers[:7] == [None] * 7
    assert answers[9] == pytest.approx(sold[48] + 10 * sold[42] + 100 * sum(sold[46:49]) / 3)
    rows = read_rows_file(str(tmp_path / "later.csv"), schema=schema)
    assert rows[9] == {
        "rain": days["rain"][49],
        "sold_lag_1": sold[48],
        "sold_lag_7": sold[42],
        "sold_mean_3": pytest.approx(sum(sold[46:49]) / 3),
    }
    later.to_json(tmp_path / "later.json", orient="records")
    assert read_rows_file(str(tmp_path / "later.json"), schema=schema)[9] == rows[9]
    later.drop(columns="sold").to_csv(tmp_path / "later.csv", index=False)
    with pytest.raises(
        InvalidData, match=r"later.csv lacks 'sold': the model takes 'sold_lag_1', .*Give 'day', 'sold'"
    ):
        predict_rows(tmp_path / "model", tmp_path / "later.csv", tmp_path / "out2")
