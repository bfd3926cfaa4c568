"""The steps as functions, called as a person calls them: text for paths, settings of their classes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import trainwright
from trainwright import (
    Budget,
    EvaluationSettings,
    InvalidSetting,
    PredictSettings,
    PrepareSettings,
    QuantizationSettings,
    TrainingSettings,
    TuningSettings,
)

MODULE = trainwright.shipped_modules()["tabular_classifier"]
MAPPING: Any = {"split": "test"}
LIST: Any = [1]


# Keras 3.15 asks NumPy 2 for copies in a way that it warns of.
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning")
def test_every_step_takes_paths_as_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    prepared = trainwright.prepare("iris", "dataset", PrepareSettings(test_fraction=0.2))
    assert prepared.dataset == Path("dataset")
    assert sum(1 for _ in trainwright.read_split("dataset", "test")) == prepared.statistics.split("test").rows

    training = TrainingSettings(epochs=1)
    trained = trainwright.train("dataset", str(MODULE), "model", training=training, log_dir="logs", report="page.html")
    assert (trained.steps > 0, Path("page.html").is_file()) == (True, True)
    settings = EvaluationSettings(thresholds={"accuracy": 0.0})
    assert trainwright.evaluate("model", "dataset", settings=settings).is_blessed

    trainwright.export("model", "dataset", "saved_model", golden="golden.jsonl", card="card.md")
    assert all(Path(name).is_file() for name in ("saved_model/saved_model.pb", "golden.jsonl", "card.md"))
    quantization = QuantizationSettings(modes=("float16",), budget=Budget(max_size_bytes=1_000_000))
    trainwright.quantize("saved_model", "dataset", "model.tflite", settings=quantization).require_budget()
    scored = trainwright.batch_predict("saved_model", "dataset", "scored", PredictSettings(split="test"))
    assert scored.file.is_file()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: trainwright.prepare("iris", "out", MAPPING), r"must be made with PrepareSettings\("),
        (lambda: trainwright.evaluate("m", "d", settings=MAPPING), r"must be made with EvaluationSettings\("),
        (
            lambda: trainwright.quantize("m", "d", "o", settings=MAPPING),
            r"must be made with QuantizationSettings\(",
        ),
        (
            lambda: trainwright.batch_predict("m", "iris", "o", MAPPING),
            r"must be made with PredictSettings\(",
        ),
        (lambda: trainwright.train("d", MODULE, "o", training=LIST), r"training must be a mapping, got \[1\]"),
        (lambda: trainwright.train("d", MODULE, "o", cluster=LIST), r"cluster must be a mapping, got \[1\]"),
        (lambda: trainwright.tune(MODULE, "d", "o", tuning=LIST), r"tuning must be a mapping, got \[1\]"),
        (lambda: trainwright.tune(MODULE, "d", "o", training=LIST), r"training must be a mapping, got \[1\]"),
        (lambda: trainwright.train("d", MODULE, "o", params=LIST), r"params must be a mapping, got \[1\]"),
        (lambda: trainwright.tune(MODULE, "d", "o", params=LIST), r"params must be a mapping, got \[1\]"),
        (lambda: TuningSettings(metric="val_accuracy"), "tuning.goal is missing: say MAXIMIZE or MINIMIZE"),
    ],
)
def test_settings_of_another_form_are_refused(
    call: Callable[[], Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidSetting, match=message):
        call()
    assert not list(tmp_path.iterdir())
