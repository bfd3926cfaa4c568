"""Runs that are killed, canceled, resumed, deleted, or run again in part."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Awaitable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest
import yaml

from trainwright_components.errors import InvalidSetting, RunNotFound
from trainwright_pipelines.engine import runs
from trainwright_pipelines.engine.execution import Execution
from trainwright_pipelines.engine.isolation.launch import Launch
from trainwright_pipelines.engine.isolation.process import Processes
from trainwright_pipelines.engine.leases import LeaseHeld, acquire_lease
from trainwright_pipelines.engine.platform_settings import LocalSecrets
from trainwright_pipelines.engine.records import Run, RunSettings, State, Task
from trainwright_pipelines.engine.replay import rerun_step
from trainwright_pipelines.engine.store import Store
from trainwright_pipelines.ir.parsing import parse_pipeline
from trainwright_pipelines.service.pages.run_page import write_run_page

AS_PROCESSES = RunSettings(isolation={"": "process"})

if TYPE_CHECKING:
    from tests.pipelines.engine.conftest import Execute, Fifo, Finished

EXECUTE = """
    import sys
    from pathlib import Path
    from trainwright_pipelines.engine import runs
    from trainwright_pipelines.engine.store import Store
    with Store(Path(sys.argv[1])) as store:
        print(runs.execute(sys.argv[2], store=store).state)
"""


@pytest.fixture
def created(specs: Path, store: Store, fifo: Fifo, tmp_path: Path) -> Run:
    """A run of three steps whose second waits until it is let go or the file `done` is there."""
    parameters = {"log": str(tmp_path / "log"), "fifo": str(fifo.path), "done": str(tmp_path / "done")}
    return runs.create_run((specs / "interrupted.yaml").read_text(), parameters, store=store)


@contextmanager
def executing(run: Run, store: Store) -> Iterator[subprocess.Popen[str]]:
    """Another process that executes the run."""
    command = [sys.executable, "-c", textwrap.dedent(EXECUTE), str(store.home), run.id]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            yield process
        finally:
            process.kill()


def assert_gone(pid: str) -> None:
    try:
        process = psutil.Process(int(pid))
        if process.status() != psutil.STATUS_ZOMBIE:
            process.wait(20)
    except psutil.NoSuchProcess:
        pass


def test_after_kill_9_a_run_goes_on_without_repeating_what_was_done(
    created: Run, store: Store, fifo: Fifo, tmp_path: Path
) -> None:
    with executing(created, store) as process:
        pid = fifo.wait()
        process.kill()
    assert_gone(pid)
    assert store.run(created.id).state == State.RUNNING
    (tmp_path / "done").touch()
    run = runs.resume(created.id, store=store)
    assert run.state == State.SUCCEEDED
    assert (tmp_path / "log").read_text() == "ab"
    waited = store.task(run.id, "waits")
    assert [attempt.state for attempt in waited.attempts] == [State.CANCELED, State.SUCCEEDED]
    assert waited.attempts[0].error == "its process was lost"
    assert len(store.task(run.id, "append").attempts) == 1


class WatchedStore(Store):
    """Keeps what was recorded of tasks, one entry for each transaction."""

    def __init__(self, home: Path) -> None:
        super().__init__(home)
        self.saved: list[Task] = []

    def save_tasks(self, tasks: Sequence[Task], **others: Any) -> None:
        super().save_tasks(tasks, **others)
        self.saved += [self.task_by_id(task.id) or task for task in tasks]


@pytest.mark.parametrize(
    ("needed", "deadline_s", "last"), [(2, 0, State.SUCCEEDED), (9, 0, State.FAILED), (1, 1, State.FAILED)]
)
def test_the_last_attempt_and_its_task_end_in_one_transaction(
    specs: Path, tmp_path: Path, needed: int, deadline_s: int, last: State
) -> None:
    text = (specs / ("one_sleeper.yaml" if deadline_s else "retried.yaml")).read_text()
    platform = {"platforms": {"kubernetes": {"pipelineConfig": {"activeDeadlineSeconds": deadline_s}}}}
    parameters = {} if deadline_s else {"counter": str(tmp_path / "count"), "needed": needed}
    watched = WatchedStore(tmp_path / "home")
    with watched as store:
        created = runs.create_run(
            f"{text}\n---\n{yaml.safe_dump(platform)}", parameters, store=store, settings=AS_PROCESSES
        )
        runs.execute(created.id, store=store)
    saved = [task for task in watched.saved if task.attempts]
    assert saved[-1].state == saved[-1].attempts[-1].state == last
    assert all(task.attempts[-1].state == State.FAILED for task in saved if task.state == State.FAILED)
    under_way = [task.attempts[-1].state for task in saved if task.state == State.RUNNING]
    assert set(under_way) <= {State.RUNNING, State.FAILED}  # failed: another attempt follows
    assert under_way.count(State.FAILED) == len(saved[-1].attempts) - 1


KILLED_AT_THE_END = """
    import os, signal, sys
    from pathlib import Path
    from trainwright_pipelines.engine import runs
    from trainwright_pipelines.engine.store import Store

    class Killed(Store):
        def save_tasks(self, tasks, **others):
            super().save_tasks(tasks, **others)
            if any(task.attempts and task.attempts[-1].state == "SUCCEEDED" for task in tasks):
                os.kill(os.getpid(), signal.SIGKILL)

    with Killed(Path(sys.argv[1])) as store:
        runs.execute(sys.argv[2], store=store)
