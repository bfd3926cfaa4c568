"""What runs, in which order and with which values: compiled pipelines executed whole."""

from __future__ import annotations

from datetime import datetime
from itertools import groupby, pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from trainwright_pipelines.engine import runs
from trainwright_pipelines.engine.records import Event, State, Task, TaskKind
from trainwright_pipelines.ir.parsing import parse_pipeline
from trainwright_pipelines.views.graph import build_graph

if TYPE_CHECKING:
    from tests.pipelines.engine.conftest import Execute, Executed

    from trainwright_pipelines.engine.store import Store


def test_a_chain_passes_parameters_on(execute: Execute) -> None:
    finished = execute("chain", n=4)
    assert finished.run.state == State.SUCCEEDED
    assert finished.run.outputs.parameters == {"Output": 16}
    assert finished.tasks["add-2"].inputs.parameters == {"a": 6, "b": 10}


def test_values_keep_their_types_inside_lists_and_structs_too(execute: Execute) -> None:
    shown = execute("typed").run.outputs.parameters["Output"]
    assert shown == "(3, 2.0, True, [1, 2.5, 'x', [3]], {'a': 1, 'b': [2]}, 'none given', None)"
    shown = execute("typed", number="7", ratio=1, flag="false", items="[1]", table={"x": 1.0}, missing="m").run.outputs
    assert shown.parameters["Output"] == "(7, 1.0, False, [1], {'x': 1.0}, 'none given', 'm')"


def test_one_branch_of_a_condition_runs_and_its_output_is_chosen(execute: Execute) -> None:
    heads = execute("branches", heads=True, number=2)
    assert heads.run.outputs.parameters == {"chosen": "it is heads", "size": "small"}
    tails = execute("branches", heads=False, number=5)
    assert tails.run.outputs.parameters == {"chosen": "it is tails", "size": "middle"}
    assert execute("branches", number=10).run.outputs.parameters["size"] == "large"
    assert tails.state("condition-branches-1/condition-2") == State.SKIPPED
    assert "condition is false" in tails.tasks["condition-branches-1/condition-2"].error
    assert "condition-branches-1/condition-2/say" not in tails.tasks


def test_one_of_two_artifacts_is_chosen(execute: Execute) -> None:
    assert execute("artifact_branches", heads=True).run.outputs.parameters == {"Output": "heads"}
    assert execute("artifact_branches", heads=False).run.outputs.parameters == {"Output": "tails"}


def test_a_value_with_quotes_is_a_value_and_never_code(execute: Execute) -> None:
    assert execute("quoted").run.outputs.parameters == {"Output": "right"}
    assert execute("quoted", text="plain").run.outputs.parameters == {"Output": "wrong"}


def test_a_condition_that_cannot_be_read_fails_instead_of_choosing(executed: Executed) -> None:
    finished = executed("injected")
    assert finished.run.state == State.FAILED
    assert "cannot be read at or" in finished.tasks["condition-1"].error


def test_a_false_condition_skips_what_is_inside_and_the_run_succeeds(execute: Execute) -> None:
    finished = execute("skipped_after", flag=False)
    assert finished.run.state == State.SUCCEEDED
    assert finished.state("condition-1") == State.SKIPPED
    assert finished.state("say-3") == State.SUCCEEDED
    assert execute("skipped_after", flag=True).output("condition-1/say-2") == "inside"


def test_loops_over_constants_results_and_structs_and_nested(executed: Executed) -> None:
    finished = executed("loops")
    assert finished.run.outputs.parameters == {
        "sum": 101 + 102 + 103,
        "joined": "ab" * (1 + 2 + 3),
        "nested": [10, 20, 11, 21, 12, 22],
        "pairs": ["(1, 1.5, False, [1], {}, 'x', None)", "(2, 1.5, False, [1], {}, 'y', None)"],
    }
    assert finished.tasks["for-loop-3"].outputs.parameters["pipelinechannel--add-2-Output"] == [
        [10, 20],
        [11, 21],
        [12, 22],
    ]
    assert finished.tasks["for-loop-3/0/for-loop-5"].kind == TaskKind.LOOP
    assert finished.tasks["for-loop-3/0"].kind == TaskKind.ITERATION


