"""The way that runs take follows from what they were measured to take."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainwright_components.model_server.models import runner as runner_module
from trainwright_components.model_server.models.runner import QUICK_S, Runner
from trainwright_components.model_server.models.saved_model import SavedModel
from trainwright_components.model_server.status import StatusError


class Clock:
    """A clock that runs advance."""

    def __init__(self) -> None:
        self.now = 0.0
        self.run_s = QUICK_S / 10
        self.options: list[Any] = []

    def perf_counter(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return 1_000.0

    def prepare(self, options: Any) -> Any:
        def compute(*values: Any) -> list[Any]:
            self.now += self.run_s
            self.options.append(options)
            return list(values)

        return compute


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(runner_module, "time", clock)
    return clock


def run_often(runner: Runner) -> None:
    for _ in range(12):
        assert runner.run([1], 1_000.5) == [1]


def test_quick_runs_move_into_the_callers_thread(clock: Clock) -> None:
    runner = Runner(clock.prepare, has_loops=False)
    run_often(runner)
    assert runner.is_quick
    assert clock.options[0].timeout_in_ms == 512
    assert (clock.options[-1].inter_op_thread_pool, clock.options[-1].timeout_in_ms) == (-1, 0)


def test_a_long_run_ends_that_until_many_more_were_quick(clock: Clock) -> None:
    """Each time longer: of a machine that stalls it is taken back, a model that is slow at times stays where it is."""
    runner = Runner(clock.prepare, has_loops=False)
    run_often(runner)
    for more in (8 * 16, 8 * 16 * 16):
        clock.run_s = 1.0
        runner.run([1], None)
        clock.run_s = QUICK_S / 10
        for _ in range(more):
            assert not runner.is_quick
            runner.run([1], None)
            assert clock.options[-1].inter_op_thread_pool == 0
        assert runner.is_quick


@pytest.mark.parametrize(("run_s", "has_loops"), [(2 * QUICK_S, False), (QUICK_S / 10, True)])
def test_slow_runs_and_graphs_with_loops_keep_their_limits(clock: Clock, run_s: float, has_loops: bool) -> None:
    clock.run_s = run_s
    runner = Runner(clock.prepare, has_loops=has_loops)
    run_often(runner)
    assert not runner.is_quick
    assert clock.options[-1].timeout_in_ms == 512


def test_a_run_whose_time_is_over_does_not_start(clock: Clock) -> None:
    with pytest.raises(StatusError, match="DEADLINE_EXCEEDED"):
        Runner(clock.prepare, has_loops=False).run([1], 999.0)
    assert not clock.options


def test_a_model_with_a_loop_is_never_quick(half: Path) -> None:
    model = SavedModel(half)
    started = time.monotonic()
    for _ in range(12):
        model.run("serving_default", {"x": np.ones(1, np.float32)}, ["y"])
    assert not model.is_quick("serving_default"), time.monotonic() - started
    model.close()