"""


def test_a_step_whose_success_is_recorded_is_never_repeated(specs: Path, store: Store, tmp_path: Path) -> None:
    parameters = {"counter": str(tmp_path / "count"), "needed": 1}
    created = runs.create_run((specs / "retried.yaml").read_text(), parameters, store=store)
    command = [sys.executable, "-c", textwrap.dedent(KILLED_AT_THE_END), str(store.home), created.id]
    assert subprocess.run(command, timeout=60, check=False).returncode == -signal.SIGKILL
    assert runs.resume(created.id, store=store).state == State.SUCCEEDED
    assert (tmp_path / "count").read_text() == "x"
    assert [attempt.state for attempt in store.task(created.id, "count-attempts").attempts] == [State.SUCCEEDED]


def test_two_processes_never_execute_one_run(created: Run, store: Store, fifo: Fifo) -> None:
    with executing(created, store) as process:
        fifo.wait()
        with pytest.raises(LeaseHeld, match=str(process.pid)):
            runs.execute(created.id, store=store)
        with pytest.raises(LeaseHeld):
            runs.resume(created.id, store=store)
        with pytest.raises(InvalidSetting, match="runs cancel"):
            runs.delete(created.id, store=store)
        fifo.let_go()
        assert process.communicate(timeout=60)[0] == "SUCCEEDED\n"


def test_another_process_can_cancel_and_resume(created: Run, store: Store, fifo: Fifo, tmp_path: Path) -> None:
    with executing(created, store) as process:
        pid = fifo.wait()
        runs.cancel(created.id, store=store)
        assert process.communicate(timeout=60)[0] == "CANCELED\n"
    assert_gone(pid)
    assert store.task(created.id, "waits").state == State.CANCELED
    assert store.task(created.id, "append-2").state == State.PENDING
    (tmp_path / "done").touch()
    assert runs.resume(created.id, store=store).state == State.SUCCEEDED
    assert (tmp_path / "log").read_text() == "ab"


def test_the_end_of_the_process_that_starts_steps_is_told_as_that(created: Run, store: Store, fifo: Fifo) -> None:
    with executing(created, store) as process:
        starter = psutil.Process(int(fifo.wait())).parent()
        assert starter is not None
        assert starter.pid != process.pid
        starter.kill()
        assert process.communicate(timeout=60)[0] == "FAILED\n"
    [failed] = [task for task in store.tasks(created.id) if task.state == State.FAILED and task.attempts]
    assert failed.error.startswith("the process that starts the steps of this run was killed, or was stopped by a sig")
    assert "trainwright runs resume" in failed.error
    assert failed.attempts[-1].exit_code is None


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_stops_the_run_cleanly(created: Run, store: Store, fifo: Fifo, number: signal.Signals) -> None:
    with executing(created, store) as process:
        pid = fifo.wait()
        process.send_signal(number)
        assert process.communicate(timeout=60)[0] == "CANCELED\n"
    assert_gone(pid)
    run = store.run(created.id)
    assert run.state == State.CANCELED
    assert run.finished is not None


HANGING = """
    import sys, time
    from pathlib import Path
    from trainwright_pipelines.engine import runs
    from trainwright_pipelines.engine.store import Store

    runs.STOPS_WITHIN_S = 0.2

    def listen(event):
        if event.task is not None and event.task.attempts:
            print(flush=True)
            time.sleep(600)

    with Store(Path(sys.argv[1])) as store:
        runs.execute(sys.argv[2], store=store, listener=listen)