def span(task: Task) -> tuple[datetime, datetime]:
    """When it started and when it ended."""
    assert task.started is not None
    assert task.finished is not None
    return task.started, task.finished


def test_a_loop_keeps_to_its_parallelism(executed: Executed) -> None:
    finished = executed("loops")
    times = sorted(span(finished.tasks[f"for-loop-2/{index}"]) for index in range(3))
    assert all(one_finished <= started for (_, one_finished), (started, _) in pairwise(times))


def test_of_a_long_loop_few_iterations_are_open_and_none_is_done_twice(
    specs: Path, store: Store, tmp_path: Path
) -> None:
    """The group around the loop is tried three times; an earlier process has recorded more items than there are."""
    created = runs.create_run((specs / "long_loop.yaml").read_text(), {"log": str(tmp_path / "log")}, store=store)
    loop = "twenty-items/for-loop-2"
    for path, kind in ((f"{loop}/25", TaskKind.ITERATION), (f"{loop}/25/condition-3", TaskKind.DAG)):
        parent, _, name = path.rpartition("/")
        old = Task(
            id=path,
            run_id=created.id,
            name=name,
            path=path,
            parent_path=parent,
            kind=kind,
            component="",
            display_name="",
        )
        store.save_task(old)
    open_now: set[str] = set()
    most = 0

    def look(event: Event) -> None:
        nonlocal most
        if event.task is not None and event.task.kind == TaskKind.ITERATION:
            (open_now.discard if event.state.is_final else open_now.add)(event.task.path)
            most = max(most, len(open_now))

    run = runs.execute(created.id, store=store, listener=look, max_parallel=2)
    tasks = {task.path: task for task in store.tasks(run.id)}
    assert run.state == State.SUCCEEDED
    assert (tmp_path / "log").read_text() == "abbb"
    assert (tasks[loop].item_count, tasks["twenty-items"].item_count) == (20, None)
    iterations = [task for task in tasks.values() if task.parent_path == loop]
    assert [task.name for task in iterations] == [str(index) for index in range(20)]
    assert {task.state for task in iterations} == {State.SUCCEEDED}
    assert f"{loop}/25/condition-3" not in tasks
    assert 2 <= most <= 4


def test_a_loop_over_nothing_gives_empty_lists(execute: Execute) -> None:
    finished = execute("loops", n=0)
    assert finished.run.outputs.parameters["nested"] == []
    assert finished.state("for-loop-3") == State.SUCCEEDED


def test_pipelines_in_pipelines_give_parameters_and_artifacts(executed: Executed) -> None:
    finished = executed("nested")
    assert finished.run.outputs.parameters == {"Output": "zzzzz"}
    assert finished.tasks["inner/add"].parent_path == "inner"


def test_an_exit_task_runs_and_knows_how_it_ended(execute: Execute) -> None:
    finished = execute("exit_handler", message="boom")
    assert finished.run.state == State.FAILED
    assert finished.output("show-status").startswith(f"FAILED|exit-handler-1|{finished.run.name}|")
    assert "boom" in finished.output("show-status")
    assert finished.state("exit-handler-1/say") == State.SKIPPED
    assert finished.tasks["exit-handler-1/say"].error == "not run because fail failed"


def test_after_a_failure_only_what_asks_for_it_runs_and_the_run_has_failed(executed: Executed) -> None:
    finished = executed("after_failure")
    assert finished.run.state == State.FAILED
    assert finished.run.error == "fail failed: ValueError: broken"
    states = [finished.state(path) for path in ("fail", "say", "say-2", "say-3")]
    assert states == [State.FAILED, State.SUCCEEDED, State.SKIPPED, State.SUCCEEDED]


