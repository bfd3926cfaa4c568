"""Weights with a layout really are in parts on their devices, and so are the optimizer's variables for them."""

import json
from pathlib import Path

import pytest

from trainwright_components.errors import InvalidSetting
from trainwright_components.processes.warm_parent import WarmParent
from trainwright_components.training.drivers.sharding import VariableSharding

SCRIPT = Path(__file__).parents[1] / "modules" / "shard_weights.py"


def test_each_device_has_its_part(warm_parent: WarmParent, tmp_path: Path) -> None:
    """Kernels of (4, 6) and (6, 2) on two devices: columns of the first, rows of the second; biases whole."""
    env, log = {"RESULT": str(tmp_path / "result.json")}, tmp_path / "log"
    with warm_parent.spawn("runpy:run_path", {"path_name": str(SCRIPT)}, log=log, env=env) as child:
        assert child.wait(180) == 0, log.read_text()
    found = json.loads((tmp_path / "result.json").read_text())

    def on_both(shape: list[int]) -> list[list[object]]:
        return [["CPU:0", shape], ["CPU:1", shape]]

    assert found["first/kernel"] == on_both([4, 3])
    assert found["adam/sequential_first_kernel_momentum"] == on_both([4, 3])
    assert found["last/kernel"] == on_both([3, 2])
    assert found["adam/sequential_last_kernel_velocity"] == on_both([3, 2])
    assert found["first/bias"] == on_both([6])
    assert found["adam/learning_rate"] == on_both([])


@pytest.mark.parametrize(
    ("pattern", "hint"),
    [
        ("dnese/kernel", r"did you mean 'dense/kernel'\?"),
        ("zz", "there are net/dense/kernel, net/dense/bias"),
    ],
)
def test_a_layout_that_fits_no_weight_is_refused_with_those_of_the_model(pattern: str, hint: str) -> None:
    sharding = VariableSharding(devices=["CPU:0"], axes={pattern: 1})
    with pytest.raises(InvalidSetting, match=f"no weight is called '{pattern}'; {hint}$"):
        sharding.check_all_found(["net/dense/kernel", "net/dense/bias"])


def test_of_many_weights_the_first_are_named() -> None:
    sharding = VariableSharding(devices=["CPU:0"], axes={"zz": 1})
    with pytest.raises(InvalidSetting, match=r"there are w00, .*, w11 and 3 more$"):
        sharding.check_all_found([f"w{number:02}" for number in range(15)])
