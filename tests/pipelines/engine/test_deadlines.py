"""Deadlines of steps and of pipelines, and steps that only wait."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest
from tests.pipelines.engine.conftest import AS_PROCESSES

from trainwright_pipelines.engine import runs
from trainwright_pipelines.engine.execution import Execution
from trainwright_pipelines.engine.platform_settings import LocalSecrets
from trainwright_pipelines.engine.records import Event, State
from trainwright_pipelines.ir.parsing import parse_pipeline

if TYPE_CHECKING:
    from pathlib import Path

    from tests.pipelines.engine.conftest import Execute, Fifo

    from trainwright_pipelines.engine.store import Store


@pytest.fixture
def late_deadline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Deadlines of pipelines wait for the step that says in `log` that it runs, which may take longer to start."""
    pass_deadline = Execution.pass_deadline

    def pass_once_it_runs(execution: Execution) -> None:
        steps = [task for task in execution.store.tasks(execution.run.id) if task.name in {"waits-for-ever", "saves"}]
        has_pid = any(attempt.pid for step in steps for attempt in step.attempts)
        if has_pid and (log := tmp_path / "log").exists() and log.read_text() == "w":
            pass_deadline(execution)
        else:
            asyncio.get_running_loop().call_later(0.02, execution.pass_deadline)

    monkeypatch.setattr(Execution, "pass_deadline", pass_once_it_runs)


@pytest.mark.usefixtures("late_deadline")
def test_after_a_pipelines_deadline_only_exit_tasks_run(execute: Execute, tmp_path: Path) -> None:
    """Argo fails what runs and what would start, and spares exit handlers: workflow/controller/exec_control.go."""
    finished = execute("over_its_deadline", log=str(tmp_path / "log"))
    late = "took longer than the 1 s that the pipeline allows"
    assert (finished.run.state, finished.run.error) == (State.FAILED, late)
    assert (tmp_path / "log").read_text() == "wt<FAILED>"
    [waited] = [task for task in finished.tasks.values() if task.name == "waits-for-ever"]
    assert (waited.state, waited.error) == (State.FAILED, late)
    assert [attempt.state for attempt in waited.attempts] == [State.FAILED]
    assert finished.state("note-status") == State.SUCCEEDED
    assert finished.tasks["two-steps"].error == late
    assert all(task.state.is_final for task in finished.tasks.values())


@pytest.mark.parametrize("state", [State.RUNNING, State.CANCELING])
def test_a_deadline_does_not_interrupt_steps_that_save_because_the_run_is_canceled(
    specs: Path, store: Store, state: State
) -> None:
    text = (specs / "over_its_deadline.yaml").read_text()
    execution = Execution(
        store=store,
        run=runs.create_run(text, {"log": "log"}, store=store),
        pipeline=parse_pipeline(text),
        listener=None,
        max_parallel=1,
        secrets=LocalSecrets.load(store.home, {}),
    )

    async def step(begun: asyncio.Event) -> None:
        with execution.subject_to_deadline():
            begun.set()
            await asyncio.Event().wait()

    async def is_interrupted() -> bool:
        begun = asyncio.Event()
        task = asyncio.create_task(step(begun))
        await begun.wait()
        execution.save_run(state=state)
        execution.pass_deadline()
        return task.cancelling() > 0

    try:
        assert asyncio.run(is_interrupted()) == (state == State.RUNNING)
    finally:
        execution.close()


@pytest.mark.slow
def test_a_step_over_its_deadline_is_asked_to_end_and_tried_again(execute: Execute, tmp_path: Path) -> None:
    finished = execute("timed_out", log=str(tmp_path / "log"))
    assert (tmp_path / "log").read_text() == "wtwt"
    attempts = finished.tasks["waits-for-ever"].attempts
    assert [each.error for each in attempts] == ["took longer than 1 s and was stopped"] * 2


@pytest.mark.usefixtures("late_deadline")
@pytest.mark.parametrize(
    "pipeline", ["saves_at_the_deadline", pytest.param("saves_at_its_timeout", marks=pytest.mark.slow)]
)
def test_a_run_that_is_stopped_takes_no_time_from_a_step_that_saves(
    pipeline: str, specs: Path, store: Store, tmp_path: Path, fifo: Fifo
) -> None:
    values = {"log": str(tmp_path / "log"), "fifo": str(fifo.path)}
    created = runs.create_run((specs / f"{pipeline}.yaml").read_text(), values, store=store, settings=AS_PROCESSES)
    is_stopping = threading.Event()

    def listen(event: Event) -> None:
        if event.task is None and event.state == State.CANCELING:
            is_stopping.set()

    thread = threading.Thread(target=runs.execute, args=(created.id,), kwargs={"store": store, "listener": listen})
    thread.start()
    assert fifo.wait() == "saving"
    runs.cancel(created.id, store=store)
    assert is_stopping.wait(60)
    fifo.let_go()
    thread.join(60)
    assert (tmp_path / "log").read_text() == "ws"


def test_a_step_that_waits_for_its_next_try_holds_up_no_other(specs: Path, store: Store, tmp_path: Path) -> None:
    text = (specs / "retried_beside_another.yaml").read_text()
    created = runs.create_run(text, {"log": str(tmp_path / "log")}, store=store)
    has_run = threading.Event()

    def listen(event: Event) -> None:
        if event.task is not None and event.task.name == "note" and event.task.state == State.SUCCEEDED:
            has_run.set()

    thread = threading.Thread(
        target=runs.execute, args=(created.id,), kwargs={"store": store, "listener": listen, "max_parallel": 1}
    )
    thread.start()
    assert has_run.wait(60)
    runs.cancel(created.id, store=store)
    thread.join(60)
    assert store.run(created.id).state == State.CANCELED
