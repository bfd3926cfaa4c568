"""Several columns to predict: numbers, or answers of yes and no; and labels that come as vectors or in one text."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from trainwright_components.datasets.reader import read_split
from trainwright_components.datasets.schema import Label, Schema
from trainwright_components.datasets.task import Task, task_of
from trainwright_components.errors import InvalidData, InvalidSetting
from trainwright_components.prepare_data.prepare import PreparedData, prepare_data
from trainwright_components.prepare_data.settings import PrepareSettings

Prepare = Callable[..., PreparedData]
ALL_TRAIN: dict[str, Any] = {"validation_fraction": 0.0, "test_fraction": 0.0}


@pytest.fixture(scope="module")
def photos() -> pd.DataFrame:
    """200 rows: `x` tells them apart; `sea` 0 or 1, `sky` yes or No, `road` True or False; two numbers."""
    random = np.random.default_rng(3)
    rows = 200
    return pd.DataFrame(
        {
            "x": np.arange(rows) / 8,
            "sea": random.integers(0, 2, rows),
            "sky": random.choice(["yes", "No"], rows),
            "road": random.random(rows) < 0.3,
            "width": random.normal(5, 1, rows).round(4),
            "height": random.integers(100, 900, rows),
        }
    )


def labels_by_x(prepared: PreparedData, split: str = "train") -> dict[float, np.ndarray]:
    return {float(features["x"]): label.numpy() for features, label in read_split(prepared.dataset, split)}


def test_columns_of_numbers_are_targets_in_the_given_order(photos: pd.DataFrame, prepare: Prepare) -> None:
    prepared = prepare(photos[["x", "width", "height"]], labels=("height", "width"), **ALL_TRAIN)
    assert prepared.schema.label == Label(
        name="labels", kind="number", dtype="float32", shape=(2,), value_names=("height", "width"), is_joined=True
    )
    assert prepared.schema.feature_names == ("x",)
    stored = labels_by_x(prepared)
    assert np.array([stored[x] for x in photos["x"]]) == pytest.approx(photos[["height", "width"]].to_numpy())
    for name in ("height", "width"):
        numbers = prepared.statistics.split("train").column(name)
        assert (numbers.mean, numbers.std) == pytest.approx((photos[name].mean(), photos[name].std(ddof=0)))
    page = prepared.draw_report().html()
    assert "Targets in the train split" in page


def test_columns_of_yes_and_no_are_a_multilabel(photos: pd.DataFrame, prepare: Prepare) -> None:
    prepared = prepare(photos, labels=("sea", "sky", "road"), **ALL_TRAIN)
    label = prepared.schema.label
    assert label is not None
    assert (label.kind, label.dtype, label.shape, label.columns) == (
        "multilabel",
        "int64",
        (3,),
        ("sea", "sky", "road"),
    )
    wanted = np.stack([photos["sea"], photos["sky"] == "yes", photos["road"]], axis=1).astype(int)
    stored = labels_by_x(prepared)
    assert (np.array([stored[x] for x in photos["x"]]) == wanted).all()
    train = prepared.statistics.split("train")
    assert [train.column(name).values["1"] for name in label.columns] == wanted.sum(axis=0).tolist()
    assert Schema.load(prepared.dataset) == prepared.schema


def test_columns_of_0_and_1_may_be_numbers_too(photos: pd.DataFrame, prepare: Prepare) -> None:
    assert task_of(prepare(photos, labels=("sea", "road"), task="classification").schema) is Task.MULTILABEL
    assert task_of(prepare(photos, labels=("sea", "width")).schema) is Task.REGRESSION
    twice = photos[["x", "sea"]].assign(again=photos["sea"])
    assert task_of(prepare(twice, labels=("sea", "again"), task="regression").schema) is Task.REGRESSION


def test_one_column_is_a_label_as_any_other(photos: pd.DataFrame, prepare: Prepare) -> None:
    label = prepare(photos, labels=("sky",)).schema.label
    assert label == Label(name="sky", kind="class", dtype="int64", class_names=("No", "yes"))


def test_a_hundred_labels_and_a_feature_called_labels(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    names = tuple(f"tag {number}" for number in range(100))
    answers = random.integers(0, 2, (60, 100))
    table = pd.DataFrame(answers, columns=list(names)).assign(labels=random.normal(size=60), x=np.arange(60) / 8)
    table.to_parquet(tmp_path / "rows.parquet")
    prepared = prepare_data(tmp_path / "rows.parquet", tmp_path / "out", PrepareSettings(labels=names, **ALL_TRAIN))
    assert prepared.schema.label is not None
    assert (prepared.schema.label.name, prepared.schema.label.shape) == ("labels_", (100,))
    assert prepared.schema.feature_names == ("labels", "x")
    stored = labels_by_x(prepared)
    assert (np.array([stored[x] for x in table["x"]]) == answers).all()
    assert "tag 99" in prepared.draw_report().html()


def test_texts_with_a_separator_are_a_multilabel(prepare: Prepare) -> None:
    tags = ["sea | sky", "sky", None, "road|sea", "sky|sky"] * 8
    prepared = prepare(
        pd.DataFrame({"x": np.arange(40.0), "tags": tags}), label="tags", label_separator="|", **ALL_TRAIN
    )
    label = prepared.schema.label
    assert label is not None
    assert (label.kind, label.value_names, label.columns) == ("multilabel", ("road", "sea", "sky"), ("tags",))
    stored = labels_by_x(prepared)
    assert [stored[x].tolist() for x in range(5)] == [[0, 1, 1], [0, 0, 1], [0, 0, 0], [1, 1, 0], [0, 0, 1]]
    assert prepared.statistics.split("train").column("tags.sky").values == {"0": 16, "1": 24}
    assert Schema.load(prepared.dataset).label == label


def test_vectors_are_numbers_unless_they_are_said_to_be_a_multilabel(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    x, y = random.normal(size=(50, 3)).astype(np.float32), random.integers(0, 2, (50, 4))
    np.savez(tmp_path / "rows.npz", x=x, y=y)
    settings = PrepareSettings(label="y", **ALL_TRAIN)
    label = prepare_data(tmp_path / "rows.npz", tmp_path / "a", settings).schema.label
    assert label == Label(name="y", kind="number", dtype="float32", shape=(4,))
    label = prepare_data(tmp_path / "rows.npz", tmp_path / "b", replace(settings, task="multilabel")).schema.label
    assert label is not None
    assert (label.kind, label.value_names, label.columns) == ("multilabel", ("y_0", "y_1", "y_2", "y_3"), ("y",))
    found = {features["x"].numpy().tobytes(): label.numpy() for features, label in read_split(tmp_path / "b", "train")}
    assert (np.array([found[row.tobytes()] for row in x]) == y).all()
    np.savez(tmp_path / "rows.npz", x=x, y=y * 2)
    with pytest.raises(InvalidData, match=r"label 'y' of .*rows\.npz cannot be multilabel: it needs several columns"):
        prepare_data(tmp_path / "rows.npz", tmp_path / "c", replace(settings, task="multilabel"))


def test_rows_that_differ_in_their_labels_alone_are_on_one_side(prepare: Prepare) -> None:
    table = pd.DataFrame({"x": np.repeat(np.arange(150.0), 2), "a": [0, 1] * 150, "b": [1, 0, 0, 1] * 75})
    prepared = prepare(table, labels=("a", "b"))
    sides = [{float(f["x"]) for f, _ in read_split(prepared.dataset, s)} for s in ("train", "validation", "test")]
    assert sum(map(len, sides)) == 150
    assert prepared.how == "Rows were split by a stable hash of their features."


def test_rows_that_lack_a_label_are_left_out_when_asked_for(photos: pd.DataFrame, prepare: Prepare) -> None:
    gaps = photos[["x"]].assign(sea=photos["sea"].where(photos["x"] > 1), sky=photos["sky"].where(photos["x"] < 20))
    prepared = prepare(gaps, labels=("sea", "sky"), drop_unlabeled=True, **ALL_TRAIN)
    assert sorted(labels_by_x(prepared)) == [x for x in photos["x"] if 1 < x < 20]
    (verdict,) = (each for each in prepared.verdicts if each.kind == "missing labels")
    assert verdict.columns == ("sea", "sky")


def test_each_label_drifts_by_itself(photos: pd.DataFrame, prepare: Prepare) -> None:
    later = photos.assign(sea=1, width=photos["width"] + 9)
    both = pd.concat([photos, later]).assign(split=["train"] * 200 + ["test"] * 200)
    for labels, name in ((("sea", "sky"), "sea"), (("height", "width"), "width")):
        table = both[["x", "split", *labels]]
        prepared = prepare(table, labels=labels, split_column="split", validation_fraction=0.0)
        found = [each for each in prepared.verdicts if each.kind == "drift"]
        assert [each.columns for each in found] == [(name,)]
        assert found[0].advice[0].text.startswith("the label changes")


def test_a_label_without_a_row_to_learn_from_is_told(
    photos: pd.DataFrame, prepare: Prepare, caplog: pytest.LogCaptureFixture
) -> None:
    table = photos[["x", "sea", "road"]].assign(split=["train"] * 150 + ["test"] * 50)
    table.loc[:149, "road"] = False
    prepare(table, labels=("sea", "road"), split_column="split", validation_fraction=0.0)
    assert "labels with one value in all training rows, which no model can learn: road" in caplog.text


@pytest.mark.parametrize(
    ("settings", "kind", "message"),
    [
        ({"labels": ("sea", "sea", "sky")}, InvalidSetting, r"data\.labels names 'sea' more than once"),
        ({"labels": ("sea", "moon")}, InvalidSetting, r"data\.labels names the column 'moon', which rows\.csv lacks"),
        ({"labels": ("sea", "sky"), "label": "sea"}, InvalidSetting, r"name all columns to predict in data\.labels"),
        ({"labels": ("sea", "sky"), "task": "none"}, InvalidSetting, r"data\.labels are sea, sky; leave one of them"),
        ({"labels": ("sea", "")}, InvalidSetting, r"data\.labels holds an empty name"),
        ({"labels": ("sea", "sky"), "exclude": ("sky",)}, InvalidSetting, r"'sky' cannot be label or weight and also"),
        ({"labels": ("sea", "x"), "weight_column": "x"}, InvalidSetting, r"'x' cannot be label and data\.weight_"),
        (
            {"labels": ("sea", "sky"), "label_separator": "|"},
            InvalidSetting,
            r"label_separator is for the texts of one",
        ),
        (
            {"label": "sky", "label_separator": "|", "task": "regression"},
            InvalidSetting,
            r"but data\.task is regression",
        ),
        ({"labels": ("width", "sky")}, InvalidData, r"label 'sky' of rows\.csv holds '\w+' \(.*row 1\); the columns"),
        ({"labels": ("sea", "kind")}, InvalidData, r"label 'kind' of rows\.csv holds 'red'"),
        ({"labels": ("sea", "sky"), "task": "regression"}, InvalidData, r"have to hold numbers, for regression"),
        (
            {"labels": ("sea", "width"), "task": "multilabel"},
            InvalidData,
            r"label 'width' of rows\.csv holds numbers from .* needs 0 and 1, true and false, or yes and no in each",
        ),
        ({"labels": ("sea", "same")}, InvalidData, r"label 'same' has one value in all rows; .* out of data\.labels"),
        ({"labels": ("sea", "gap")}, InvalidData, r"row 7: label 'gap' has no value \(1 of 200 rows\)"),
        ({"label": "x", "task": "multilabel"}, InvalidData, r"label 'x' of rows\.csv cannot be multilabel"),
        ({"label": "same", "label_separator": "|"}, InvalidData, r"label 'same' holds 1 labels with '\|' between them"),
    ],
)
def test_what_cannot_be_predicted_together_is_refused(
    photos: pd.DataFrame, prepare: Prepare, settings: dict[str, Any], kind: type[Exception], message: str
) -> None:
    table = photos.assign(kind=["red", "blue"] * 100, same=0, gap=photos["sea"].astype(float))
    table.loc[6, "gap"] = None
    with pytest.raises(kind, match=message):
        prepare(table, **settings)


def test_an_expected_schema_holds_for_each_label(photos: pd.DataFrame, tmp_path: Path, prepare: Prepare) -> None:
    first = prepare(photos, labels=("sea", "sky"), **ALL_TRAIN)
    first.schema.save(tmp_path)
    expected = {"expected_schema": str(tmp_path / "schema.json"), **ALL_TRAIN}
    assert prepare(photos, **expected).schema == first.schema
    assert prepare(photos, labels=("sea", "sky"), **expected).schema == first.schema
    with pytest.raises(InvalidSetting, match="label is 'sea', 'road', but the expected schema has 'sea', 'sky'"):
        prepare(photos, labels=("sea", "road"), **expected)
    with pytest.raises(InvalidData, match=r"(?s)sea +label, multilabel +new: '2'.*sky +label, multilabel +.* missing"):
        prepare(photos.assign(sea=2, sky=photos["sky"].where(photos["x"] > 0)), **expected)
    with pytest.raises(InvalidData, match=r"row 3: label 'sky' is 'maybe', but has to be one of 0, false, no, 1"):
        _encode(photos.assign(sky=[*photos["sky"][:2], "maybe", *photos["sky"][3:]]), first.schema)


def _encode(table: pd.DataFrame, schema: Schema) -> None:
    from trainwright_components.datasets.chunks import Chunk
    from trainwright_components.datasets.encode import encode_chunk

    columns = {name: table[name].astype(object).to_numpy() for name in ("width", "height", "sea", "sky")}
    numbers = {name: table[name].to_numpy() for name in ("x", "width", "height", "sea")}
    texts = np.where(table["road"], "true", "false").astype(object)
    encode_chunk(Chunk(columns={**columns, **numbers, "road": texts}, origin="rows.csv"), schema)


def test_a_schema_of_an_older_release_is_read(photos: pd.DataFrame, prepare: Prepare) -> None:
    schema = prepare(photos, label="sky").schema
    content = json.loads(schema.to_json())
    for name in ("value_names", "is_joined", "separator"):
        del content["label"][name]
    assert Schema.from_json(json.dumps(content)) == schema
