"""What the store keeps, finds and forgets; and leases."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update
from sqlalchemy.exc import IntegrityError
from tests.components.processes.clock import set_clock

from trainwright_components.errors import RunNotFound
from trainwright_pipelines.engine.leases import STALE_AFTER_S, LeaseHeld, acquire_lease, is_held
from trainwright_pipelines.engine.records import Artifact, Attempt, Event, Run, State, Task, TaskKind, Values
from trainwright_pipelines.engine.store import Store
from trainwright_pipelines.engine.tables import LEASES

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def make_run(store: Store, run_id: str = "run-1", **changes: Any) -> Run:
    run = Run(
        id=run_id,
        name=run_id,
        pipeline="p",
        state=State.PENDING,
        parameters={"a": 1, "b": [1.5, {"c": None}]},
        folder=store.home / "runs" / run_id,
        created=NOON,
    )
    run = replace(run, **changes)
    store.add_run(run, "spec")
    return run


def make_task(run: Run, path: str, **changes: Any) -> Task:
    task = Task(
        id=f"{run.id}:{path}",
        run_id=run.id,
        name=path.rpartition("/")[2],
        path=path,
        parent_path=path.rpartition("/")[0],
        kind=TaskKind.PYTHON,
        component="comp-x",
        display_name=f"The {path}",
        created=NOON,
    )
    return replace(task, **changes)


def test_runs_come_back_as_they_were(store: Store) -> None:
    run = make_run(store, scheduled=NOON, provenance={"seed": 1})
    assert store.run("run-1") == run
    assert store.spec_text("run-1") == "spec"
    changed = replace(run, state=State.RUNNING, started=NOON, error="x")
    store.save_run(changed)
    assert store.run("run-1") == changed


def test_tasks_come_back_as_they_were_with_attempts_and_artifacts(store: Store) -> None:
    run = make_run(store)
    artifacts = tuple(
        Artifact(id=str(n), name="d", type="system.Dataset", uri=f"/x/{n}", metadata={"n": n}, digest="a", created=NOON)
        for n in (2, 1)
    )
    task = make_task(
        run,
        "loop/0/a",
        state=State.FAILED,
        depends_on=("b", "c"),
        inputs=Values(parameters={"n": 1}, artifacts={"none": (), "data": artifacts}),
        outputs=Values(artifacts={"model": artifacts[:1]}),
        attempts=(
            Attempt(
                number=1,
                state=State.FAILED,
                started=NOON,
                finished=NOON,
                pid=5,
                pid_created=1.5,
                exit_code=1,
                error="e",
                log=Path("/l"),
            ),
        ),
        folder=Path("/f"),
        log=Path("/l"),
        started=NOON,
        finished=NOON + timedelta(seconds=2),
    )
    store.save_task(task)
    assert store.tasks(run.id) == [task]
    assert store.task_by_id(task.id) == task
    assert task.duration_s == 2
    assert replace(task, finished=NOON - timedelta(hours=1)).duration_s == 0  # the clock was set back
    assert store.artifact("2") == artifacts[0]
    without = replace(task, inputs=Values())
    store.save_task(without)
    assert store.tasks(run.id) == [without]


def test_tasks_and_events_are_recorded_together_or_not_at_all(store: Store) -> None:
    run = make_run(store)
    artifact = Artifact(id="x", name="d", type="t", uri="/x", created=NOON)
    old, unknown, new = (make_task(run, path) for path in ("old", "unknown", "new"))
    store.save_task(old)
    given = replace(old, state=State.RUNNING, inputs=Values(artifacts={"data": (artifact,)}))
    event = Event(run_id=run.id, time=NOON, state=State.RUNNING, task=given)
    store.save_tasks([given, unknown], added=[new], events=[event])
    assert {task.path: task for task in store.tasks(run.id)} == {"old": given, "unknown": unknown, "new": new}
    ended = replace(given, state=State.SUCCEEDED)
    store.save_tasks([ended], recorded={given.id: given})
    assert store.task_by_id(old.id) == ended
    with pytest.raises(IntegrityError):
        store.save_tasks([replace(old, error="wrong")], added=[new], events=[event])
    assert store.task_by_id(old.id) == ended
    assert len(store.events(run.id)) == 1


def test_runs_are_found_by_id_start_name_and_latest(store: Store) -> None:
    make_run(store, "alpha-1")
    make_run(store, "alpha-2", name="mine", created=NOON + timedelta(hours=1))
    assert store.run("latest").id == "alpha-2"
    assert store.run("mine").id == "alpha-2"
    assert store.run("alpha-1").id == "alpha-1"
    with pytest.raises(RunNotFound, match="several run ids: alpha-2, alpha-1"):
        store.run("alpha")
    for nothing in ("beta", "", "%"):
        with pytest.raises(RunNotFound, match="no run"):
            store.run(nothing)


def test_the_name_of_a_pipeline_is_its_newest_run_and_ids_win(store: Store) -> None:
    for number, pipeline in enumerate(["sum", "sum", "sum-up", "sum-up", "other"]):
        moment = NOON + timedelta(hours=number)
        make_run(store, f"{pipeline}-{number}", name=f"n{number}", created=moment, pipeline=pipeline)
    assert [store.run(name).id for name in ("sum", "sum-up", "sum_up", "other", "sum-0")] == [
        "sum-1",
        "sum-up-3",
        "sum-up-3",
        "other-4",
        "sum-0",
    ]
    make_run(store, "sum_up-named", name="sum", created=NOON)
    assert store.run("sum").id == "sum_up-named"
    assert store.run("sum_up").id == "sum_up-named"
    make_run(store, "su-1", name="y", created=NOON + timedelta(days=1))
    with pytest.raises(RunNotFound, match=r"'su' is the beginning of several run ids: su-1, sum-up-3, .* and more$"):
        store.run("su")
    with pytest.raises(RunNotFound, match=r"'sum-' is .* ids: sum-up-3, sum-up-2, sum-1, sum-0$"):
        store.run("sum-")
    with pytest.raises(RunNotFound, match="no run 'p'"):
        store.run("p", may_be_pipeline=False)
    assert store.run("p").id == "su-1"


def test_runs_are_listed_newest_first_by_pipeline_and_state(store: Store) -> None:
    for number in range(5):
        make_run(store, f"r{number}", created=NOON + timedelta(hours=number), pipeline=f"p{number % 2}")
    assert [run.id for run in store.runs(limit=2, offset=1)] == ["r3", "r2"]
    assert [run.id for run in store.runs(pipeline="p1")] == ["r3", "r1"]
    assert store.runs(states={State.FAILED}) == []


def test_steps_are_found_by_path_name_and_display_name(store: Store) -> None:
    run = make_run(store)
    for path in ("train-model", "loop/0/say", "loop/1/say"):
        store.save_task(make_task(run, path))
    for name in ("train-model", "train_model", "The train-model"):
        assert store.task(run.id, name).path == "train-model"
    assert store.task(run.id, "loop/1/say").path == "loop/1/say"
    store.save_task(make_task(run, "condition-1/condition-branches-2/export"))
    assert store.task(run.id, "The condition-1/condition-branches-2/export").name == "export"
    with pytest.raises(RunNotFound, match="several steps: loop/0/say, loop/1/say"):
        store.task(run.id, "say")
    with pytest.raises(RunNotFound, match="it has The train-model, loop/0/The loop"):
        store.task(run.id, "other")


def test_events_keep_their_order(store: Store) -> None:
    run = make_run(store)
    task = make_task(run, "a")
    store.add_events([Event(run_id=run.id, time=NOON, state=State.RUNNING)])
    store.add_events(
        [Event(run_id=run.id, time=NOON + timedelta(seconds=1), state=State.FAILED, task=task, message="m")]
    )
    assert [(event.task_path, event.message) for event in store.events(run.id)] == [("", ""), ("a", "m")]
    assert len(store.events(run.id, since=NOON)) == 1


def test_messages_that_utf8_cannot_hold_are_kept_as_escapes(store: Store) -> None:
    run = make_run(store, error="caf\udce9")
    store.save_task(make_task(run, "a", error="\ud800", error_detail="caf\udce9"))
    store.add_events([Event(run_id=run.id, time=NOON, state=State.FAILED, message="caf\udce9 caf\xe9")])
    task = store.task(run.id, "a")
    assert (store.run(run.id).error, task.error, task.error_detail) == ("caf\\udce9", "\\ud800", "caf\\udce9")
    assert store.events(run.id)[0].message == "caf\\udce9 caf\xe9"


def test_a_deleted_run_leaves_nothing(store: Store) -> None:
    run = make_run(store)
    artifact = Artifact(id="x", name="d", type="t", uri="/x", producer_task_id=f"{run.id}:a")
    store.save_task(make_task(run, "a", outputs=Values(artifacts={"o": (artifact,)})))
    store.remember("key", f"{run.id}:a")
    assert store.delete_run(run.id) == []
    assert store.runs() == []
    assert store.tasks(run.id) == []
    assert store.cached_task("key") is None
    with pytest.raises(RunNotFound):
        store.artifact("x")


def test_many_threads_and_two_connections_write_at_once(store: Store) -> None:
    run = make_run(store)
    with Store(store.home) as other:

        def write(number: int) -> None:
            (store if number % 2 else other).save_task(make_task(run, f"t{number}"))

        threads = [threading.Thread(target=write, args=(number,)) for number in range(30)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(store.tasks(run.id)) == 30


def test_a_lease_has_one_holder(store: Store) -> None:
    lease = acquire_lease(store.engine, "x")
    with pytest.raises(LeaseHeld, match="x is being worked on by process"):
        acquire_lease(store.engine, "x")
    assert lease.renew()
    assert is_held(store.engine, "x")
    lease.release()
    assert not is_held(store.engine, "x")
    acquire_lease(store.engine, "x")


def test_a_lease_is_held_while_the_clock_is_set(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    acquire_lease(store.engine, "x")
    set_clock(monkeypatch, by_s=3600.0)
    assert is_held(store.engine, "x")


@pytest.mark.parametrize(
    "lost",
    [
        {"pid_created": 1.0},  # the process id belongs to another process now
        {"host": "elsewhere", "renewed": NOON.timestamp() - STALE_AFTER_S},
    ],
)
def test_a_stale_lease_is_taken_over(store: Store, lost: dict[str, object]) -> None:
    lease = acquire_lease(store.engine, "x")
    with store.engine.begin() as connection:
        connection.execute(update(LEASES).values(**lost))
    assert not is_held(store.engine, "x")
    acquire_lease(store.engine, "x")
    assert not lease.renew()
    lease.release()
    assert is_held(store.engine, "x")


def test_a_silent_holder_elsewhere_is_given_time(store: Store) -> None:
    acquire_lease(store.engine, "x")
    with store.engine.begin() as connection:
        connection.execute(update(LEASES).values(host="elsewhere"))
    assert is_held(store.engine, "x")
