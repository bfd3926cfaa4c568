"""Tries again: of steps and of groups, and how they go on after a process was lost."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from trainwright_pipelines.engine import runs
from trainwright_pipelines.engine.attempts import next_retry
from trainwright_pipelines.engine.records import Attempt, State, Task, TaskKind
from trainwright_pipelines.ir.spec import Retry

if TYPE_CHECKING:
    from pathlib import Path

    from tests.pipelines.engine.conftest import Execute

    from trainwright_pipelines.engine.store import Store

F, S, C = State.FAILED, State.SUCCEEDED, State.CANCELED
NOW = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)


def states(task: Task) -> list[State]:
    return [attempt.state for attempt in task.attempts]


def test_a_group_is_tried_again_and_what_succeeded_in_it_stays(execute: Execute, tmp_path: Path) -> None:
    log = tmp_path / "log"
    finished = execute("retried_group", log=str(log))
    assert finished.run.state == S
    assert finished.run.outputs.parameters == {"Output": "a"}
    assert log.read_text() == "abxbxbx"  # the exit task cleans up after each try
    assert states(finished.tasks["two-steps"]) == [F, F, S]
    assert states(finished.tasks["two-steps/exit-handler-1/third-time"]) == [F, F, S]
    assert states(finished.tasks["two-steps/note"]) == [S]
    assert [attempt.retry for attempt in finished.tasks["two-steps"].attempts] == [0, 1, 2]
    assert "RuntimeError: try 1" in finished.tasks["two-steps"].attempts[0].error


@pytest.mark.slow
def test_each_iteration_of_a_loop_is_tried_again_by_itself(execute: Execute, tmp_path: Path) -> None:
    finished = execute("retried_group_in_a_loop", log=str(tmp_path / "log"))
    assert finished.run.outputs.parameters == {"Output": ["a", "a"]}
    groups = [task for path, task in finished.tasks.items() if path.endswith(("/0/two-steps", "/1/two-steps"))]
    assert [states(each) for each in groups] == [[F, F, S], [F, F, S]]


def test_a_run_that_was_killed_while_it_waited_goes_on_with_that_wait(
    execute: Execute, specs: Path, store: Store, tmp_path: Path
) -> None:
    """With a wait of an hour that is over, the second of three tries fails, and an hour later the third succeeds."""
    run = runs.create_run((specs / "retried_slowly.yaml").read_text(), {"log": str(tmp_path / "log")}, store=store)
    store.save_run(replace(run, state=State.RUNNING))
    folder = run.folder / "steps" / "third-time"
    task = Task(
        id="t",
        run_id=run.id,
        name="third-time",
        path="third-time",
        parent_path="",
        kind=TaskKind.PYTHON,
        component="comp-third-time",
        display_name="third-time",
        state=State.RUNNING,
        folder=folder,
    )
    (tmp_path / "log").write_text("bb")
    long_ago = datetime.now(UTC) - timedelta(hours=3)
    before = [
        Attempt(number=number, retry=number - 1, state=F, started=long_ago, finished=long_ago) for number in (1, 2)
    ]
    store.save_task(replace(task, attempts=tuple(before)))
    finished = execute("", resume=run.id)
    assert finished.output("third-time") == 3
    assert states(finished.tasks["third-time"]) == [F, F, S]
    assert [attempt.retry for attempt in finished.tasks["third-time"].attempts] == [0, 1, 2]


@pytest.mark.parametrize(
    ("attempts", "expected"),
    [
        ([], (0, 0)),
        ([(F, 0, 10)], (1, 90)),  # killed 10 s into a wait of 100 s
        ([(F, 0, 10), (F, 1, 500)], (2, 0)),  # its wait of 200 s is over
        ([(F, 0, -3600)], (1, 100)),  # the clock was set back
        ([(F, 0, 0), (C, 1, 0)], (1, 0)),  # killed while it tried: that try does not count
        ([(F, 0, 0), (F, 1, 0), (F, 2, 0)], (0, 0)),  # resumed after the last one failed: all anew
        ([(F, 0, 0), (F, 1, 0), (F, 2, 0), (F, 0, 40)], (1, 60)),  # and killed in that second series
        ([(S, 1, 0)], (0, 0)),
        ([(C, 7, 0)], (0, 0)),  # an edited policy
    ],
)
def test_a_series_of_tries_goes_on_where_it_was(
    attempts: list[tuple[State, int, int]], expected: tuple[int, float]
) -> None:
    policy = Retry(count=2, backoff_s=100, factor=2)
    task = Task(
        id="t",
        run_id="r",
        name="t",
        path="t",
        parent_path="",
        kind=TaskKind.PYTHON,
        component="c",
        display_name="t",
        attempts=tuple(
            Attempt(number=1, retry=retry, state=state, started=NOW, finished=NOW - timedelta(seconds=ago))
            for state, retry, ago in attempts
        ),
    )
    assert next_retry(task, policy, NOW) == expected


def test_a_thousand_tries_without_waiting_are_no_overflow() -> None:
    assert Retry(count=2000, factor=10).wait_s(1999) == 0
    assert Retry(count=2000, backoff_s=1, factor=10, max_backoff_s=60).wait_s(1999) == 60
