"""Sentences about records."""

from dataclasses import replace
from datetime import UTC, datetime

from trainwright_pipelines.engine.records import Attempt, State, Task, TaskKind
from trainwright_pipelines.views.wording import packages_note


def test_packages_are_told_with_how_they_came() -> None:
    task = Task(
        id="t", run_id="r", name="s", path="s", parent_path="", kind=TaskKind.PYTHON, component="c", display_name="s"
    )
    attempt = Attempt(number=1, state=State.RUNNING, started=datetime.now(UTC))
    installed = replace(attempt, packages={"a": "1.0", "b": "2"}, installed_s=3.2)
    notes = [packages_note(replace(task, attempts=attempts)) for attempts in [(), (attempt,), (attempt, installed)]]
    assert notes == ["", "", "a 1.0, b 2; installed in 3.2 s"]
    reused = replace(installed, installed_s=None)
    assert packages_note(replace(task, attempts=(reused,))) == "a 1.0, b 2; there from an earlier step"
