"""The KFP half runs as a task would run it."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from kfp import dsl

from trainwright_components.errors import InvalidSetting
from trainwright_components.prepare_data.component import prepare_data
from trainwright_components.prepare_data.settings import PrepareSettings


def test_the_component_writes_dataset_report_and_metadata(tmp_path: Path) -> None:
    pd.DataFrame({"x": range(100), "k": range(100), "y": ["a", "b"] * 50}).to_csv(tmp_path / "rows.csv", index=False)
    dataset = dsl.Dataset(uri=str(tmp_path / "dataset"))
    report = dsl.HTML(uri=str(tmp_path / "report"))
    prepare_data.python_func(
        dataset=dataset,
        report=report,
        source=str(tmp_path / "rows.csv"),
        label="y",
        data={"exclude": ["k"], "test_fraction": 0.2},
    )
    assert dataset.metadata == {"rows": {"train": 64, "validation": 16, "test": 20}, "is_referenced": False}
    assert (tmp_path / "report").read_text().startswith("<!doctype html>")
    assert json.loads((tmp_path / "dataset" / "schema.json").read_text())["features"][0]["name"] == "x"


def test_an_empty_group_is_the_default_of_every_setting() -> None:
    inputs = prepare_data.component_spec.inputs
    assert {name: port.default for name, port in inputs.items()} == {"source": "digits", "label": "", "data": {}}
    assert PrepareSettings.from_mapping({}, label="y") == PrepareSettings(label="y")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"time_colum": "t"}, "no data setting 'time_colum'; did you mean 'time_column'"),
        ({"label": "y"}, "no data setting 'label'; it is the parameter 'label'"),
        ({"exclude": {"k": 1}}, r"data\.exclude must be a string, got \{'k': 1\}"),
        ({"test_fraction": "half"}, r"data\.test_fraction must be a number, got 'half'"),
        ({"test_fraction": 1.5}, r"data\.test_fraction must be below 1, got 1\.5"),
        ({"task": "classify"}, r"data\.task must be one of auto, classification"),
    ],
)
def test_a_group_that_cannot_be_used_fails_the_step(data: dict[str, Any], message: str, tmp_path: Path) -> None:
    """A form in KFP's pages checks nothing."""
    outputs = {"dataset": dsl.Dataset(uri=str(tmp_path / "dataset")), "report": dsl.HTML(uri=str(tmp_path / "report"))}
    with pytest.raises(InvalidSetting, match=message):
        prepare_data.python_func(**outputs, source="iris", data=data)
