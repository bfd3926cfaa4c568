"""Weights with a layout really are in parts on their devices, and so are the optimizer's variables for them."""

import json
from pathlib import Path

from trainwright_components.cluster.warm import WarmParent

SCRIPT = Path(__file__).parent / "modules" / "shard_weights.py"


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
