"""What prepare_data does with verdicts: columns left out, rows dropped, drift, the page and verdicts.json."""

import json
from collections.abc import Callable

import numpy as np
import pandas as pd
from tests.components.datasets.verdicts.tables import LABELS, ROWS, healthy

from trainwright_components.datasets.schema import Schema
from trainwright_components.datasets.statistics import Statistics
from trainwright_components.prepare_data.prepare import PreparedData

Prepare = Callable[..., PreparedData]


def said(prepared: PreparedData) -> dict[str, list[str]]:
    content = json.loads((prepared.dataset / "verdicts.json").read_text())
    return {verdict["kind"]: verdict["columns"] for verdict in content["verdicts"]}


def test_a_row_index_is_no_feature_unless_its_kind_is_said(prepare: Prepare) -> None:
    """Noise sorted by class, of which the index alone made 98 % accuracy."""
    table = healthy().assign(y=np.repeat(["a", "b"], ROWS // 2), index=range(ROWS))
    prepared = prepare(table, label="y")
    assert prepared.schema.feature_names == ("x", "income", "rooms", "city")
    assert Schema.load(prepared.dataset).left_out == ("index",)
    assert said(prepared) == {"row index": ["index"]}
    assert "it counts the 400 rows in the order of the file, from 0 to 399" in prepared.draw_report().html()
    kept = prepare(table, label="y", kinds={"index": "numeric"})
    assert "index" in kept.schema.feature_names


def test_rows_that_differ_in_their_number_alone_are_equal(prepare: Prepare) -> None:
    table = pd.concat([healthy()] * 3, ignore_index=True).sample(frac=1, random_state=0)
    prepared = prepare(table.assign(index=range(len(table))), label="y", validation_fraction=0.2)
    assert "differ, too few to share out" in prepared.how
    assert said(prepared) == {"row index": ["index"], "duplicates": []}


def test_a_column_that_only_begins_like_an_index_is_a_feature(prepare: Prepare) -> None:
    rows = 9_000
    table = pd.DataFrame({"n": np.arange(rows) % 5_000, "x": np.arange(rows) % 7, "y": np.arange(rows) % 3})
    assert prepare(table, label="y").schema.feature_names == ("n", "x")


def test_later_rows_fit_the_schema_with_and_without_the_index(prepare: Prepare) -> None:
    table = healthy().assign(index=range(ROWS))
    schema = prepare(table, label="y").dataset / "schema.json"
    kept = schema.rename(schema.parent.parent / "kept.json")
    for later in (table[:37], table[:37].drop(columns="index")):
        assert prepare(later, label="y", expected_schema=str(kept)).schema.left_out == ("index",)


def test_rows_without_a_label_are_dropped_and_counted(prepare: Prepare) -> None:
    table = healthy().assign(y=LABELS.where(np.arange(ROWS) % 10 > 0))
    prepared = prepare(table, label="y", drop_unlabeled=True)
    statistics = Statistics.load(prepared.dataset)
    assert (statistics.unlabeled, sum(split.rows for split in statistics.splits.values())) == (40, 360)
    assert "40 of 400 rows have no label and are dropped" in prepared.draw_report().html()
    assert "40 rows without a label are in none of them." in prepared.draw_report().html()
    assert said(prepared) == {"missing labels": ["y"]}


def test_a_split_by_time_shows_what_changed(prepare: Prepare) -> None:
    table = healthy().assign(
        month=np.arange(ROWS) // 10,
        price=lambda each: each["income"] * np.where(each["month"] > 33, 30, 1),
        shop=np.where(np.arange(ROWS) < 340, "old", "new"),
    )
    prepared = prepare(table, label="y", time_column="month")
    drift = {verdict.columns[0]: verdict for verdict in prepared.verdicts if verdict.kind == "drift"}
    assert set(drift) == {"price", "shop"}
    assert drift["shop"].evidence["split"] == "test"
    assert drift["shop"].evidence["distance"] == 1.0


def test_a_split_by_chance_has_no_drift(prepare: Prepare) -> None:
    assert prepare(healthy(), label="y").verdicts == ()
