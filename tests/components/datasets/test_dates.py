"""Dates as people write them, which pandas reads too when it is told how."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from trainwright_components.datasets.dates import as_iso, read_days, tells_day_first
from trainwright_components.datasets.reader import read_split
from trainwright_components.datasets.schema import Schema
from trainwright_components.errors import InvalidData, InvalidSetting
from trainwright_components.prepare_data.prepare import prepare_data
from trainwright_components.prepare_data.settings import PrepareSettings

MOMENTS = pd.date_range("1999-12-28 00:07", periods=400, freq="26h17min")
DAY_FIRST = ["%d/%m/%Y", "%d-%m-%y", "%d.%m.%Y %H:%M", "%d/%m/%Y %I:%M %p"]
MONTH_FIRST = ["%m/%d/%Y", "%m-%d-%y", "%m/%d/%Y, %H:%M:%S", "%m/%d/%Y %I:%M:%S%p"]
CERTAIN = [
    "%Y-%m-%d",
    "%Y-%m-%d %H:%M",
    "%Y/%m/%d",
    "%Y.%m.%d",
    "%d %b %Y",
    "%d-%b-%y",
    "%d %B %Y",
    "%b %d %Y",
    "%B %d, %Y",
    "%a, %d %b %Y %H:%M:%S",
    "%b %Y",
]


@pytest.mark.parametrize("form", [*DAY_FIRST, *MONTH_FIRST, *CERTAIN])
def test_dates_are_those_that_pandas_reads(form: str) -> None:
    texts = MOMENTS.strftime(form).tolist()
    expected = pd.to_datetime(pd.Series(texts), format=form)
    day_first = {**dict.fromkeys(DAY_FIRST, True), **dict.fromkeys(MONTH_FIRST, False)}.get(form)
    found = [as_iso(text, day_first=day_first) for text in texts]
    assert pd.to_datetime(pd.Series(found), format="ISO8601").tolist() == expected.tolist()
    days = read_days(found, "year-month-day")
    assert days is not None
    assert days.tolist() == ((expected.dt.normalize() - pd.Timestamp(0)).dt.days).tolist()
    if "." not in form:
        assert tells_day_first(texts) is day_first


@pytest.mark.parametrize(
    "text", ["31/31/2018", "31.2.2018", "2018/13/01", "3/4/2018 25:00", "3/4/2018 13:00 PM", "3/4-2018"]
)
def test_what_is_no_date_stays_what_it_is(text: str) -> None:
    assert [as_iso(text, day_first=first) for first in (True, False)] == [text, text]


def table(form: str, *, days: int = 90) -> pd.DataFrame:
    moments = pd.date_range("2018-01-01", periods=days)
    return pd.DataFrame({"day": moments.strftime(form), "x": np.arange(days) % 7, "y": np.arange(days) / 2})


@pytest.mark.parametrize("form", ["%Y-%m-%d", "%d/%m/%Y", "%m/%d/%y", "%d.%m.%Y", "%b %d, %Y"])
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_rows_are_split_by_time_and_have_their_lags(tmp_path: Path, suffix: str, form: str) -> None:
    rows = table(form)
    rows.to_csv(tmp_path / "rows.csv", index=False) if suffix == "csv" else rows.to_parquet(tmp_path / "rows.parquet")
    settings = {"label": "y", "time_column": "day", "lags": (1,)}
    prepared = prepare_data(tmp_path / f"rows.{suffix}", tmp_path / "dataset", settings)
    labels = {
        split: sorted(float(label) for _, label in read_split(prepared.dataset, split).as_numpy_iterator())
        for split in ("train", "validation", "test")
    }
    assert labels["train"][-1] < labels["validation"][0]
    assert labels["validation"][-1] < labels["test"][0]
    for features, label in read_split(prepared.dataset, "test").as_numpy_iterator():
        assert features["y_lag_1"] == label - 0.5
    history = Schema.load(prepared.dataset).history
    assert history
    assert history.day_first == {"%Y-%m-%d": "", "%m/%d/%y": "no"}.get(form, "yes")


def test_dates_that_begin_with_the_day_or_the_month_have_to_be_told_apart(tmp_path: Path) -> None:
    rows = table("%d/%m/%Y", days=12)
    rows.to_csv(tmp_path / "rows.csv", index=False)
    settings = {"label": "y", "task": "regression", "time_column": "day"}
    with pytest.raises(InvalidData, match=r"rows\.csv, row 1: .*'day' begin with the day or with the mon.*first=yes"):
        prepare_data(tmp_path / "rows.csv", tmp_path / "dataset", settings)
    for day_first in ("yes", "no"):
        prepare_data(tmp_path / "rows.csv", tmp_path / day_first, {**settings, "day_first": day_first})


def test_a_date_unlike_the_others_is_named_with_its_row(tmp_path: Path) -> None:
    rows = table("%d/%m/%Y")
    rows.loc[70, "day"] = "03/25/2018"
    rows.to_csv(tmp_path / "rows.csv", index=False)
    with pytest.raises(InvalidData, match=r"row 71: data\.time_column 'day' must hold numbers, or dat.* '03/25/2018'"):
        prepare_data(tmp_path / "rows.csv", tmp_path / "dataset", {"label": "y", "time_column": "day"})


def test_the_order_of_a_date_needs_a_column_of_times() -> None:
    with pytest.raises(InvalidSetting, match=r"data\.day_first yes is for data\.time_column; set that, or"):
        PrepareSettings(day_first="yes")
