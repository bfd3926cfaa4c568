"""Every row is scored as the model scores it alone, whatever the rows come from."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from trainwright_components.batch_predict.predict import PredictSettings, predict_rows
from trainwright_components.datasets.statistics import Statistics
from trainwright_components.errors import InvalidData, InvalidSetting

CLASSES = ("class_0", "class_1", "class_2")


def expected_probabilities(table: pd.DataFrame) -> np.ndarray:
    strong = np.where(table["strength"] == "strong", 13.0, 0.0)
    logits = np.stack([table["alcohol"], table["ash"].fillna(0), strong], axis=1)
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(exponents / exponents.sum(axis=1, keepdims=True))


def read_lines(path: Path) -> list[Mapping[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def probabilities_of(rows: list[Mapping[str, object]]) -> np.ndarray:
    return np.array([[row[f"probability_{name}"] for name in CLASSES] for row in rows])


@pytest.fixture(scope="session")
def unlabelled(tabular_csv: Path) -> pd.DataFrame:
    return pd.read_csv(tabular_csv).drop(columns="cultivar")


@pytest.mark.parametrize("batch_size", [7, 1_000])
def test_rows_are_scored_in_order_with_class_names(
    wine_model: Path, tabular_csv: Path, tmp_path: Path, batch_size: int
) -> None:
    settings = PredictSettings(batch_size=batch_size, keep_columns=("strength", "hue"))
    scored = predict_rows(wine_model, tabular_csv, tmp_path / "out", settings)
    rows = read_lines(scored.file)
    table = pd.read_csv(tabular_csv)
    expected = expected_probabilities(table)
    assert scored.rows == len(rows) == 178
    assert [row["row"] for row in rows] == list(range(1, 179))
    np.testing.assert_allclose(probabilities_of(rows), expected, atol=1e-6)
    assert [row["prediction"] for row in rows] == [CLASSES[index] for index in expected.argmax(axis=1)]
    assert [row["strength"] for row in rows[:20]] == [None, *table["strength"][1:20]]
    assert "178 rows were scored" in scored.report_html


@pytest.mark.parametrize("suffix", ["csv", "csv.gz", "jsonl", "parquet"])
def test_tables_need_no_label(wine_model: Path, unlabelled: pd.DataFrame, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"rows.{suffix}"
    if suffix.startswith("csv"):
        unlabelled.to_csv(path, index=False)
    elif suffix == "jsonl":
        unlabelled.to_json(path, orient="records", lines=True)
    else:
        unlabelled.to_parquet(path)
    rows = read_lines(predict_rows(wine_model, path, tmp_path / "out").file)
    np.testing.assert_allclose(probabilities_of(rows), expected_probabilities(unlabelled), atol=1e-6)


@pytest.mark.parametrize("output_format", ["csv", "parquet"])
def test_other_output_formats_hold_the_same_numbers(
    wine_model: Path, unlabelled: pd.DataFrame, tabular_csv: Path, tmp_path: Path, output_format: str
) -> None:
    scored = predict_rows(wine_model, tabular_csv, tmp_path / "out", PredictSettings(output_format=output_format))
    read = pd.read_csv if output_format == "csv" else pd.read_parquet
    table = read(scored.file)
    columns = [f"probability_{name}" for name in CLASSES]
    np.testing.assert_allclose(table[columns], expected_probabilities(unlabelled), atol=1e-6)
    assert list(table)[:3] == ["row", "prediction", "probability"]


def test_a_split_of_a_prepared_dataset_keeps_its_true_labels(
    wine_model: Path, tabular_dataset: Path, tmp_path: Path
) -> None:
    scored = predict_rows(wine_model, tabular_dataset, tmp_path / "out", PredictSettings(split="test"))
    rows = read_lines(scored.file)
    counts = Statistics.load(tabular_dataset).split("test").column("cultivar").values
    assert {name: sum(row["cultivar"] == name for row in rows) for name in CLASSES} == dict(counts)
    assert {row["split"] for row in rows} == {"test"}


def test_a_model_without_a_schema_is_asked_by_its_signature(plain_model: Path, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"x": 1, "z": [0.5, 2], "id": "a"}\n{"x": 4, "z": [1, 1.25], "id": "b"}\n')
    rows = read_lines(predict_rows(plain_model, path, tmp_path / "out", PredictSettings(keep_columns=("id",))).file)
    assert rows == [{"row": 1, "id": "a", "prediction": 4.5}, {"row": 2, "id": "b", "prediction": 10.25}]


def test_a_missing_column_is_named_with_what_was_meant(
    wine_model: Path, unlabelled: pd.DataFrame, tmp_path: Path
) -> None:
    unlabelled.rename(columns={"alcohol": "alcohool"}).to_csv(tmp_path / "rows.csv", index=False)
    with pytest.raises(InvalidData, match=r"lacks columns that the model takes: alcohol; did you mean 'alcohool'"):
        predict_rows(wine_model, tmp_path / "rows.csv", tmp_path / "out")


def test_a_bad_value_stops_the_run_and_leaves_nothing(
    wine_model: Path, unlabelled: pd.DataFrame, tmp_path: Path
) -> None:
    table = unlabelled.astype({"hue": object})
    table.loc[41, "hue"] = "red"
    table.to_csv(tmp_path / "rows.csv", index=False)
    with pytest.raises(InvalidData, match=r"rows\.csv, row 42: column 'hue' must be a number, got 'red'"):
        predict_rows(wine_model, tmp_path / "rows.csv", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["rows.csv"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"output_format": "jsonlines"}, r"output_format 'jsonlines' is not known; did you mean 'jsonl'"),
        ({"batch_size": 0}, r"batch_size must be at least 1, got 0"),
        ({"signature": "serving_defalt"}, r"has no signature 'serving_defalt'; did you mean 'serving_default'"),
        ({"keep_columns": ("aash",)}, r"keep_columns names 'aash'.*did you mean 'ash'"),
        ({"split": "test"}, r"split 'test' can be chosen from a prepared dataset only"),
    ],
)
def test_settings_that_cannot_be_used_are_explained(
    wine_model: Path, tabular_csv: Path, tmp_path: Path, settings: dict[str, object], message: str
) -> None:
    with pytest.raises(InvalidSetting, match=message):
        predict_rows(wine_model, tabular_csv, tmp_path / "out", PredictSettings(**settings))  # type: ignore[arg-type]  # parametrized


def test_a_folder_without_a_saved_model_is_refused(tabular_csv: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting, match=r"holds no SavedModel; give the folder with saved_model\.pb"):
        predict_rows(tmp_path, tabular_csv, tmp_path / "out")