def test_placeholders_are_filled_in_constants(execute: Execute) -> None:
    finished = execute("placeholders", name="you")
    run, shown = finished.run, finished.output("show-place")
    assert finished.output("say-2") == "you and you"
    assert shown["job"] == run.name
    assert shown["job_id"] == run.id
    assert shown["task"] == "show-place"
    assert shown["task_id"] == finished.tasks["show-place"].id
    assert shown["root"] == f"{run.folder}/steps/x"
    assert shown["created"] == shown["scheduled"] == f"{run.created:%Y-%m-%dT%H:%M:%SZ}"
    assert shown["workspace"] == f"{run.folder}/workspace"


def test_independent_steps_run_at_the_same_time(executed: Executed) -> None:
    finished = executed("after_failure")
    one, other = finished.tasks["fail"], finished.tasks["say-3"]
    assert span(one)[0] < span(other)[1]
    assert span(other)[0] < span(one)[1]


def test_an_import_takes_a_local_path_as_it_is(execute: Execute, tmp_path: Path) -> None:
    (tmp_path / "data.txt").write_text("imported")
    finished = execute("imported", path=str(tmp_path / "data.txt"))
    assert finished.run.outputs.parameters == {"Output": "imported"}
    (artifact,) = finished.tasks["importer"].outputs.artifacts["artifact"]
    assert artifact.path == tmp_path / "data.txt"
    assert artifact.metadata == {"label": "mine", "long": "mine-x"}
    assert artifact.type == "system.Dataset"


def test_an_import_of_nothing_fails(execute: Execute, tmp_path: Path) -> None:
    finished = execute("imported", path=str(tmp_path / "nowhere"))
    assert finished.run.state == State.FAILED
    assert "nothing to import" in finished.tasks["importer"].error


def test_an_import_from_elsewhere_is_by_reference(execute: Execute) -> None:
    finished = execute("imported", path="hf://bucket/data")
    (artifact,) = finished.tasks["importer"].outputs.artifacts["artifact"]
    assert artifact.uri == "hf://bucket/data"
    assert artifact.path is None


def test_the_listener_knows_the_log_of_a_step_that_runs(executed: Executed) -> None:
    running = [event.task for event in executed("chain").events if event.task and event.state == State.RUNNING]
    assert [task.path for task in running if task.log] == ["add", "add-2"]


def test_the_listener_hears_every_change_in_order(executed: Executed) -> None:
    finished = executed("chain")
    heard = [(event.task.path if event.task else "", event.state) for event in finished.events]
    for path in ("add", "add-2"):
        states = groupby(state for heard_path, state in heard if heard_path == path)  # a log is told as a change too
        assert [state for state, _ in states] == [State.PENDING, State.RUNNING, State.SUCCEEDED]
    assert heard[0] == ("", State.RUNNING)
    assert heard[-1] == ("", State.SUCCEEDED)


def test_groups_are_called_what_their_author_called_them(execute: Execute, store: Store, specs: Path) -> None:
    finished = execute("named_groups")
    labels = {task.label: task for task in finished.tasks.values()}
    assert "good enough" in labels
    assert "good enough/Deploy it/note" in labels
    assert "good enough/Refuse" in labels
    assert "not good" in labels
    assert "each one/0/note-2" in labels
    assert finished.run.error.startswith("good enough/Refuse failed: ValueError: b")
    for label, task in labels.items():
        assert store.task(finished.run.id, label).id == task.id, label
    graph = build_graph(parse_pipeline((specs / "named_groups.yaml").read_text()), [*finished.tasks.values()])
    inside = [each for node in graph for each in (node, *node.children)]
    shown = {each.label for node in inside for each in (node, *node.children)}
    assert {"good enough", "not good", "each one", "Deploy it"} <= shown
    assert any(label.startswith("if ") for label in shown)
