"""Features of earlier labels, against pandas' shift and rolling."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from trainwright_components.datasets import history as history_module
from trainwright_components.datasets.chunks import Chunk, Source, SourceTraits
from trainwright_components.datasets.history import HistoryRows, with_history
from trainwright_components.datasets.schema import Feature, History, Schema
from trainwright_components.datasets.sources.opening import open_source
from trainwright_components.errors import InvalidData, InvalidSetting

LAGS, WINDOWS = (1, 3, 20), (1, 4, 12)
SALES = History(label="sold", time="day", series="shop", lags=LAGS, windows=WINDOWS)


class Pieces:
    """A table in chunks of so many rows."""

    def __init__(self, table: pd.DataFrame, rows: int) -> None:
        self._table, self._rows = table, rows
        self.traits = SourceTraits(name="sales.csv", columns=tuple(map(str, table)), files=("a.tfrecord",))

    def chunks(self) -> Iterator[Chunk]:
        for start in range(0, len(self._table), self._rows):
            part = self._table.iloc[start : start + self._rows]
            columns = {str(name): part[name].to_numpy() for name in part}
            yield Chunk(columns=columns, origin="sales.csv", first_row=start + 1)


def sales(rows: int = 300, seed: int = 0) -> pd.DataFrame:
    """Three shops in turn and in any order, one of them rare; days without a count."""
    random = np.random.default_rng(seed)
    table = pd.DataFrame({"shop": random.choice(["north", "south", "7"], rows, p=[0.6, 0.35, 0.05]).astype(object)})
    table["day"] = table.groupby("shop").cumcount().astype(float) * 2
    table["sold"] = random.normal(100, 30, rows)
    table.loc[random.choice(rows, 20, replace=False), "sold"] = np.nan
    return table


def made(source: Source, names: tuple[str, ...]) -> pd.DataFrame:
    chunks = list(source.chunks())
    return pd.DataFrame({name: np.concatenate([chunk.column(name) for chunk in chunks]) for name in names})


def expected(table: pd.DataFrame) -> pd.DataFrame:
    sold, columns = table.groupby("shop")["sold"], {}
    for lag in LAGS:
        columns[f"sold_lag_{lag}"] = sold.shift(lag)
    for window in WINDOWS:
        columns[f"sold_mean_{window}"] = sold.transform(lambda one, of=window: one.shift(1).rolling(of).mean())
    return pd.DataFrame(columns)


@pytest.mark.parametrize("rows", [1, 7, 300])
def test_lags_and_windows_are_those_of_pandas_wherever_chunks_end(rows: int) -> None:
    table = sales()
    source = HistoryRows(Pieces(table, rows), SALES)
    assert source.traits.columns == ("shop", "day", "sold", *SALES.names)
    assert source.traits.files == (), "rows are not those of the files any more"
    for _ in range(2):
        pd.testing.assert_frame_equal(made(source, SALES.names), expected(table), rtol=1e-12)


def test_one_series_needs_no_column(tmp_path: Path) -> None:
    days = pd.DataFrame({"day": pd.date_range("2026-01-01", periods=30).strftime("%Y-%m-%d"), "sold": range(30)})
    days.to_csv(tmp_path / "days.csv", index=False)
    history = replace(SALES, series="", lags=(2,), windows=(3,))
    found = made(HistoryRows(open_source(str(tmp_path / "days.csv")), history), ("sold_lag_2", "sold_mean_3"))
    shifted = days["sold"].shift(1)
    pd.testing.assert_frame_equal(
        found, pd.DataFrame({"sold_lag_2": days["sold"].shift(2), "sold_mean_3": shifted.rolling(3).mean()})
    )


def in_order(**columns: list[Any]) -> pd.DataFrame:
    rows = len(next(iter(columns.values())))
    plain = {"shop": ["a"] * rows, "day": [f"2026-01-{day + 1:02}" for day in range(rows)], "sold": [1.5] * rows}
    return pd.DataFrame(plain | columns).astype({"shop": object, "day": object})


@pytest.mark.parametrize("rows", [1, 10])
@pytest.mark.parametrize(
    ("table", "message"),
    [
        (
            in_order(day=["2026-01-01", "2026-01-03", "2026-01-02"]),
            "sales.csv, row 3: 'day' is 2026-01-02, after 2026-01-03 before it for shop 'a', but 'sold_lag_1' can "
            "only be made of rows in the order of time; sort them by 'day'",
        ),
        (
            in_order(day=["2026-01-01", "2026-01-02", "2026-01-02"]),
            "sales.csv, row 3: 'day' is 2026-01-02 again for shop 'a', but 'sold_lag_1' can only be made of "
            "one row for each moment; merge such rows",
        ),
        (in_order(day=["2026-01-01", "tomorrow"]), "sales.csv, row 2: data.time_column 'day' must hold numbers, or"),
        (in_order(day=["2026-01-01", ""]), "sales.csv, row 2: data.time_column 'day' has no value"),
        (in_order(shop=["a", ""]), "sales.csv, row 2: data.series_column 'shop' has no value"),
        (in_order(sold=["1", "2", "rain"]), "sales.csv, row 3: 'sold' is 'rain', but has to be a number"),
        (in_order(sold=[1.5, np.inf]), "sales.csv, row 2: 'sold' is infinite; leave it empty where it is unknown"),
        (
            in_order(shop=["a", "b", "c"]),
            "sales.csv has 1 rows in one 'shop' at most, so that no row has 1 before it; lower data.lags",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_a_series_is_refused_with_its_row(table: pd.DataFrame, message: str, rows: int) -> None:
    history = replace(SALES, lags=(1,), windows=())
    with pytest.raises(InvalidData, match=f"^{re.escape(message)}"):
        list(HistoryRows(Pieces(table, rows), history).chunks())


def test_the_message_tells_of_the_option_for_several_series() -> None:
    days = ["2026-01-01", "2026-01-01", "2026-01-02", "2026-01-02"]
    with pytest.raises(InvalidData, match=r"row 2: .*where the table holds several series, name their column in data"):
        list(HistoryRows(Pieces(in_order(day=days), 10), replace(SALES, series="")).chunks())


def test_names_that_are_taken_or_absent_are_refused() -> None:
    table = in_order(sold_lag_1=[1.0, 2.0])
    with pytest.raises(InvalidData, match=r"sales.csv has a column 'sold_lag_1', .* rename it or remove it"):
        HistoryRows(Pieces(table, 10), SALES)
    with pytest.raises(InvalidSetting, match=r"data.series_column names the column 'ship', .* did you mean 'shop'"):
        HistoryRows(Pieces(in_order(sold=[1.0]), 10), replace(SALES, series="ship"))


def test_more_series_than_can_be_remembered_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history_module, "MAX_LABELS", 40)
    table = sales()
    with pytest.raises(
        InvalidData, match=r"sales.csv: 'shop' has more than 2 different values, and the last 20 labels"
    ):
        list(HistoryRows(Pieces(table, 300), SALES).chunks())


def schema_of(history: History) -> Schema:
    return Schema(
        features=tuple(Feature(name=name, kind="numeric", dtype="float32") for name in history.names), history=history
    )


def test_a_schema_keeps_it() -> None:
    schema = schema_of(replace(SALES, season=20))
    assert Schema.from_json(schema.to_json()) == schema
    assert schema.history is not None
    assert schema.history.season_name == "sold_lag_20"
    assert "history" not in replace(schema, history=None).to_json()


def test_rows_to_score_have_their_history_in_the_file_or_made_already(caplog: pytest.LogCaptureFixture) -> None:
    table = sales()
    table.loc[299, "sold"] = np.nan
    rows = with_history(Pieces(table, 50), SALES)
    pd.testing.assert_frame_equal(made(rows, SALES.names), expected(table), rtol=1e-12)
    short = int(expected(table).isna().any(axis=1).sum())
    assert f"{short} of 300 rows lack labels of the 20 rows before them, and are scored without" in caplog.text
    given = Pieces(expected(table), 50)
    pd.testing.assert_frame_equal(made(with_history(given, SALES), SALES.names), expected(table))
    wanted = (
        r"sales.csv lacks 'sold': .* Give 'shop', 'day', 'sold' of the rows to score and of the 20 before them, in the "
        r"order of 'day', with 'sold' empty where it is unknown; or give 'sold_lag_1', .* as columns"
    )
    with pytest.raises(InvalidData, match=wanted):
        list(with_history(Pieces(table.drop(columns="sold"), 50), SALES).chunks())
