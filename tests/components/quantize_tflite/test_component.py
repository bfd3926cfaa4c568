"""What the KFP half records, also when it fails."""

from pathlib import Path
from typing import Any

import pytest
from kfp import dsl

from trainwright_components.errors import BudgetExceeded, InvalidSetting
from trainwright_components.quantize_tflite.component import quantize_tflite


def test_outputs_are_there_before_the_budget_fails_the_step(
    digits_saved_model: Path, digits_dataset: Path, tmp_path: Path
) -> None:
    tflite, metrics = dsl.Model(uri=str(tmp_path / "model")), dsl.Metrics(uri=str(tmp_path / "metrics"))
    with pytest.raises(BudgetExceeded):
        quantize_tflite.python_func(
            saved_model=dsl.Model(uri=str(digits_saved_model)),
            dataset=dsl.Dataset(uri=str(digits_dataset)),
            tflite_model=tflite,
            metrics=metrics,
            report=dsl.HTML(uri=str(tmp_path / "report")),
            quantization={"modes": ["dynamic_range"], "budget": {"max_size_bytes": 10}, "max_rows": 10},
        )
    assert (tmp_path / "model").stat().st_size == tflite.metadata["size_bytes"] == metrics.metadata["size_bytes"]
    assert tflite.metadata["is_within_budget"] is False
    assert metrics.metadata["modes"][0]["mode"] == "dynamic_range"
    assert "over budget" in (tmp_path / "report").read_text()


@pytest.mark.parametrize(
    ("quantization", "message"),
    [
        ({"mode": "int8"}, "no quantization setting 'mode'; did you mean 'modes'"),
        ({"budget": {"max_size": 1}}, r"no quantization\.budget setting 'max_size'; did you mean 'max_size_bytes'"),
        ({"enabled": False}, r"quantization\.enabled is false, but this step runs: put it under dsl\.If on evaluate's"),
    ],
)
def test_a_group_that_cannot_be_used_fails_the_step(quantization: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting, match=message):
        quantize_tflite.python_func(
            saved_model=dsl.Model(uri=str(tmp_path)),
            dataset=dsl.Dataset(uri=str(tmp_path)),
            tflite_model=dsl.Model(uri=str(tmp_path / "model")),
            metrics=dsl.Metrics(uri=str(tmp_path / "metrics")),
            report=dsl.HTML(uri=str(tmp_path / "report")),
            quantization=quantization,
        )
