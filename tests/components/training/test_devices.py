"""Device settings reach TensorFlow before it starts: read back from its configuration, in processes of their own."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trainwright_components.processes.warm_parent import WarmParent

READ = Path(__file__).parent / "modules" / "read_configuration.py"

Configure = Callable[..., dict[str, Any]]


@pytest.fixture
def configure(warm_parent: WarmParent, tmp_path: Path) -> Configure:
    """Applies settings in a process that was forked after TensorFlow's import, as a pipeline's step is."""

    def run(settings: dict[str, Any], *, gpus: int = 0, without_gpus: bool = False) -> dict[str, Any]:
        result_file = str(tmp_path / "result.json")
        case = {"settings": settings, "gpus": gpus, "without_gpus": without_gpus, "result": result_file}
        log, env = tmp_path / "log", {"CASE": json.dumps(case)}
        with warm_parent.spawn("runpy:run_path", {"path_name": str(READ)}, log=log, env=env) as child:
            assert child.wait(120) == 0, log.read_text()
        result: dict[str, Any] = json.loads((tmp_path / "result.json").read_text())
        return result

    return run


def test_nothing_is_set_unless_asked_for(configure: Configure) -> None:
    assert configure({}, gpus=1) == {
        "growth": False, "limits": [], "visible": "0", "allocator": "", "intra": 0, "inter": 0,
        "soft": True, "log": False, "cpus": None, "notes": [], "gpus": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("devices", "expected"),
    [
        ({"memory_growth": True}, {"growth": True, "limits": []}),
        ({"memory_limit_mb": 512}, {"growth": False, "limits": [[512.0], [512.0]]}),
        ({"visible_gpus": [1], "memory_growth": True}, {"visible": "1", "growth": True}),
        ({"visible_gpus": 1}, {"visible": "1"}),
        ({"allocator": "cuda_malloc_async"}, {"allocator": "cuda_malloc_async"}),
    ],
)
def test_gpu_settings_are_in_the_configuration(
    configure: Configure, devices: dict[str, Any], expected: dict[str, Any]
) -> None:
    found = configure({"devices": devices}, gpus=2)
    assert {name: found[name] for name in expected} == expected
    assert found["notes"] == []


def test_who_steers_or_stores_leaves_the_gpus_to_the_workers(configure: Configure) -> None:
    devices = {"memory_growth": True, "visible_gpus": [1], "allocator": "cuda_malloc_async", "inter_op_threads": 3}
    settings = {"threads": 2, "devices": devices}
    found = configure(settings, gpus=2, without_gpus=True)
    expected = {"gpus": 0, "growth": False, "allocator": "", "intra": 2, "inter": 3, "notes": []}
    assert {name: found[name] for name in expected} == expected
    assert configure(settings, without_gpus=True)["notes"] == configure(settings)["notes"] != []


def test_a_gpu_is_divided_by_memory(configure: Configure) -> None:
    settings = {"logical_devices": 3, "devices": {"memory_limit_mb": 256}}
    assert configure(settings, gpus=1)["limits"] == [[256.0, 256.0, 256.0]]
    assert "training.devices.memory_limit_mb" in configure({"logical_devices": 3}, gpus=1)["error"]


def test_a_cpu_is_divided_and_threads_and_placement_are_set(configure: Configure) -> None:
    devices = {"soft_placement": False, "log_placement": True, "inter_op_threads": 2}
    found = configure({"logical_devices": 3, "threads": 1, "devices": devices})
    expected = {"cpus": 3, "intra": 1, "inter": 2, "soft": False, "log": True}
    assert {name: found[name] for name in expected} == expected


def test_without_a_gpu_its_settings_are_said_to_have_no_effect(configure: Configure) -> None:
    devices = {"memory_growth": True, "visible_gpus": [0], "allocator": "cuda_malloc_async"}
    found = configure({"devices": devices, "communication": {"all_reduce": "nccl"}})
    names = ("devices.visible_gpus", "devices.memory_growth", "devices.allocator", "communication.all_reduce")
    assert found["notes"] == [f"training.{name} has no effect: TensorFlow sees no GPU" for name in names]


def test_a_gpu_that_is_not_there_is_refused(configure: Configure) -> None:
    message = "training.devices.visible_gpus: there is no GPU 2; TensorFlow sees 2, numbered from 0"
    assert configure({"devices": {"visible_gpus": [2]}}, gpus=2)["error"] == message
