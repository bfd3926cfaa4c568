"""The document of a run for scripts: complete, and as pipelines/README.md has it."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from trainwright_pipelines.cli.output import json_text
from trainwright_pipelines.engine.records import Artifact, Attempt, Run, Task, Values
from trainwright_pipelines.views.run_document import RENAMED, run_document

README = (Path(__file__).parents[3] / "pipelines" / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def document(run: Run, tasks: list[Task]) -> Mapping[str, Any]:
    artifact = tasks[0].outputs.artifacts["report"][0]
    returned = Values(parameters={"loss": float("nan"), "most": float("inf")}, artifacts={"page": (artifact,)})
    printed = json_text(run_document(replace(run, outputs=returned), tasks, page=None, live_state="INTERRUPTED"))

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    return dict(json.loads(printed, parse_constant=refuse))


def rows_of(document: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    step = document["steps"][0]
    [artifact] = document["outputs"]["artifacts"]["page"]
    return {
        "field of the run": document,
        "field of a step or a group": step,
        "a try": step["tries"][0],
        "values": document["outputs"],
        "an artifact": artifact,
    }


def told_fields() -> dict[str, set[str]]:
    """The fields that the README names, by table, or by row of the last one."""
    told: dict[str, set[str]] = {}
    title = ""
    for line in README.partition("\n# The document of a run\n")[2].splitlines():
        first, *others = [cell.strip() for cell in line.strip("|").split(" | ")]
        if first.startswith("field of"):
            title = first
        elif first.startswith("`"):
            told.setdefault(title, set()).update(re.findall(r"`(\w+)`", first))
        elif title == "field of" and others:
            told[first] = set(re.findall(r"`(\w+)`", re.sub(r"\(.*?\)", "", others[0])))
    return told


def test_the_readme_names_every_field_and_no_other(document: Mapping[str, Any]) -> None:
    told = told_fields()
    for title, shown in rows_of(document).items():
        assert told[title] == set(shown), title
    assert {name for each in document["groups"] for name in each} == told["field of a step or a group"]


@pytest.mark.parametrize(
    ("record", "title"),
    [
        (Run, "field of the run"),
        (Task, "field of a step or a group"),
        (Attempt, "a try"),
        (Values, "values"),
        (Artifact, "an artifact"),
    ],
)
def test_every_field_of_the_records_is_in_it(record: Any, title: str, document: Mapping[str, Any]) -> None:
    names = {RENAMED[record].get(each.name, each.name) for each in fields(record)}
    assert names <= set(rows_of(document)[title])


def test_groups_iterations_and_tries_are_told_apart(document: Mapping[str, Any], tasks: Sequence[Task]) -> None:
    steps = {each["step"]: each for each in document["steps"]}
    groups = {each["step"]: each for each in document["groups"]}
    assert sorted([*steps, *groups]) == sorted(task.path for task in tasks)
    assert {name: each["kind"] for name, each in groups.items()} == {
        "condition-1": "dag",
        "for-loop-1": "loop",
        "for-loop-1/0": "iteration",
        "for-loop-1/1": "iteration",
    }
    assert (steps["for-loop-1/1/score"]["iterations"], groups["for-loop-1/1"]["iterations"]) == ([1], [1])
    assert (steps["for-loop-1/1/score"]["parent"], steps["evaluate"]["iterations"]) == ("for-loop-1/1", [])
    assert (steps["prepare-data"]["state"], steps["evaluate"]["attempts"]) == ("CACHED", 1)
    assert document["outputs"]["parameters"] == {"loss": None, "most": None}
    assert (document["live_state"], document["page"]) == ("INTERRUPTED", None)