"""


def test_one_signal_ends_also_a_run_that_hangs(created: Run, store: Store) -> None:
    command = [sys.executable, "-c", textwrap.dedent(HANGING), str(store.home), created.id]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)
    assert b"KeyboardInterrupt" in said
    assert runs.is_abandoned(store.run(created.id), store=store)


HANGING_STEP = """
    import sys, time
    from trainwright_pipelines.cli.main import main
    from trainwright_pipelines.engine import reuse, runs

    def read_inputs(*_, **__):
        print(flush=True)
        time.sleep(600)

    runs.STOPS_WITHIN_S = 0.2
    reuse.take_fingerprint = read_inputs  # as of a folder on a disk that is away
    main(["run", sys.argv[1]])
"""


def test_one_signal_ends_also_a_command_whose_step_hangs_in_a_thread(specs: Path, store: Store) -> None:
    command = [sys.executable, "-c", textwrap.dedent(HANGING_STEP), str(specs / "chain.yaml")]
    environment = {**os.environ, "TRAINWRIGHT_HOME": str(store.home)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    [run] = store.runs()
    assert run.state == State.CANCELED
    assert runs.resume(run.id, store=store).outputs.parameters == {"Output": 15}


def test_a_run_that_nobody_executes_is_canceled_at_once(created: Run, store: Store) -> None:
    assert runs.cancel(created.id, store=store).state == State.CANCELED
    assert runs.cancel(created.id, store=store).state == State.CANCELED


def test_a_run_that_nobody_began_in_time_is_interrupted(created: Run, store: Store) -> None:
    assert runs.live_state(created, store=store) == State.PENDING
    long_ago = replace(created, created=created.created - timedelta(minutes=2))
    store.save_run(long_ago)
    assert runs.live_state(long_ago, store=store) == runs.INTERRUPTED
    assert runs.newest_to_resume(store).id == created.id
    lease = acquire_lease(store.engine, created.id)
    assert runs.live_state(long_ago, store=store) == State.PENDING
    lease.release()


def test_a_run_that_succeeded_is_not_resumed(execute: Execute, store: Store) -> None:
    finished = execute("chain")
    with pytest.raises(InvalidSetting, match="has succeeded"):
        runs.resume(finished.run.id, store=store)


def test_resuming_a_failed_run_repeats_what_failed_and_the_exit_task(execute: Execute, tmp_path: Path) -> None:
    first = execute("retried", counter=str(tmp_path / "count"), needed=4)
    assert first.run.state == State.FAILED
    second = execute("", resume=first.run.id)
    assert second.run.state == State.SUCCEEDED
    assert second.output("count-attempts") == 4
    assert len(second.tasks["count-attempts"].attempts) == 4
    failed = execute("exit_handler")
    again = execute("", resume=failed.run.id)
    assert len(again.tasks["exit-handler-1/fail"].attempts) == 2
    assert len(again.tasks["show-status"].attempts) == 2


def test_what_a_failed_step_reported_is_shown_and_nothing_of_it_is_used(execute: Execute, store: Store) -> None:
    finished = execute("reported_failure")
    assert finished.tasks["report-and-fail"].state == State.FAILED
    assert finished.tasks["report-and-fail"].outputs.artifacts == {}
    assert finished.tasks["read"].state == State.SKIPPED
    page = write_run_page(store, finished.run.id).read_text()
    assert "how far it came" in page
    assert "page of the failed step" in page
    assert "half of it" not in page


def test_lost_results_are_made_again_on_resume(execute: Execute) -> None:
    first = execute("replayed")
    assert first.run.state == State.FAILED
    (data,) = first.tasks["write"].outputs.artifacts["out"]
    data.path.unlink()
    second = execute("", resume=first.run.id)
    assert len(second.tasks["write"].attempts) == 2


REPLACE = "condition-1/condition-2/replace"


def race(execute: Execute, tmp_path: Path, *, mine: int, theirs: int) -> Finished:
    """A run that put `mine` in place of 0 if another had not put `theirs` there meanwhile."""
    (tmp_path / "place").write_text("0")
    return execute("raced", place=str(tmp_path / "place").replace("/", "|"), mine=mine, theirs=theirs)


def test_resuming_repeats_a_step_whose_result_a_later_one_found_to_hold_no_longer(
    execute: Execute, tmp_path: Path
) -> None:
    first = race(execute, tmp_path, mine=2, theirs=1)
    assert (first.state(REPLACE), first.state("judge/find-better")) == (State.FAILED, State.SUCCEEDED)
    assert first.tasks[REPLACE].error == "1 came after 0"
    second = execute("", resume=first.run.id)
    assert second.run.state == State.SUCCEEDED
    assert (second.output("judge/find-better", "seen"), second.output("judge", "seen")) == (1, 1)
    attempts = {path: len(task.attempts) for path, task in second.tasks.items() if not task.is_group}
    assert attempts == {"judge/find-better": 2, "put-number": 1, "condition-1/say": 1, REPLACE: 2}
    assert (tmp_path / "place").read_text() == "2"


def test_what_ran_before_is_skipped_where_the_repeated_step_decides_otherwise(execute: Execute, tmp_path: Path) -> None:
    first = race(execute, tmp_path, mine=1, theirs=2)
    assert first.state(REPLACE) == State.FAILED
    second = execute("", resume=first.run.id)
    assert second.run.state == State.SUCCEEDED
    left_out = {path for path, task in second.tasks.items() if task.state == State.SKIPPED}
    assert left_out == {"condition-1", "condition-1/say", "condition-1/condition-2", REPLACE}
    assert second.output("judge/find-better", "is_better") is False
    assert (tmp_path / "place").read_text() == "2"


def test_a_result_that_holds_no_longer_comes_from_no_cache(execute: Execute, tmp_path: Path) -> None:
    first = race(execute, tmp_path, mine=2, theirs=1)
    again = execute("raced", **first.run.parameters)
    assert again.run.state == State.SUCCEEDED
    assert not again.tasks["judge/find-better"].is_cached
    assert again.tasks["put-number"].is_cached
    resumed = execute("", resume=first.run.id)
    assert not resumed.tasks["judge/find-better"].is_cached
    assert resumed.output("judge/find-better", "seen") == 2
    assert resumed.state("condition-1") == State.SKIPPED


def test_a_step_is_run_again_alone_with_its_inputs(
    execute: Execute, store: Store, capfd: pytest.CaptureFixture[str]
) -> None:
    finished = execute("replayed", text="data")
    replay = rerun_step(finished.run.id, "read_twice", store=store)
    assert replay.error == ""
    assert replay.outputs.parameters == {"Output": "data"}
    assert replay.folder.is_relative_to(finished.run.folder / "reruns")
    failing = execute("replayed", text="data!")
    replay = rerun_step(failing.run.id, "read-twice", store=store)
    assert replay.exit_code == 1
    assert replay.error == "ValueError: unexpected length 5"
    assert "unexpected length 5" in capfd.readouterr().err
    assert len(store.task(failing.run.id, "read-twice").attempts) == 1


def test_a_step_is_run_again_under_the_debugger(execute: Execute, store: Store) -> None:
    finished = execute("replayed")
    script = """
        import sys
        from pathlib import Path
        from trainwright_pipelines.engine.replay import rerun_step
        from trainwright_pipelines.engine.store import Store
        with Store(Path(sys.argv[1])) as store:
            sys.exit(rerun_step(sys.argv[2], "read-twice", store=store, pdb=True).exit_code)
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(store.home), finished.run.id]
    done = subprocess.run(
        command, input="p dataset.metadata\nq\n", capture_output=True, text=True, timeout=60, check=False
    )
    assert "{'length': 5}" in done.stdout
    assert done.returncode == 1


