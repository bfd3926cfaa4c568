"""One table for each verdict, and a healthy one: 400 rows of noise with a label, and one thing that is wrong."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from trainwright_components.datasets.describe import Description, describe_table
from trainwright_components.datasets.infer import Roles
from trainwright_components.datasets.verdicts.table import judge
from trainwright_components.datasets.verdicts.verdict import Verdict
from trainwright_components.prepare_data.settings import PrepareSettings

ROWS = 400
RANDOM = np.random.default_rng(5)
PATIENTS = RANDOM.integers(0, 80, ROWS)


def healthy() -> pd.DataFrame:
    """Numbers of several shapes, categories and classes, of which a little can be learnt."""
    random = np.random.default_rng(1)
    x = random.normal(size=ROWS)
    return pd.DataFrame(
        {
            "x": x.round(4),
            "income": random.lognormal(10, 1, ROWS).round(2),
            "rooms": random.integers(1, 6, ROWS),
            "city": random.choice(["Bern", "Basel", "Chur"], ROWS),
            "y": np.where(x + random.normal(size=ROWS) > 0, "high", "low"),
        }
    )


@dataclass(frozen=True, kw_only=True)
class Wrong:
    """What is wrong in a table.

    Args:
        columns: Added to the healthy table, or in place of its own.
        about: The columns of the verdict.
        settings: Those of `data` or `training` with which the table is described.
        repeat: The first rows that occur once more.
    """

    columns: Mapping[str, Any] = field(default_factory=dict)
    about: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    repeat: int = 0

    def table(self) -> pd.DataFrame:
        """The table."""
        table = healthy().assign(**self.columns)
        return pd.concat([table, table[: self.repeat]])


def _sorted_days() -> pd.Series:
    return pd.Series(pd.date_range("2025-01-01", periods=ROWS)).dt.strftime("%Y-%m-%d")


def _with(values: Any, places: Any, value: Any) -> pd.Series:
    series = pd.Series(values, dtype=object).copy()
    series[places] = value
    return series


LABELS = healthy()["y"]
WRONG: dict[str, Wrong] = {
    "row index": Wrong(columns={"n": np.arange(1, ROWS + 1)}, about=("n",)),
    "unique id": Wrong(columns={"client": [f"c-{n * 37 % 9973}" for n in range(ROWS)]}, about=("client",)),
    "constant": Wrong(columns={"c": "v1"}, about=("c",)),
    "nearly constant": Wrong(columns={"c": ["b"] * 2 + ["a"] * (ROWS - 2)}, about=("c",)),
    "high cardinality": Wrong(columns={"zip": [f"z{n}" for n in RANDOM.integers(0, 3_000, ROWS)]}, about=("zip",)),
    "date or time": Wrong(columns={"day": _sorted_days()}, about=("day",)),
    "group": Wrong(columns={"patient": PATIENTS, "age": PATIENTS * 7 % 61, "sex": PATIENTS % 2}, about=("patient",)),
    "leak": Wrong(columns={"outcome": LABELS.map({"high": 1, "low": 0})}, about=("outcome",)),
    "mixed types": Wrong(columns={"size": _with(healthy()["x"], slice(0, 90), "unknown")}, about=("size",)),
    "outliers": Wrong(columns={"age": _with(RANDOM.integers(18, 90, ROWS), range(30), -999)}, about=("age",)),
    "duplicates": Wrong(repeat=100),
    "conflicting labels": Wrong(
        columns={"x": np.arange(ROWS) // 4 / 7, "income": 1, "rooms": 2, "city": "B", "y": ["a", "a", "a", "b"] * 100}
    ),
    "missing labels": Wrong(
        columns={"y": LABELS.where(np.arange(ROWS) % 10 > 0)}, about=("y",), settings={"data.drop_unlabeled": True}
    ),
    "classes with few rows": Wrong(columns={"y": _with(LABELS, range(5), "rare")}, about=("y",)),
    "imbalance": Wrong(columns={"y": np.where(np.arange(ROWS) % 20 == 0, "ill", "well")}, about=("y",)),
    "batch larger than the data": Wrong(settings={"training.batch_size": 4_096}),
}


def describe(path: Any, label: str = "y", **data: Any) -> Description:
    """The table as `trainwright new` looks at it."""
    read = PrepareSettings.from_mapping(data, label="" if "labels" in data else label)
    by = [name for name in (read.key_column, read.time_column) if name]
    return describe_table(
        path,
        Roles(
            label="" if read.labels else label,
            labels=read.labels,
            task=read.task,
            exclude=(*read.exclude, *by),
            kinds=read.kinds,
        ),
        values=read.values,
        given=read.given,
        drop_unlabeled=read.drop_unlabeled,
    )


def verdicts_on(table: pd.DataFrame, folder: Any, label: str = "y", **data: Any) -> list[Verdict]:
    """What is said of `table`, written as CSV."""
    table.to_csv(folder / "table.csv", index=False)
    return list(judge(describe(folder / "table.csv", label, **data).evidence))


def kinds(verdicts: list[Verdict]) -> list[tuple[str, ...]]:
    """Kind and columns of each."""
    return [(verdict.kind, *verdict.columns) for verdict in verdicts]
