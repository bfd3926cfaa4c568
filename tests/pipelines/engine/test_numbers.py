"""Numbers on their way through a run: whole ones stay whole, and NaN goes on with a note."""

from __future__ import annotations

import json
import sqlite3
import tarfile
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from trainwright_pipelines.cli.main import run_command
from trainwright_pipelines.engine.records import State, Task, TaskKind, Values
from trainwright_pipelines.engine.resuming import is_done

if TYPE_CHECKING:
    from tests.pipelines.engine.conftest import Execute

    from trainwright_pipelines.engine.store import Store

GIVEN = "{'whole': 1, 'big': 9007199254740993, 'point': 1.0, 'flag': True, 'below': [-inf]}"
METADATA = "{'size': 3, 'big': 9007199254740993, 'ratio': 1.0, 'flag': True, 'parts': {'a': [1, 2.5]}}"


def check_json(text: str | bytes) -> None:
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def test_numbers_reach_a_python_component_as_another_gave_them(
    execute: Execute, store: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAINWRIGHT_HOME", str(store.home))
    finished = execute("numbers", path=str(store.home))
    assert finished.output("show-numbers") == f"({GIVEN}, {METADATA}, {{'loss': nan}}, [1, 2.5, True])"
    assert finished.output("show-metadata") == "{'parts': {'a': [1, 2]}, 'ratio': 1.5, 'size': 3}"
    [warning] = finished.tasks["give-numbers"].warnings
    assert warning.startswith(
        "it gave outputs.Output.below.0 (-Infinity), metadata.metrics.0.loss (NaN), which JSON has not: "
    )
    with sqlite3.connect(store.home / "store.db") as database:
        rows = database.execute("SELECT inputs, outputs FROM tasks UNION SELECT metadata, '0' FROM artifacts")
        for texts in rows:
            for text in texts:
                check_json(text)
    assert run_command(["runs", "show", finished.run.id, "--json"]) == 0
    check_json(capsys.readouterr().out)
    archive = store.home / "run.tar.gz"
    assert run_command(["runs", "export", finished.run.id, "--output", str(archive)]) == 0, capsys.readouterr().err
    with tarfile.open(archive) as packed:
        check_json(packed.extractfile(f"{finished.run.id}/record.json").read())


def test_a_step_that_takes_nan_is_done_when_its_run_is_resumed() -> None:
    def taking(value: object) -> Values:
        return Values(parameters={"x": [value]})

    task = Task(
        id="t",
        run_id="r",
        name="t",
        path="t",
        parent_path="",
        kind=TaskKind.PYTHON,
        component="c",
        display_name="t",
        state=State.SUCCEEDED,
        inputs=taking(float("nan")),
    )
    assert is_done(task, taking(float("nan")))
    assert not is_done(task, taking(float("inf")))
    assert not is_done(replace(task, inputs=taking(1)), taking(True))