@pytest.mark.parametrize(
    ("step", "error", "message"),
    [
        ("nowhere", RunNotFound, "it has add, add-2"),
        ("add", None, ""),
    ],
)
def test_steps_are_found_by_name(
    execute: Execute, store: Store, step: str, error: type[Exception] | None, message: str
) -> None:
    finished = execute("chain")
    if error is None:
        assert rerun_step(finished.run.id, step, store=store).outputs.parameters == {"Output": 5}
    else:
        with pytest.raises(error, match=message):
            rerun_step(finished.run.id, step, store=store)


def test_a_group_cannot_be_run_again_alone(execute: Execute, store: Store) -> None:
    finished = execute("nested")
    with pytest.raises(InvalidSetting, match="choose a step inside"):
        rerun_step(finished.run.id, "inner", store=store)


def test_processes_end_with_the_run(execute: Execute) -> None:
    before = {process.pid for process in psutil.Process().children(recursive=True)}
    execute("chain")
    after = {process.pid for process in psutil.Process().children(recursive=True)}
    assert after <= before
    assert os.getpid() not in after


def test_what_a_thread_still_does_when_its_run_ends_is_complained_of_by_nobody(
    created: Run, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    execution = Execution(
        store=store,
        run=created,
        pipeline=parse_pipeline(store.spec_text(created.id)),
        listener=None,
        max_parallel=1,
        secrets=LocalSecrets.load(store.home, {}),
    )
    loop, may_end = asyncio.new_event_loop(), threading.Event()

    async def begin() -> Awaitable[Any]:
        waiting: asyncio.Future[Any] = asyncio.ensure_future(execution.in_thread(may_end.wait))
        return waiting

    left = loop.run_until_complete(begin())
    may_end.set()
    execution.close()
    loop.close()
    del left
    gc.collect()
    assert caplog.messages == []


def test_a_cancel_that_comes_before_the_start_is_not_lost(created: Run, store: Store) -> None:
    runs.cancel(created.id, store=store)
    assert runs.execute(created.id, store=store).state == State.CANCELED
    assert store.tasks(created.id) == []


def test_a_process_that_starts_steps_and_is_frozen_holds_up_none_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainwright_components.processes.warm_parent.FROZEN_S", 0.0)
    processes = Processes()
    launch = Launch(
        target="trainwright_pipelines.engine.task_entry:run_command",
        arguments={"command": ["sleep", "600"]},
        env=dict(os.environ),
        cwd=tmp_path,
    )
    try:
        child = processes.start(launch, log=tmp_path / "log")
        processes.end_frozen()
        assert child.poll() is None
        starter = psutil.Process(child.pid).parent()
        starter.suspend()
        while starter.status() != psutil.STATUS_STOPPED:
            pass
        processes.end_frozen()
        assert child.wait(30) == -signal.SIGKILL
        with processes.start(launch, log=tmp_path / "log") as again:
            assert psutil.Process(again.pid).is_running()
    finally:
        processes.close()
