"""Tuning a real model on real data, as a library call and as a KFP step, and what bad modules get to hear."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kfp import dsl

from trainwright_components.errors import InvalidModule, InvalidSetting, TrainingFailed, UserCodeError
from trainwright_components.hyperparameter_tune.component import hyperparameter_tune
from trainwright_components.hyperparameter_tune.tune import tune_model
from trainwright_components.processes.warm_parent import SOCKET_VARIABLE, WarmParent

MODULE = """
import keras

DEFAULT_PARAMS = {"units": 2, "learning_rate": 0.01, "activation": "relu"}
SEARCH_SPACE = {"units": {"type": "discrete", "values": [2, 32]}}

def build_model(context):
    keras.backend.clear_session()
    shape = context.schema.features[0].shape
    image = keras.Input(shape=shape, name=context.schema.features[0].name)
    flat = keras.layers.Flatten()(keras.layers.Rescaling(1 / 16)(image))
    hidden = keras.layers.Dense(context.params["units"], activation=context.params["activation"])(flat)
    model = keras.Model({image.name: image}, keras.layers.Dense(10, activation="softmax")(hidden))
    optimizer = keras.optimizers.Adam(context.params["learning_rate"])
    model.compile(optimizer=optimizer, loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model
"""

TUNING: dict[str, Any] = {"metric": "val_accuracy", "goal": "MAXIMIZE", "algorithm": "GRID_SEARCH"}


@pytest.fixture(scope="module", autouse=True)
def warm_tensorflow() -> Iterator[None]:
    """One process with TensorFlow imported for all studies of this file."""
    with pytest.MonkeyPatch.context() as patch, WarmParent.start() as parent:
        patch.setenv(SOCKET_VARIABLE, str(parent.address))
        yield


@pytest.fixture(scope="module")
def module_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("module") / "small.py"
    file.write_text(MODULE)
    return file


def test_a_goal_that_no_trial_can_give_is_refused_before_an_epoch_is_trained(
    module_file: Path, digits_dataset: Path, tmp_path: Path
) -> None:
    tuning = {**TUNING, "metric": "val_acuracy", "max_trial_count": 1}
    with pytest.raises(TrainingFailed, match=r"unknown metric 'val_acuracy' in tuning\.metric; .*val_accuracy"):
        tune_model(digits_dataset, module_file, tmp_path / "study", training={"epochs": 10**6}, tuning=tuning)


@pytest.fixture(scope="module")
def outputs(module_file: Path, digits_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the KFP step left."""
    folder = tmp_path_factory.mktemp("outputs")
    made: dict[str, Any] = {
        "model": dsl.Model(uri=str(folder / "model")),
        "metrics": dsl.Metrics(uri=str(folder / "metrics")),
        "study": dsl.Artifact(uri=str(folder / "study")),
        "report": dsl.HTML(uri=str(folder / "report.html")),
    }
    (best_params,) = hyperparameter_tune.python_func(
        dataset=dsl.Dataset(uri=str(digits_dataset)),
        module=dsl.Artifact(uri=str(module_file)),
        params={"learning_rate": 0.02},
        training={"epochs": 3},
        tuning=TUNING,
        **made,
    )
    return {**made, "best_params": best_params}


def test_the_larger_network_wins_on_real_digits(outputs: dict[str, Any]) -> None:
    assert outputs["best_params"] == {"units": 32, "learning_rate": 0.02, "activation": "relu"}
    assert outputs["metrics"].metadata["val_accuracy"] > 0.85  # two hidden units stay far below
    assert outputs["metrics"].metadata["trials"] == 2


def test_the_best_model_alone_is_kept_and_is_the_one_with_the_best_parameters(outputs: dict[str, Any]) -> None:
    assert json.loads(Path(outputs["model"].path, "params.json").read_text()) == outputs["best_params"]
    assert Path(outputs["model"].path, "model.keras").is_file()
    kept = Path(outputs["study"].path, "trials").glob("*/model")
    assert [path.parent.name for path in kept] == ["2"]


def test_all_that_was_in_effect_is_on_record_and_on_the_page(outputs: dict[str, Any]) -> None:
    found = outputs["model"].metadata["hyperparameters"]
    assert found["params"] == {"units": 32, "learning_rate": 0.02, "activation": "relu"}
    assert (found["training"]["batch_size"], found["training"]["seed"]) == (64, 0)
    assert found["epochs_done"] == found["training"]["epochs"]
    page = Path(outputs["report"].path).read_text().replace(' class="number"', "")
    assert "<td>params.activation</td><td>relu</td>" in page
    assert "<td>training.batch_size</td><td>64</td>" in page


def test_the_report_has_the_learning_curves(outputs: dict[str, Any]) -> None:
    assert "Learning curves" in Path(outputs["report"].path).read_text()


def test_each_trial_has_a_measurement_per_epoch(outputs: dict[str, Any]) -> None:
    record = json.loads(Path(outputs["study"].path, "study.json").read_text())
    steps = [[measurement["stepCount"] for measurement in trial["measurements"]] for trial in record["trials"]]
    assert steps == [["1", "2", "3"], ["1", "2", "3"]]


@pytest.mark.parametrize(
    ("tuning", "message"),
    [
        (
            {"search_space": {"unit": {"type": "discrete", "values": [1]}}},
            r"search_space\.unit is not in DEFAULT_PARAMS of the module; did you mean 'units'\?",
        ),
        ({"search_space": {"units": {"type": "discrete"}}}, r"search_space\.units needs a list of values"),
    ],
)
def test_a_bad_space_is_refused_before_any_trial(
    module_file: Path, digits_dataset: Path, tmp_path: Path, tuning: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidSetting, match=message):
        tune_model(digits_dataset, module_file, tmp_path / "study", tuning={**TUNING, **tuning})
    assert not (tmp_path / "study").exists()


def test_a_missing_module_is_refused_before_any_trial(digits_dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidModule, match=r"no model module at .*absent\.py"):
        tune_model(digits_dataset, tmp_path / "absent.py", tmp_path / "study", tuning=TUNING)


def test_an_error_in_every_trial_shows_the_users_own_lines(digits_dataset: Path, tmp_path: Path) -> None:
    module = tmp_path / "broken.py"
    module.write_text(MODULE.replace('context.params["units"],', 'context.params["unit"],'))
    with pytest.raises(
        UserCodeError, match=r"2 of 2 trials failed, none succeeded: build_model of broken\.py"
    ) as caught:
        tune_model(digits_dataset, module, tmp_path / "study", training={"epochs": 1}, tuning=TUNING)
    assert 'context.params["unit"]' in caught.value.user_traceback
    assert "keras/src" not in caught.value.user_traceback


@pytest.mark.slow
def test_a_model_that_hangs_in_c_with_sigterm_blocked_costs_its_trial_alone(
    digits_dataset: Path, tmp_path: Path
) -> None:
    hang = """    if context.params["units"] == 2:
        import ctypes, signal
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        ctypes.PyDLL(None).sleep(600)
    model = keras.Model("""
    module = tmp_path / "hanging.py"
    module.write_text(MODULE.replace("    model = keras.Model(", hang))
    tuning = {**TUNING, "max_trial_duration_s": 30, "parallel_trial_count": 2}
    result = tune_model(digits_dataset, module, tmp_path / "study", training={"epochs": 1}, tuning=tuning)
    assert result.best_params["units"] == 32
    assert [trial.reason for trial in result.study.trials] == [
        "the trial ran longer than 30 s (tuning.max_trial_duration_s) and was ended",
        "",
    ]
    assert result.numbers()["failed_trials"] == 1


def test_a_module_that_hangs_on_import_is_given_up_at_the_limit(digits_dataset: Path, tmp_path: Path) -> None:
    module = tmp_path / "endless.py"
    module.write_text("import time; time.sleep(600)")
    with pytest.raises(
        TrainingFailed, match=r"importing .*endless.py took longer than 1 s, the limit of tuning\.max_t"
    ):
        tune_model(digits_dataset, module, tmp_path / "study", tuning={**TUNING, "max_trial_duration_s": 1})


def test_the_controller_does_not_import_tensorflow() -> None:
    code = "import sys, trainwright_components.hyperparameter_tune.tune; print('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
