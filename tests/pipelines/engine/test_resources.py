"""What steps ask for and use is on record, and what a process does not get of it is told."""

from tests.pipelines.engine.conftest import Executed

from trainwright_pipelines.engine.records import State
from trainwright_pipelines.engine.steps import LIMITS_DO_NOT_HOLD


def test_what_steps_ask_for_and_use_is_on_record(executed: Executed) -> None:
    """The first gets its requests from parameters of the pipeline, as `ResourceSpec` has them since KFP 2.10."""
    finished = executed("asking")
    large, small = (finished.tasks[name] for name in ("take-memory", "take-memory-2"))
    assert finished.run.state == State.SUCCEEDED
    assert large.resources == {
        "cpu": {"request": 0.5},
        "memory_bytes": {"limit": 999_000_000_000},
        "accelerator": {"type": "nvidia.com/gpu", "limit": 8},
    }
    assert small.resources == {"memory_bytes": {"request": 64 << 20, "limit": 1 << 30}}
    used = [task.attempts[-1] for task in (large, small)]
    peaks = [each.peak_memory_bytes or 0 for each in used]
    assert peaks[0] - peaks[1] > 140 << 20
    assert peaks[1] > 1 << 20
    assert all(0 < (each.cpu_s or 0) < 60 for each in used)


def test_what_a_process_does_not_get_is_told(executed: Executed) -> None:
    finished = executed("asking")
    (told,) = finished.tasks["take-memory"].warnings
    assert told.startswith("asks for 930.4 GiB of memory and 8 nvidia.com/gpu, and this machine has ")
    assert told.endswith(": it runs alone, with what there is")
    assert finished.tasks["take-memory-2"].warnings == ()
    assert finished.run.warnings == (LIMITS_DO_NOT_HOLD,)
