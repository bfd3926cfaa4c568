"""Strategies are a setting: each gives what one device gives, and what cannot be is refused before training starts."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trainwright_components.errors import InvalidModule, InvalidSetting, TrainingFailed, TrainwrightError
from trainwright_components.train_distributed.train import train_model
from trainwright_components.training.configuration.settings import TrainingSettings
from trainwright_components.training.result import TrainingResult, read_result
from trainwright_components.training.strategies.choice import find_strategy

PLAIN = Path(__file__).parent / "modules" / "plain.py"
TRAINING = {"epochs": 7, "batch_size": 10, "seed": 2}
FRESH_PROCESS = {"chief": 1}


@pytest.fixture(scope="session")
def on_one_device(small_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainingResult:
    return train_model(small_dataset, PLAIN, tmp_path_factory.mktemp("plain") / "model", training=TRAINING)


def test_trainings_of_one_process_share_a_mirrored_strategy() -> None:
    strategy, settings = find_strategy("mirrored"), TrainingSettings(strategy="mirrored")
    assert strategy.make(settings) is strategy.make(settings)


@pytest.mark.parametrize(
    ("training", "strategy", "replicas"),
    [
        ({"devices": {"use": ["CPU:1"]}}, "one_device", 1),
        ({"devices": {"use": ["CPU:1", "CPU:2"]}}, "mirrored", 2),
        ({"communication": {"all_reduce": "reduction_to_one_device"}}, "mirrored", 3),
        ({"strategy": "central_storage"}, "central_storage", 3),
        ({"placement": {"fir*": "CPU:1", "last": "CPU:2"}}, "placement", 1),
    ],
)
def test_42_steps_with_adam_end_with_the_weights_of_one_device(
    training: dict[str, Any],
    strategy: str,
    replicas: int,
    on_one_device: TrainingResult,
    small_dataset: Path,
    tmp_path: Path,
    difference: Callable[..., float],
) -> None:
    settings = {**TRAINING, "logical_devices": 3, **training}
    result = train_model(small_dataset, PLAIN, tmp_path / "model", training=settings, cluster=FRESH_PROCESS)
    assert (result.strategy, result.replicas, result.steps) == (strategy, replicas, 42)
    assert difference(result, on_one_device) <= 1e-6
    for one, other in zip(result.history, on_one_device.history, strict=True):
        assert one == pytest.approx(other, abs=1e-5)


@pytest.mark.parametrize(
    ("training", "cluster"),
    [
        ({"logical_devices": 2}, FRESH_PROCESS),
        pytest.param({"checkpoint_every_steps": 5}, {"worker": 2}, marks=pytest.mark.slow),
    ],
)
def test_the_difference_to_one_device_is_measured_on_request(
    training: dict[str, Any],
    cluster: dict[str, int],
    on_one_device: TrainingResult,
    small_dataset: Path,
    tmp_path: Path,
    difference: Callable[..., float],
) -> None:
    """After the last step it is that of the saved weights, over epochs, checkpoints and calls of several steps."""
    settings = {**TRAINING, "equivalence_steps": 42, **training}
    report = tmp_path / "report.html"
    result = train_model(small_dataset, PLAIN, tmp_path / "model", training=settings, cluster=cluster, report=report)
    found = result.numbers["difference_to_one_device"]
    assert 0 < found <= 1e-6
    assert found == pytest.approx(difference(result, on_one_device), rel=1e-6)
    assert f"{found:.1e} after 42 steps" in report.read_text()
    assert read_result(tmp_path / "model").timeline.equivalence == result.timeline.equivalence


SUBCLASS = """
import keras
class Net(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.units = keras.layers.Dense(3, activation="softmax")
    def call(self, rows):
        return self.units(rows)
def build_model(context):
    model = Net()
    model.compile("adam", "sparse_categorical_crossentropy")
    return model
"""


@pytest.mark.slow
def test_members_of_a_cluster_hand_the_one_feature_to_a_subclassed_model_alone(
    small_dataset: Path, tmp_path: Path, difference: Callable[..., float]
) -> None:
    (tmp_path / "net.py").write_text(SUBCLASS)
    settings = {**TRAINING, "epochs": 2}
    alone = train_model(small_dataset, tmp_path / "net.py", tmp_path / "alone", training=settings)
    result = train_model(
        small_dataset, tmp_path / "net.py", tmp_path / "model", training=settings, cluster={"worker": 2}
    )
    assert (result.strategy, result.replicas) == ("multi_worker_mirrored", 2)
    assert difference(result, alone) <= 1e-6


LAYOUT = {"logical_devices": 2, "layout": {"first/kernel": 1, "first/bias": 0, "last/kernel": 0}}


@pytest.mark.slow
def test_sharded_weights_end_as_those_of_one_device(
    on_one_device: TrainingResult, small_dataset: Path, tmp_path: Path, difference: Callable[..., float]
) -> None:
    """Also over a checkpoint: the second training goes on from the first one's."""
    settings = {**TRAINING, **LAYOUT, "equivalence_steps": 40}
    training = {**settings, "epochs": 3, "equivalence_steps": 0}
    cut_off = train_model(small_dataset, PLAIN, tmp_path / "model", training=training, cluster=FRESH_PROCESS)
    assert (cut_off.strategy, cut_off.steps) == ("dtensor", 18)
    (tmp_path / "model" / "training.json").unlink()  # what a training run leaves that was cut off
    result = train_model(small_dataset, PLAIN, tmp_path / "model", training=settings, cluster=FRESH_PROCESS)
    assert (result.resumed_at, result.steps) == (18, 42)
    assert result.numbers["difference_to_one_device"] <= 1e-6
    assert difference(result, on_one_device) <= 1e-6
    for one, other in zip(result.history, on_one_device.history, strict=True):
        assert one == pytest.approx(other, abs=1e-5)


@pytest.mark.slow
def test_sharded_weights_that_go_their_own_way_end_the_training(small_dataset: Path, tmp_path: Path) -> None:
    """Dropout draws other numbers for the parts of a tensor."""
    message = "after 3 steps a weight differs by .* from what one device computes, more than 0.0001: DTensor"
    settings, dropout = {**TRAINING, **LAYOUT, "layout": {"second/kernel": 1}}, {"dropout": 0.5}
    with pytest.raises(TrainingFailed, match=message):
        train_model(small_dataset, PLAIN, tmp_path / "model", params=dropout, training=settings, cluster=FRESH_PROCESS)


@pytest.mark.parametrize(
    ("training", "cluster"),
    [
        ({}, {}),
        pytest.param({}, {"worker": 2}, marks=pytest.mark.slow),
        pytest.param({"strategy": "central_storage", "logical_devices": 2}, FRESH_PROCESS, marks=pytest.mark.slow),
        pytest.param({"logical_devices": 2}, FRESH_PROCESS, marks=pytest.mark.slow),
        pytest.param(LAYOUT, FRESH_PROCESS, marks=pytest.mark.slow),
        pytest.param({}, {"worker": 1, "ps": 1}, marks=pytest.mark.slow),
    ],
)
def test_the_metrics_of_an_epoch_are_foreseen(
    training: dict[str, Any], cluster: dict[str, int], small_dataset: Path, tmp_path: Path
) -> None:
    """So that a monitor that is none of them is refused before the first step, and one that is none the less taken."""
    settings = {**TRAINING, "epochs": 1, **training, "monitor": "val_accuracy"}
    result = train_model(small_dataset, PLAIN, tmp_path / "model", training=settings, cluster=cluster)
    settings |= {"monitor": "val_acc", "checkpoint_every_steps": 1}
    there = re.escape(", ".join(result.metrics)) + "$"
    with pytest.raises(InvalidSetting, match=rf"unknown metric 'val_acc' in training\.monitor; there are: {there}"):
        train_model(small_dataset, PLAIN, tmp_path / "other", training=settings, cluster=cluster)
    assert not list((tmp_path / "other").glob("checkpoints/step-*"))


def test_a_difference_that_cannot_be_measured_is_said_so(
    small_dataset: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    report = tmp_path / "report.html"
    training = {**TRAINING, "equivalence_steps": 43}
    result = train_model(small_dataset, PLAIN, tmp_path / "model", training=training, report=report)
    assert result.timeline.equivalence is None
    assert "equivalence cannot be measured: on one device, the training run ended before step 43" in caplog.text
    assert "not measured: the log says why" in report.read_text()


@pytest.mark.parametrize(
    ("training", "params", "error", "message"),
    [
        (
            {"strategy": "central_storage", "logical_devices": 2},
            {"dropout": 0.5},
            InvalidSetting,
            r"central_storage on several devices does not work with Dropout 'drop': .*; use mirrored, or one device",
        ),
        (
            {},
            {"keras_distribution": True},
            InvalidModule,
            "DataParallel, which does nothing on TensorFlow: .* mirrored",
        ),
        (
            {"placement": {"frist": "CPU:0"}},
            {},
            InvalidSetting,
            "no layer is called 'frist'; there are a, first, second",
        ),
        ({"placement": {"first": "CPU:1"}}, {}, InvalidSetting, "no device 'CPU:1'; there are CPU:0"),
        ({"placement": {"first": "CPU:0"}}, {"eager": True}, InvalidSetting, "compile the model without run_eagerly"),
        ({"placement": {"first": "CPU:0"}, "strategy": "mirrored"}, {}, InvalidSetting, "choose one of them"),
        ({"strategy": "placement"}, {}, InvalidSetting, "placement needs training.placement, such as"),
        (
            {"layout": {"frist/kernel": 1}},
            {},
            InvalidSetting,
            "no weight is called 'frist/kernel'; did you mean 'first/kernel'",
        ),
        (
            {"layout": {"first/kernel": 2}},
            {},
            InvalidSetting,
            r"first/kernel of shape \(6, 8\) cannot be cut along axis 2",
        ),
        ({"devices": {"use": ["GPU:0"]}}, {}, InvalidSetting, "no device 'GPU:0'; there are CPU:0"),
        ({"strategy": "tpu"}, {}, InvalidSetting, "no TPU 'local' can be used from here .* set training.tpu"),
        ({"variable_partitioner": "min_size"}, {}, InvalidSetting, "Keras 3 cannot split a variable"),
    ],
)
def test_what_cannot_be_is_refused_with_what_to_do_instead(
    training: dict[str, Any],
    params: dict[str, Any],
    error: type[TrainwrightError],
    message: str,
    small_dataset: Path,
    tmp_path: Path,
) -> None:
    with pytest.raises(error, match=message):
        train_model(small_dataset, PLAIN, tmp_path / "model", params=params, training=training, cluster=FRESH_PROCESS)
    assert not (tmp_path / "model" / "checkpoints").exists()
