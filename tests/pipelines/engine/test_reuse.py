"""Why a step has the results of an earlier one, or has not."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from trainwright_pipelines.engine import cache, reuse
from trainwright_pipelines.engine.cache import Fingerprint
from trainwright_pipelines.engine.records import Run, State, Task, TaskKind, Values
from trainwright_pipelines.engine.reuse import comparable_component, look_up
from trainwright_pipelines.engine.store import Store
from trainwright_pipelines.ir.parsing import parse_pipeline

if TYPE_CHECKING:
    from tests.pipelines.engine.conftest import Execute, Finished


def why(finished: Finished, path: str) -> str:
    note = finished.tasks[path].cache
    return str(note["why"]).replace(str(note["run"]), "R") if note["run"] else str(note["why"])


def test_a_step_says_what_differs_from_the_nearest_record(execute: Execute, store: Store, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("one")
    first = execute("cached", path=str(file))
    assert why(first, "write") == "no earlier results of this step are on record"
    assert why(first, "say-2") == "the pipeline switches caching off for it"
    file.write_text("two")
    second = execute("cached", path=str(file), text="other")
    assert why(second, "measure") == "taken from step measure of run R"
    assert why(second, "write") == 'the parameter \'text\' differs ("data" -> "other"), compared with run R'
    assert why(second, "read") == "the artifact 'data' has other content, compared with run R"
    assert why(second, "say") == f"what the parameter 'text' names has other content: {file}, compared with run R"
    assert {task.cache["run"] for task in second.tasks.values()} == {first.run.id, ""}
    assert second.tasks["read"].cache["differs"] == ["artifacts.data"]
    assert (store.task(second.run.id, "read").cache, store.task(first.run.id, "read").cache["result"]) == (
        second.tasks["read"].cache,
        "miss",
    )
    third = execute("cached", text="data", path="/dev/null")
    assert why(third, "say") == "the content of an input cannot be told: /dev/null is neither a file nor a folder"
    assert third.tasks["say"].cache["result"] == "off"
    made = second.tasks["write"].outputs.artifacts["out"][0].path
    made.unlink()
    fourth = execute("cached", text="other")
    assert why(fourth, "write") == f"the results of step write of run R are gone: {made}".replace(second.run.id, "R")
    off = execute("cached", uses_cache=False)
    assert {task.cache["why"] for task in off.tasks.values()} == {"caching is off for the run"}


def test_a_result_whose_metadata_says_why_it_stands_for_no_later_run_is_taken_by_none(
    execute: Execute, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reuse, "NOT_KEPT", "length")  # which the step write gives
    file = tmp_path / "file"
    file.touch()
    first, second = (execute("cached", path=str(file)) for _ in range(2))
    assert first.tasks["write"].cache["not_kept"] == str(
        first.tasks["write"].outputs.artifacts["out"][0].metadata["length"]
    )
    assert second.tasks["write"].cache["result"] == "miss"
    assert second.tasks["measure"].cache["result"] == "hit"


def test_the_record_with_the_fewest_differences_is_the_nearest(store: Store) -> None:
    now = Remembering(store)
    now.remember("far", path="say", text=1, other=1, code=1)
    now.remember("near", path="say", text=2, other=2, code=1)
    now.remember("newer", path="elsewhere", text=3, other=1, code=1)
    now.remember("foreign", path="say", pipeline="q", text=1, other=2, code=2)
    assert now.differs(text=1, other=2, code=1) == ("near", ["parameters.text"]), "of its own path, before a newer one"
    assert now.differs(text=1, other=2, code=3) == ("near", ["parameters.text", "program", "interface"])
    assert now.differs(text=9, other=9, code=1)[0] == "near"


class Remembering:
    """Runs of one step each, remembered with what they were made of."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def task(self, name: str, path: str, pipeline: str) -> Task:
        now = datetime.now(UTC)
        run = Run(
            id=name, name=name, pipeline=pipeline, state=State.RUNNING, parameters={}, folder=Path("/n"), created=now
        )
        self.store.add_run(run, "")
        task = Task(
            id=name,
            run_id=name,
            name=path,
            path=path,
            parent_path="",
            kind=TaskKind.PYTHON,
            component="comp-say-2",
            display_name=path,
        )
        self.store.save_task(task)
        return task

    def fingerprint(self, code: int, parameters: dict[str, int]) -> Fingerprint:
        parts = {f"parameters.{name}": str(value) for name, value in parameters.items()}
        return Fingerprint(key=f"{code}{parts}", parts=parts | {"interface": str(code), "program": str(code)})

    def remember(self, name: str, path: str, code: int, pipeline: str = "p", **parameters: int) -> None:
        task, made = self.task(name, path, pipeline), self.fingerprint(code, parameters)
        self.store.remember(made.key, name, component=comparable_component(task), parts=made.parts)

    def note(self, code: int, **parameters: int) -> dict[str, Any]:
        name = f"{code}{parameters}"
        task = self.task(name, "say", "p")
        found = look_up(lambda: self.fingerprint(code, parameters), task, run=self.store.run(name), store=self.store)
        return dict(found.note)

    def differs(self, code: int, **parameters: int) -> tuple[str, list[str]]:
        note = self.note(code, **parameters)
        return note["run"], note["differs"]


def test_what_is_filled_into_a_parameter_is_on_record_as_a_digest_only(store: Store) -> None:
    now = Remembering(store)
    now.remember("before", path="say", config=1, code=1)
    told = "what is filled into the parameter 'config' differs, compared with run before"
    assert now.note(config=2, code=1)["why"] == told


def test_every_part_of_a_key_has_words(specs: Path) -> None:
    pipeline = parse_pipeline((specs / "ours.yaml").read_text())
    assert pipeline.root.dag is not None
    spec = pipeline.root.dag.tasks["warm"]
    component = pipeline.component_of(spec)
    container = pipeline.executors[component.executor].container
    assert container is not None
    taken = cache.take_fingerprint(spec, component, container, Values(parameters={"text": "a"}), code_digest="1")
    told = {name for name in (*taken.parts, "key", "packages", "libraries") if "." not in name}
    assert told - {"image"} == set(reuse._WORDS)
