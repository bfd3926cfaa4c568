"""Every way to split keeps its promise."""

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from trainwright_components.datasets.reader import read_split
from trainwright_components.datasets.schema import SPLITS
from trainwright_components.errors import InvalidData, InvalidSetting
from trainwright_components.prepare_data.prepare import PreparedData, prepare_data
from trainwright_components.prepare_data.settings import PrepareSettings

Prepare = Callable[..., PreparedData]
KEPT = {"id": "numeric"}  # else an id is no feature beside others


def ids(prepared: PreparedData, column: str = "id") -> dict[str, set[int]]:
    return {
        split: {
            int(number)
            for features, *_ in read_split(prepared.dataset, split).batch(1_000).as_numpy_iterator()
            for number in features[column]
        }
        for split in prepared.statistics.splits
    }


def numbered(rows: int, **columns: Any) -> pd.DataFrame:
    return pd.DataFrame({"id": range(rows), "y": ["a", "b"] * (rows // 2), **columns})


def split_of(splits: Mapping[str, set[int]]) -> dict[int, str]:
    return {row: split for split, rows in splits.items() for row in rows}


def test_rows_are_split_in_the_wanted_shares_without_overlap(prepare: Prepare) -> None:
    splits = ids(prepare(numbered(2_000), label="y", validation_fraction=0.2, test_fraction=0.1))
    assert {name: len(rows) for name, rows in splits.items()} == {"train": 1_400, "validation": 400, "test": 200}
    assert set().union(*splits.values()) == set(range(2_000))


def test_each_class_is_split_in_the_same_shares(prepare: Prepare) -> None:
    table = pd.DataFrame({"id": range(1_000), "y": ["common"] * 960 + ["rare"] * 37 + ["few"] * 3})
    prepared = prepare(table, label="y", validation_fraction=0.1, test_fraction=0.2)
    counts = {split: dict(numbers.column("y").values) for split, numbers in prepared.statistics.splits.items()}
    assert counts == {
        "train": {"common": 672, "few": 1, "rare": 26},
        "validation": {"common": 96, "few": 1, "rare": 4},
        "test": {"common": 192, "few": 1, "rare": 7},
    }


def test_a_row_stays_in_its_split_when_others_come_and_go(prepare: Prepare) -> None:
    table = numbered(1_000)
    before = split_of(ids(prepare(table, label="y", stratify=False)))
    after = split_of(ids(prepare(table.sample(frac=0.5, random_state=1), label="y", stratify=False)))
    assert len(after) == 500
    assert all(before[row] == split for row, split in after.items())


def test_a_larger_validation_leaves_the_test_alone(prepare: Prepare) -> None:
    small = ids(prepare(numbered(500), label="y", validation_fraction=0.1))
    large = ids(prepare(numbered(500), label="y", validation_fraction=0.3))
    assert small["test"] == large["test"]
    assert small["validation"] < large["validation"]


def test_equal_rows_are_on_one_side(prepare: Prepare) -> None:
    table = pd.concat([numbered(300)] * 2)
    splits = ids(prepare(table, label="y"))
    assert sum(map(len, splits.values())) == 300


@pytest.mark.parametrize(("rows", "of_a"), [({"a": 200, "b": 60, "c": 40}, 30), ({"b": 4_100, "a": 90, "c": 60}, 14)])
def test_rows_that_differ_in_label_weight_and_excluded_columns_are_on_one_side(
    prepare: Prepare, rows: dict[str, int], of_a: int
) -> None:
    """Also when one of the classes is large, and the shares in each class move the bounds apart."""
    starts = {"a": 0, "b": 10, "c": 0}
    parts = [pd.DataFrame({"id": range(starts[name], starts[name] + count), "y": name}) for name, count in rows.items()]
    table = pd.concat(parts)
    table = table.assign(weight=np.arange(len(table)) % 7 + 1, number=np.arange(len(table)))
    prepared = prepare(table, label="y", weight_column="weight", exclude=("number",))
    splits = ids(prepared)
    assert sum(map(len, splits.values())) == table["id"].nunique()
    assert prepared.how == "Rows were split by a stable hash of their features, with the same shares in each class."
    assert prepared.statistics.split("test").column("y").values["a"] == of_a


TITANIC = {  # class, age, sex: how many did not survive and how many did (R's dataset Titanic, passengers)
    ("1st", "adult", "man"): (118, 57),
    ("1st", "adult", "woman"): (4, 140),
    ("1st", "child", "man"): (0, 5),
    ("1st", "child", "woman"): (0, 1),
    ("2nd", "adult", "man"): (154, 14),
    ("2nd", "adult", "woman"): (13, 80),
    ("2nd", "child", "man"): (0, 11),
    ("2nd", "child", "woman"): (0, 13),
    ("3rd", "adult", "man"): (387, 75),
    ("3rd", "adult", "woman"): (89, 76),
    ("3rd", "child", "man"): (35, 13),
    ("3rd", "child", "woman"): (17, 14),
}


def titanic() -> pd.DataFrame:
    rows = [
        (*who, answer)
        for who, counts in TITANIC.items()
        for answer, n in zip(("no", "yes"), counts, strict=True)
        for _ in range(n)
    ]
    return pd.DataFrame(rows, columns=["class", "age", "sex", "survived"])


def test_rows_that_repeat_are_split_by_position_with_class_shares(
    prepare: Prepare, caplog: pytest.LogCaptureFixture
) -> None:
    prepared = prepare(titanic(), label="survived")
    counts = {split: dict(numbers.column("survived").values) for split, numbers in prepared.statistics.splits.items()}
    assert counts == {
        "train": {"no": 571, "yes": 349},
        "validation": {"no": 123, "yes": 75},
        "test": {"no": 123, "yes": 75},
    }
    known = {tuple(row) for row in titanic()[["class", "age", "sex"]].itertuples(index=False)}
    assert prepared.statistics.split("test").column("class").distinct == 3
    assert len(known) == 12
    assert (
        "Rows were split by a stable hash of their position, with the same shares in each class. More than half repeat "
        "another row's features: of 1,316 rows 12 differ, too few to share out." in prepared.how
    )
    assert prepared.how.replace("'", "&#39;") in prepared.draw_report().html()
    assert caplog.messages == [f"rows.csv: {prepared.how}"]


def one_frequent_row(rows: int, copies: int, seed: int, **columns: Any) -> pd.DataFrame:
    """`copies` rows with the features (0), and others with features of their own."""
    labels = np.random.default_rng(seed).choice(["p", "q"], rows)
    return pd.DataFrame({"id": np.r_[np.zeros(copies), np.arange(1, rows - copies + 1)], "y": labels, **columns})


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("copies", [250, 350, 450, 500])
def test_copies_of_one_frequent_row_are_for_training_and_the_shares_come_out(
    prepare: Prepare, caplog: pytest.LogCaptureFixture, copies: int, seed: int
) -> None:
    prepared = prepare(one_frequent_row(1_000, copies, seed), label="y", seed=seed)
    rows = {split: numbers.rows for split, numbers in prepared.statistics.splits.items()}
    assert rows == pytest.approx({"train": 700, "validation": 150, "test": 150}, abs=2)
    assert sum(map(len, ids(prepared).values())) == 1_001 - copies
    assert prepared.how == (
        "Rows were split by a stable hash of their features, with the same shares in each class. "
        f"All copies of the most frequent row ({copies / 10}% of the rows) are for training."
    )
    assert caplog.messages == [f"rows.csv: {prepared.how}"]


@pytest.mark.parametrize(("label", "rows", "copies"), [("y", 20_000, 9_000), ("number", 1_000, 450)])
def test_a_frequent_row_leaves_the_shares_alone_in_large_classes_and_in_a_regression(
    prepare: Prepare, label: str, rows: int, copies: int
) -> None:
    table = one_frequent_row(rows, copies, 0, number=np.random.default_rng(1).random(rows))
    prepared = prepare(table, label=label, exclude={"y", "number"} - {label})
    counts = {split: numbers.rows / rows for split, numbers in prepared.statistics.splits.items()}
    assert counts == pytest.approx({"train": 0.7, "validation": 0.15, "test": 0.15}, abs=0.01)
    assert sum(map(len, ids(prepared).values())) == rows - copies + 1


def test_many_rows_that_are_rather_frequent_are_shared_out_and_stay_together(prepare: Prepare) -> None:
    """27 rows with 1.8 % each, none of which is too heavy for a split of 15 %; classes too large to be known."""
    numbers = np.r_[np.repeat(np.arange(27), 180), np.arange(27, 5_167)]
    prepared = prepare(pd.DataFrame({"id": numbers, "y": np.arange(10_000) % 2}), label="y")
    counts = {split: numbers.rows / 10_000 for split, numbers in prepared.statistics.splits.items()}
    assert counts == pytest.approx({"train": 0.7, "validation": 0.15, "test": 0.15}, abs=0.02)
    assert sum(map(len, ids(prepared).values())) == 5_167


def test_a_class_of_one_frequent_row_is_split_by_position(prepare: Prepare, caplog: pytest.LogCaptureFixture) -> None:
    """Its copies would be missing in validation and test: 8 % of the rows for each where 15 % are wanted."""
    table = one_frequent_row(1_000, 450, 0).assign(y=["p"] * 450 + ["q"] * 550)
    prepared = prepare(table, label="y")
    counts = {split: dict(numbers.column("y").values) for split, numbers in prepared.statistics.splits.items()}
    assert counts == {
        "train": {"p": 314, "q": 384},
        "validation": {"p": 68, "q": 83},
        "test": {"p": 68, "q": 83},
    }
    assert "hash of their position, with the same shares in each class. Some rows occur so often that" in prepared.how
    assert caplog.messages == [f"rows.csv: {prepared.how}"]


def test_a_frequent_row_among_the_given_training_rows_leaves_the_open_share_alone(prepare: Prepare) -> None:
    table = one_frequent_row(1_000, 450, 0, part=["train"] * 900 + ["test"] * 100)
    prepared = prepare(table, label="y", split_column="part")
    rows = {split: numbers.rows for split, numbers in prepared.statistics.splits.items()}
    assert rows == pytest.approx({"train": 765, "validation": 135, "test": 100}, abs=1)
    assert "out of the training rows. All copies of the most frequent row (45.0% of the rows) are" in prepared.how


def test_exactly_half_that_repeats_is_not_more_than_half(prepare: Prepare) -> None:
    assert "hash of their features" in prepare(pd.concat([numbered(200)] * 2), label="y").how
    assert "hash of their position" in prepare(pd.concat([numbered(200)] * 2 + [numbered(2)]), label="y").how


def test_a_split_by_position_stays_when_rows_are_added_and_files_move(tmp_path: Path, prepare: Prepare) -> None:
    """Numbers in a regression; a column that is excluded tells the rows apart and does not take part."""

    def table(rows: int) -> pd.DataFrame:
        return pd.DataFrame({"x": [index % 5 for index in range(rows)], "y": [index + 0.5 for index in range(rows)]})

    def labels(prepared: PreparedData) -> dict[str, set[int]]:
        splits = prepared.statistics.splits
        return {
            split: {int(label) for _, label in read_split(prepared.dataset, split).as_numpy_iterator()}
            for split in splits
        }

    def files(folder: str, rows: int) -> str:
        (tmp_path / folder).mkdir()
        table(rows)[:300].to_csv(tmp_path / folder / "1.csv", index=False)
        table(rows)[300:].to_csv(tmp_path / folder / "2.csv", index=False)
        return str(tmp_path / folder / "*.csv")

    prepared = prepare(files("here", 600), label="y")
    assert prepared.how.startswith("Rows were split by a stable hash of their position. More than half repeat")
    splits = labels(prepared)
    assert sum(map(len, splits.values())) == 600
    assert {name: len(rows) / 600 for name, rows in splits.items()} == pytest.approx(
        {"train": 0.7, "validation": 0.15, "test": 0.15}, abs=0.04
    )
    more = split_of(labels(prepare(files("there", 800), label="y")))
    assert {row: more[row] for row in range(600)} == split_of(splits)
    assert labels(prepare(tmp_path / "here" / "*.csv", label="y", seed=1)) != splits


def test_what_a_given_test_leaves_open_is_taken_by_position_where_rows_repeat(tmp_path: Path, prepare: Prepare) -> None:
    titanic()[::5].to_csv(tmp_path / "test.csv", index=False)
    titanic().to_csv(tmp_path / "train.csv", index=False)
    settings = {"label": "survived", "test_source": str(tmp_path / "test.csv")}
    prepared = prepare(tmp_path / "train.csv", **settings)
    rows = {split: numbers.rows for split, numbers in prepared.statistics.splits.items()}
    assert rows["test"] == 264
    assert rows["validation"] / 1_316 == pytest.approx(0.15, abs=0.03)
    assert "the source says; validation by a stable hash of their position, out of the training rows." in prepared.how
    complete = prepare(tmp_path / "train.csv", **settings, validation_fraction=0)
    assert complete.how == "Rows were split as the source says."


def test_another_seed_gives_another_split(prepare: Prepare) -> None:
    assert ids(prepare(numbered(500), label="y")) != ids(prepare(numbered(500), label="y", seed=1))


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_one_key_is_never_on_both_sides(patients: pd.DataFrame, tmp_path: Path, prepare: Prepare, suffix: str) -> None:
    table = patients.assign(id=range(len(patients)))
    table.to_parquet(tmp_path / "rows.parquet")
    source = table if suffix == "csv" else tmp_path / "rows.parquet"
    prepared = prepare(source, label="outcome", key_column="patient", kinds=KEPT)
    sides = {split: {patients["patient"][row] for row in rows} for split, rows in ids(prepared).items()}
    assert "patient" not in prepared.schema.feature_names
    assert sum(map(len, sides.values())) == patients["patient"].nunique()
    assert min(map(len, sides.values())) >= 5


def test_keys_are_split_alike_in_every_format(patients: pd.DataFrame, tmp_path: Path, prepare: Prepare) -> None:
    table = patients.assign(id=range(len(patients)))
    table.assign(patient=table["patient"].astype(float)).to_parquet(tmp_path / "rows.parquet")
    settings: dict[str, Any] = {"label": "outcome", "key_column": "patient", "kinds": KEPT}
    assert ids(prepare(table, **settings)) == ids(prepare(tmp_path / "rows.parquet", **settings))


def test_few_keys_are_shared_out_exactly(prepare: Prepare) -> None:
    table = numbered(200, key=[f"key {i % 10}" for i in range(200)])
    splits = ids(prepare(table, label="y", key_column="key", validation_fraction=0.1, test_fraction=0.2))
    assert {split: len({row % 10 for row in rows}) for split, rows in splits.items()} == {
        "train": 7,
        "validation": 1,
        "test": 2,
    }


@pytest.mark.parametrize("as_number", [False, True])
def test_the_latest_rows_are_the_test(patients: pd.DataFrame, prepare: Prepare, as_number: bool) -> None:
    table = patients.assign(id=range(len(patients)))
    if as_number:
        table["visited"] = pd.to_datetime(table["visited"]).astype("int64")
    shuffled = table.sample(frac=1, random_state=3)
    splits = ids(prepare(shuffled, label="outcome", time_column="visited", kinds=KEPT))
    assert splits == {"train": set(range(420)), "validation": set(range(420, 510)), "test": set(range(510, 600))}


def test_one_moment_is_never_on_two_sides(prepare: Prepare) -> None:
    table = numbered(300, day=[f"2026-01-{1 + i // 30:02d}" for i in range(300)])
    splits = ids(prepare(table, label="y", time_column="day"))
    days = [{row // 30 for row in rows} for rows in splits.values()]
    assert sum(map(len, days)) == 10


def test_a_split_column_is_obeyed_with_its_common_spellings(prepare: Prepare) -> None:
    names = ["train", "Training", "val", "dev", "TEST", "holdout"]
    splits = ids(prepare(numbered(60, part=names * 10), label="y", split_column="part"))
    assert {name: {row % 6 for row in rows} for name, rows in splits.items()} == {
        "train": {0, 1},
        "validation": {2, 3},
        "test": {4, 5},
    }


def test_a_split_that_is_not_given_is_taken_from_the_training_rows(prepare: Prepare) -> None:
    table = numbered(1_000, part=["train"] * 800 + ["test"] * 200)
    splits = ids(prepare(table, label="y", split_column="part", validation_fraction=0.25))
    assert splits["test"] == set(range(800, 1_000))
    assert 150 < len(splits["validation"]) < 250
    without = ids(prepare(table, label="y", split_column="part", validation_fraction=0))
    assert list(without) == ["train", "test"]


def test_files_are_split_as_given(tmp_path: Path, prepare: Prepare) -> None:
    table = numbered(300)
    for name, rows in (("train", slice(0, 200)), ("valid", slice(200, 250)), ("test", slice(250, 300))):
        table[rows].to_csv(tmp_path / f"{name}.csv", index=False)
    splits = ids(
        prepare(
            tmp_path / "train.csv",
            label="y",
            validation_source=str(tmp_path / "valid.csv"),
            test_source=str(tmp_path / "test.csv"),
        )
    )
    assert splits == {"train": set(range(200)), "validation": set(range(200, 250)), "test": set(range(250, 300))}


def test_given_files_share_one_vocabulary_and_one_set_of_classes(tmp_path: Path, prepare: Prepare) -> None:
    pd.DataFrame({"c": ["x", "y"] * 20, "y": ["a", "b"] * 20}).to_csv(tmp_path / "train.csv", index=False)
    pd.DataFrame({"c": ["z", "x"] * 5, "y": ["c", "a"] * 5}).to_csv(tmp_path / "test.csv", index=False)
    prepared = prepare(tmp_path / "train.csv", label="y", test_source=str(tmp_path / "test.csv"))
    assert prepared.schema.feature("c").vocabulary == ("x", "y", "z")
    assert prepared.schema.class_names == ("a", "b", "c")


def test_a_given_file_with_other_columns_is_refused(tmp_path: Path, prepare: Prepare) -> None:
    numbered(40).to_csv(tmp_path / "train.csv", index=False)
    numbered(10).drop(columns="y").to_csv(tmp_path / "test.csv", index=False)
    with pytest.raises(InvalidData, match=r"test_source test\.csv lacks columns that train\.csv has: y"):
        prepare(tmp_path / "train.csv", label="y", test_source=str(tmp_path / "test.csv"))


def test_a_class_that_is_never_trained_on_is_warned_of(prepare: Prepare, caplog: pytest.LogCaptureFixture) -> None:
    table = pd.DataFrame({"id": range(100), "day": range(100), "y": ["old"] * 50 + ["mid"] * 30 + ["new"] * 20})
    prepare(table, label="y", time_column="day")
    assert caplog.messages == ["classes without a training row, which no model can learn: new"]


def test_splits_of_zero_are_left_out(prepare: Prepare) -> None:
    prepared = prepare(numbered(50), label="y", validation_fraction=0, test_fraction=0)
    assert list(prepared.statistics.splits) == ["train"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"validation_fraction": 0.6, "test_fraction": 0.4}, "leave nothing to train on; their sum must be below 1"),
        ({"test_fraction": 1.5}, "data.test_fraction must be below 1, got 1.5"),
        ({"key_column": "id", "time_column": "t"}, "data.key_column and data.time_column are different ways to split"),
        (
            {"split_column": "s", "test_source": "t.csv"},
            "data.test_source are different ways to split",
        ),
        ({"label": "y", "key_column": "y"}, "'y' cannot be label or weight and also excluded or used to split"),
        ({"task": "clasification"}, "got 'clasification'; did you mean 'classification'"),
        ({"label": "y", "task": "none"}, "task none has no label, but label is 'y'"),
        ({"reference_above_mb": -1}, "reference_above_mb must be at least 0, got -1"),
    ],
)
def test_settings_that_contradict_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidSetting, match=message):
        PrepareSettings(**settings)  # type: ignore[arg-type]  # parametrized


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            ["train", "tset"],
            r"rows\.csv, row 2: data\.split_column 'part' must hold train, validation, test, got 'tset'; did",
        ),
        (["train", None], r"row 2: data\.split_column 'part' must hold .*, got ''; fill it in"),
        (["test", "test"], r"the train split is empty \(train: 0, validation: 0, test: 40\)"),
    ],
)
def test_split_columns_with_other_values_are_refused(prepare: Prepare, values: list[str | None], message: str) -> None:
    with pytest.raises(InvalidData, match=message):
        prepare(numbered(40, part=values * 20), label="y", split_column="part")


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("key_column", [1, None], r"row 2: data\.key_column 'k' has no value; give every row a key"),
        (
            "time_column",
            ["2026-01-01", "soon"],
            r"row 2: data\.time_column 'k' must hold numbers, or dates written alike",
        ),
        ("time_column", ["2026-01-01", None], r"row 2: data\.time_column 'k' has no value"),
        ("key_column", ["one", "one"], r"the validation split by key_column 'k' is empty|the train split is empty"),
        ("time_column", [5, 5], r"the train split is empty \(train: 0"),
    ],
)
def test_columns_that_cannot_split_are_explained(
    prepare: Prepare, column: str, values: list[object], message: str
) -> None:
    with pytest.raises(InvalidData, match=message):
        prepare(numbered(40, k=values * 20), label="y", **{column: "k"})


def test_an_empty_split_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    pd.DataFrame({"x": range(2), "y": [1.5, 2.5]}).to_csv(tmp_path / "rows.csv", index=False)
    settings = PrepareSettings(label="y", validation_fraction=0.01)
    with pytest.raises(
        InvalidData, match=r"the validation split is empty \(.*raise data\.validation_fraction above 0\.01, or"
    ):
        prepare_data(tmp_path / "rows.csv", tmp_path / "dataset", settings)
    assert [path.name for path in tmp_path.iterdir()] == ["rows.csv"]


def test_a_split_column_that_is_not_there_is_corrected(prepare: Prepare) -> None:
    with pytest.raises(InvalidSetting, match=r"key_column names the column 'patiant', which rows\.csv lacks; did you"):
        prepare(numbered(40, patient=1), label="y", key_column="patiant")


def test_the_digits_are_split_with_every_class_alike(digits_dataset: Path) -> None:
    from trainwright_components.datasets.statistics import Statistics

    statistics = Statistics.load(digits_dataset)
    assert {split: statistics.split(split).rows for split in SPLITS} == {"train": 1_259, "validation": 269, "test": 269}
    assert Counter(statistics.split("test").column("digit").values.values()).keys() <= {26, 27, 28}
