"""Settings are checked once, where they enter, and name what was meant."""

from typing import Any

import pytest

from trainwright_components.errors import InvalidSetting
from trainwright_components.training.configuration.device_settings import DeviceSettings
from trainwright_components.training.configuration.settings import TrainingSettings


def test_values_of_a_pipeline_take_their_types() -> None:
    settings = TrainingSettings.from_mapping({"epochs": 3.0, "progress_every_s": 1, "early_stopping_patience": None})
    assert (settings.epochs, settings.progress_every_s, settings.early_stopping_patience) == (3, 1.0, None)
    assert isinstance(settings.epochs, int)


def test_they_come_back_from_their_mapping() -> None:
    devices = DeviceSettings(visible_gpus=(0, 1), use=("GPU:1",), memory_limit_mb=100)
    settings = TrainingSettings(epochs=3, early_stopping_patience=2, strategy="mirrored", devices=devices)
    assert TrainingSettings.from_mapping(settings.to_mapping()) == settings


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epoch": 3}, "no training setting 'epoch'; did you mean 'epochs'?"),
        ({"epochs": 0}, "training.epochs must be at least 1, got 0"),
        ({"epochs": 2.5}, "training.epochs must be an integer, got 2.5"),
        ({"epochs": True}, "training.epochs must be an integer, got True"),
        ({"batch_size": "64"}, "training.batch_size must be an integer, got '64'"),
        ({"shuffle": 1}, "training.shuffle must be true or false, got 1"),
        ({"memory_growth": True}, "no training setting 'memory_growth'; did you mean 'devices.memory_growth'?"),
        (
            {"devices": {"memory_grow": True}},
            "no training.devices setting 'memory_grow'; did you mean 'memory_growth'?",
        ),
        ({"devices": {"visible_gpus": ["a"]}}, "training.devices.visible_gpus must be an integer, got 'a'"),
        ({"devices": "GPU:0"}, "training.devices must be a mapping, got 'GPU:0'"),
        ({"devices": {"memory_growth": True, "memory_limit_mb": 9}}, "exclude each other in TensorFlow; choose one"),
        ({"devices": {"memory_limit_mb": -1}}, "training.devices.memory_limit_mb must be at least 0, got -1"),
        ({"communication": {"all_reduce": "ring"}}, "training.communication.all_reduce must be one of auto, nccl"),
        ({"strategy": "miror"}, "training.strategy must be one of auto, one_device, mirrored, multi_worker_mirrored"),
    ],
)
def test_what_cannot_be_used_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidSetting, match=message.replace("?", r"\?").replace(".", r"\.")):
        TrainingSettings.from_mapping(values)
