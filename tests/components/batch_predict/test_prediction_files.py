"""What is written beside numbers."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from trainwright_components.batch_predict.prediction_files import WRITERS

COLUMNS = {"score": np.array([0.5, np.nan, np.inf]), "both": np.array([[1, np.nan], [2, -np.inf], [3, 4]], np.float32)}


def test_json_lines_hold_null_for_what_json_has_not(tmp_path: Path) -> None:
    with WRITERS["jsonl"](tmp_path / "rows.jsonl") as writer:
        writer.write(COLUMNS)
    lines = (tmp_path / "rows.jsonl").read_text().splitlines()
    rows = [json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is not valid JSON")) for line in lines]
    assert [row["score"] for row in rows] == [0.5, None, None]
    assert [row["both"] for row in rows] == [[1, None], [2, None], [3, 4]]


def test_arrays_in_csv_are_valid_json(tmp_path: Path) -> None:
    with WRITERS["csv"](tmp_path / "rows.csv") as writer:
        writer.write(COLUMNS)
    with (tmp_path / "rows.csv").open() as file:
        rows = [*csv.DictReader(file)]
    assert [row["score"] for row in rows] == ["0.5", "", "inf"]
    assert [json.loads(row["both"]) for row in rows] == [[1.0, None], [2.0, None], [3.0, 4.0]]
    assert "NaN" not in (tmp_path / "rows.csv").read_text()
