"""A new run that begins at a step of another one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import event

from trainwright_components.errors import InvalidSetting, RunNotFound
from trainwright_pipelines.engine import runs
from trainwright_pipelines.engine.records import Run, State, Task
from trainwright_pipelines.engine.repeating import Surroundings, repeat_from
from trainwright_pipelines.engine.store import Store
from trainwright_pipelines.ir.parsing import parse_pipeline
from trainwright_pipelines.service.pages.run_page import write_run_page

if TYPE_CHECKING:
    from tests.pipelines.engine.conftest import Execute


@pytest.fixture
def begin(store: Store) -> Any:
    """Execute a new run that begins at a step; the paths of steps that ran, and all tasks."""

    def begin(run: Run, step: str, **more: Any) -> tuple[set[str], dict[str, Task], Run]:
        new = runs.execute(repeat_from(run.id, step, store=store, **more).id, store=store)
        tasks = {task.path: task for task in store.tasks(new.id)}
        assert new.state == State.SUCCEEDED, new.error
        return {path for path, task in tasks.items() if task.attempts}, tasks, new

    return begin


def test_the_step_and_what_comes_after_it_run_and_the_rest_is_taken_over(
    execute: Execute, begin: Any, store: Store
) -> None:
    first = execute("rerunnable")
    ran, tasks, new = begin(first.run, "middle")
    assert ran == {"say-2", "condition-1/say-4", "condition-1/said/say"}
    assert {path for path, task in tasks.items() if task.is_cached} == {"say", "say-3"}
    taken, old = tasks["say"], first.tasks["say"]
    assert taken.outputs == old.outputs
    assert (taken.cached_from, taken.cache["run"], taken.cache["step"]) == (old.id, first.run.id, "say")
    assert tasks["say-2"].cache["why"] == "the run begins at say-2"
    origin = {"run": first.run.id, "from": "say-2", "with": "the same pipeline", "uses_cache": True}
    assert new.provenance["repeats"] == origin
    assert not new.uses_cache
    assert runs.repeat(new.id, store=store).uses_cache, "all of it again, as it was first asked for"
    assert f"taken from step first of run {first.run.id}" in write_run_page(store, new.id).read_text()
    assert new.outputs.parameters == first.run.outputs.parameters
    ran, _, _ = begin(first.run, "said/say")
    assert ran == {"condition-1/said/say"}, "by its label, in a group and a sub-pipeline"


def test_the_new_run_is_on_record_with_what_it_takes_over_or_not_at_all(execute: Execute, store: Store) -> None:
    first = execute("rerunnable")
    commits: list[object] = []
    event.listen(store.engine, "commit", commits.append)
    new = repeat_from(first.run.id, "middle", store=store)
    assert len(commits) == 1
    assert {task.path for task in store.tasks(new.id)} == {"say", "say-3"}


def test_one_iteration_of_a_loop_runs_with_what_collects_it(execute: Execute, begin: Any, store: Store) -> None:
    first = execute("loops")
    loop = next(path for path in first.tasks if path.endswith("/1/write")).removesuffix("/1/write")
    step = next(path for path in first.tasks if path.startswith(f"{loop}/1/add"))
    ran, tasks, new = begin(first.run, step)
    assert ran == {step, "total", "join"}
    assert new.outputs.parameters == first.run.outputs.parameters
    assert set(tasks) == set(first.tasks)
    around = Surroundings.of(parse_pipeline(store.spec_text(first.run.id)), loop)
    assert around.later == ("join", "total")
    assert all(around.runs(path) for path in first.tasks if path.startswith(loop))


def test_a_run_begins_at_a_step_with_its_edited_code(execute: Execute, begin: Any, store: Store, specs: Path) -> None:
    first = execute("chain", n=1)
    spec = (specs / "chain.yaml").read_text()
    ran, tasks, new = begin(first.run, "add-2", edited_spec=spec.replace("return a + b", "return a * b"))
    assert (ran, tasks["add"].outputs.parameters["Output"]) == ({"add-2"}, 3)
    assert new.outputs.parameters == {"Output": 30}
    assert new.warnings == (
        f"the edited pipeline changes add, whose results of run {first.run.id} stay: begin at that step to change them",
    )
    assert store.spec_text(new.id) != store.spec_text(first.run.id)
    with pytest.raises(InvalidSetting, match="has no step 'add' with the same inputs and outputs"):
        repeat_from(first.run.id, "add-2", store=store, edited_spec=re.sub(r"\bb:$", "c:", spec, flags=re.M))
    with pytest.raises(InvalidSetting, match="the edited pipeline has no step 'add-2'"):
        repeat_from(first.run.id, "add-2", store=store, edited_spec=(specs / "one_sleeper.yaml").read_text())


def test_a_run_cannot_begin_where_results_of_steps_before_are_missing(execute: Execute, store: Store) -> None:
    first = execute("cached")
    made = first.tasks["write"].outputs.artifacts["out"][0].path
    made.write_text("edited")
    with pytest.raises(InvalidSetting, match=rf"the results of step write before it are changed: {made}\. Run it all"):
        repeat_from(first.run.id, "read", store=store)
    made.unlink()
    with pytest.raises(InvalidSetting, match="write before it are gone"):
        repeat_from(first.run.id, "read", store=store)
    failed = execute("after_failure")
    with pytest.raises(InvalidSetting, match=r"step fail before it is failed in run .* runs resume"):
        repeat_from(failed.run.id, "say-2", store=store)
    with pytest.raises(RunNotFound, match="has no step 'none'"):
        repeat_from(first.run.id, "none", store=store)
    assert {run.id for run in store.runs()} == {first.run.id, failed.run.id}, "nothing is recorded of what was refused"


def test_what_was_taken_over_stays_when_the_run_is_resumed(execute: Execute, store: Store) -> None:
    first = execute("chain")
    new = repeat_from(first.run.id, "add-2", store=store)
    assert runs.cancel(new.id, store=store).state == State.CANCELED
    resumed = execute("chain", resume=new.id)
    assert [len(resumed.tasks[name].attempts) for name in ("add", "add-2")] == [0, 1]
    assert resumed.tasks["add"].cached_from == first.tasks["add"].id


def test_what_comes_before_and_after_a_step_is_known_at_every_level(specs: Path) -> None:
    around = Surroundings.of(parse_pipeline((specs / "rerunnable.yaml").read_text()), "condition-1/said/say")
    assert around.earlier == ("say", "say-2", "condition-1/say-4")
    assert (around.later, around.groups) == ((), ("condition-1", "condition-1/said"))
