"""A TPU that is not there, and batches that it could not take, are refused in words."""

import pytest

from trainwright_components.errors import InvalidSetting
from trainwright_components.training.configuration.settings import TrainingSettings
from trainwright_components.training.feeding import check_fixed_shapes
from trainwright_components.training.strategies.tpu import connect_tpu


@pytest.mark.parametrize("name", ["", "local"])
def test_without_a_tpu_the_setting_to_change_is_named(name: str) -> None:
    with pytest.raises(InvalidSetting, match=rf"no TPU '{name}' can be used from here \(.+\); set training.tpu"):
        connect_tpu(name)


def test_batches_have_to_be_of_one_shape() -> None:
    check_fixed_shapes("tpu", TrainingSettings(batch_size=16, drop_remainder=True), 8)
    for settings in (TrainingSettings(batch_size=16), TrainingSettings(batch_size=12, drop_remainder=True)):
        with pytest.raises(InvalidSetting, match=r"training\.drop_remainder, and a .* that its 8 cores"):
            check_fixed_shapes("tpu", settings, 8)
