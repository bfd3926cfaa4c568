"""One small table, in every format that holds tables."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from trainwright_components.prepare_data.prepare import PreparedData, prepare_data
from trainwright_components.prepare_data.settings import PrepareSettings

Prepare = Callable[..., PreparedData]


@pytest.fixture(scope="session")
def patients() -> pd.DataFrame:
    """600 visits of 90 patients: three numbers, two texts, missing values, a moment, a class `outcome`."""
    random = np.random.default_rng(7)
    rows = 600
    table = pd.DataFrame(
        {
            "patient": random.integers(0, 90, rows),
            "visited": pd.date_range("2026-01-01", periods=rows, freq="h").strftime("%Y-%m-%d %H:%M"),
            "age": random.integers(20, 90, rows).astype(float),
            "pressure": random.normal(120, 15, rows).round(3),
            "dose": random.exponential(2, rows).round(4),
            "ward": random.choice(["north", "south", "west"], rows),
            "outcome": random.choice(["better", "same", "worse"], rows, p=[0.6, 0.35, 0.05]),
        }
    )
    table.loc[::11, "age"] = np.nan
    table.loc[::13, "ward"] = None
    return table


@pytest.fixture
def prepare(tmp_path: Path) -> Prepare:
    """Prepares a source, or a table as CSV, with the settings given by name."""

    def run(source: str | Path | pd.DataFrame, **settings: Any) -> PreparedData:
        if isinstance(source, pd.DataFrame):
            source.to_csv(tmp_path / "rows.csv", index=False)
            source = tmp_path / "rows.csv"
        return prepare_data(source, tmp_path / "dataset", PrepareSettings(**settings))

    return run
