"""The KFP half runs as a task would run it."""

import json
from pathlib import Path

import pandas as pd
from kfp import dsl

from trainwright_components.prepare_data.component import prepare_data
from trainwright_components.prepare_data.settings import PrepareSettings


def test_the_component_writes_dataset_report_and_metadata(tmp_path: Path) -> None:
    pd.DataFrame({"x": range(100), "k": range(100), "y": ["a", "b"] * 50}).to_csv(tmp_path / "rows.csv", index=False)
    dataset = dsl.Dataset(uri=str(tmp_path / "dataset"))
    report = dsl.HTML(uri=str(tmp_path / "report"))
    prepare_data.python_func(
        dataset=dataset, report=report, source=str(tmp_path / "rows.csv"), label="y", exclude=["k"], test_fraction=0.2
    )
    assert dataset.metadata == {"rows": {"train": 64, "validation": 16, "test": 20}, "is_referenced": False}
    assert (tmp_path / "report").read_text().startswith("<!doctype html>")
    assert json.loads((tmp_path / "dataset" / "schema.json").read_text())["features"][0]["name"] == "x"


def test_the_component_takes_every_setting_with_the_same_default() -> None:
    inputs = dict(prepare_data.component_spec.inputs)
    assert inputs.pop("source").default == "digits"
    defaults = PrepareSettings()
    assert set(inputs) == set(PrepareSettings.__dataclass_fields__)
    for name, port in inputs.items():
        expected = getattr(defaults, name)
        assert port.default == (list(expected) if isinstance(expected, tuple) else expected), name
