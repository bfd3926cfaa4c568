"""The steps as functions, called as a person calls them: text for paths, settings of their classes."""

import inspect
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import trainwright
from trainwright import (
    Budget,
    ClusterSpec,
    EvaluationSettings,
    InvalidSetting,
    PredictSettings,
    PrepareSettings,
    QuantizationSettings,
    TrainingSettings,
    TuningSettings,
)
from trainwright_components.settings import given_settings

MODULE = trainwright.shipped_modules()["tabular_classifier"]
LIST: Any = [1]
SHUFFLE = TrainingSettings(shuffle="no")  # type: ignore[arg-type]
KINDS = PrepareSettings(kinds=3)  # type: ignore[arg-type]


# Keras 3.15 asks NumPy 2 for copies in a way that it warns of.
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning")
def test_every_step_takes_paths_as_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    prepared = trainwright.prepare("iris", "dataset", PrepareSettings(test_fraction=0.2))
    assert prepared.dataset == Path("dataset")
    assert sum(1 for _ in trainwright.read_split("dataset", "test")) == prepared.statistics.split("test").rows

    training = TrainingSettings(epochs=1)
    trained = trainwright.train("dataset", str(MODULE), "model", training=training, log_dir="logs", report="page.html")
    assert (trained.steps > 0, Path("page.html").is_file()) == (True, True)
    asked = {"thresholds": {"accuracy": 0.0}, "allow_below_baseline": True}
    evaluated = trainwright.evaluate("model", "dataset", settings=EvaluationSettings.from_mapping(asked))
    assert evaluated.is_blessed
    by_name = trainwright.evaluate(
        "model", "dataset", settings={"thresholds": {"accuracy": 0.0}, "allow_below_baseline": True}
    )
    assert by_name.metrics == evaluated.metrics

    trainwright.export("model", "dataset", "saved_model", golden="golden.jsonl", card="card.md")
    assert all(Path(name).is_file() for name in ("saved_model/saved_model.pb", "golden.jsonl", "card.md"))
    quantization = QuantizationSettings(modes=("float16",), budget=Budget(max_size_bytes=1_000_000))
    trainwright.quantize("saved_model", "dataset", "model.tflite", settings=quantization).require_budget()
    scored = trainwright.batch_predict("saved_model", "dataset", "scored", PredictSettings(split="test"))
    assert scored.file.is_file()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: trainwright.prepare("iris", "out", LIST), r"data must be a mapping, got \[1\]"),
        (lambda: trainwright.evaluate("m", "d", settings=LIST), r"evaluation must be a mapping, got \[1\]"),
        (lambda: trainwright.quantize("m", "d", "o", settings=LIST), r"quantization must be a mapping, got \[1\]"),
        (lambda: trainwright.batch_predict("m", "iris", "o", LIST), r"prediction must be a mapping, got \[1\]"),
        (lambda: trainwright.prepare("iris", "out", {"kind": {}}), "no data setting 'kind'; did you mean 'kinds'"),
        (lambda: trainwright.prepare("iris", "out", {"label": 3}), "label must be a string, got 3"),
        (lambda: trainwright.evaluate("m", "d", settings={"slice": ["a"]}), "did you mean 'slices'"),
        (
            lambda: trainwright.evaluate("m", "d", settings={"champion_base_path": 3}),
            "champion_base_path must be a string",
        ),
        (lambda: trainwright.quantize("s", "d", "o", settings={"mode": "int8"}), "did you mean 'modes'"),
        (lambda: trainwright.batch_predict("s", "r", "o", {"batch": 3}), "did you mean 'batch_size'"),
        (lambda: trainwright.train("d", MODULE, "o", training=LIST), r"training must be a mapping, got \[1\]"),
        (lambda: trainwright.train("d", MODULE, "o", cluster=LIST), r"cluster must be a mapping, got \[1\]"),
        (lambda: trainwright.tune("d", MODULE, "o", tuning=LIST), r"tuning must be a mapping, got \[1\]"),
        (lambda: trainwright.tune("d", MODULE, "o", training=LIST), r"training must be a mapping, got \[1\]"),
        (lambda: trainwright.train("d", MODULE, "o", params=LIST), r"params must be a mapping, got \[1\]"),
        (lambda: trainwright.tune("d", MODULE, "o", params=LIST), r"params must be a mapping, got \[1\]"),
        (
            lambda: trainwright.train("d", MODULE, "o", training=SHUFFLE),
            r"TrainingSettings\.shuffle must be .*, got 'no'",
        ),
        (lambda: trainwright.prepare("iris", "out", KINDS), r"PrepareSettings\.kinds must be a mapping, got 3"),
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


def test_settings_are_given_by_name_also_those_that_a_parameter_of_its_own_gives_in_a_pipeline() -> None:
    values = {"label": "y", "test_fraction": 0.2}
    assert given_settings(PrepareSettings, values) == PrepareSettings(label="y", test_fraction=0.2)
    with pytest.raises(InvalidSetting, match="it is the parameter 'label'"):
        PrepareSettings.from_mapping(values)


def test_settings_that_were_made_with_plain_values_have_the_types_of_their_fields() -> None:
    made = QuantizationSettings(modes="int8", budget={"max_size_bytes": 3})  # type: ignore[arg-type]
    assert given_settings(QuantizationSettings, made) == QuantizationSettings(
        modes=("int8",), budget=replace(QuantizationSettings().budget, max_size_bytes=3.0)
    )
    cluster = ClusterSpec.from_mapping({"worker": 2, "ps": {"replicas": 1, "machine": "e2"}})
    assert given_settings(ClusterSpec, cluster) == cluster


@pytest.mark.parametrize("name", [name for name in trainwright.__all__ if name.islower()])
def test_every_path_may_be_text_and_all_settings_a_mapping(name: str) -> None:
    for parameter in inspect.signature(getattr(trainwright, name)).parameters.values():
        kind = str(parameter.annotation)
        assert "pathlib.Path" not in kind or "str | pathlib.Path" in kind, parameter
        if "Settings" in kind or "ClusterSpec" in kind:
            assert kind.endswith("Mapping[str, typing.Any] | None"), parameter


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: trainwright.deploy("absent", "absent", model_name="m"), "absent holds no saved_model.pb"),
        (lambda: trainwright.predict("m", [{"a": 1}], home="home"), "'m'"),
        (lambda: trainwright.predict("m", {"a": 1}), r"rows must be a list of rows, got \{'a': 1\}; put one row in a"),  # type: ignore[arg-type]
        (lambda: trainwright.predict("m", "a"), "rows must be a list of rows, got 'a'"),
        (lambda: trainwright.run(Path("absent.yaml")), "no file absent.yaml"),
        (lambda: trainwright.submit(Path("absent.yaml")), "no file absent.yaml"),
        (lambda: trainwright.compile(Path("absent.yaml"), "out"), "no file absent.yaml"),
        (lambda: trainwright.get_run("absent", home="gs://bucket"), "home must be a path on this machine"),
    ],
)
def test_what_cannot_be_used_is_an_error_of_the_tree(
    call: Callable[[], Any], named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRAINWRIGHT_HOME", str(tmp_path / "home"))
    with pytest.raises(trainwright.TrainwrightError, match=named):
        call()
