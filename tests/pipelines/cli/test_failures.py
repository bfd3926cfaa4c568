"""What is printed of a step that failed."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from trainwright_pipelines.cli.outcome import print_failure
from trainwright_pipelines.engine.records import Run, State, Task, TaskKind


def test_the_folder_of_a_step_is_named_where_it_came_to_have_one(capsys: pytest.CaptureFixture[str]) -> None:
    run = Run(
        id="r", name="r", pipeline="p", state=State.FAILED, parameters={}, folder=Path(), created=datetime.now(UTC)
    )
    told = []
    for folder in (None, Path("/steps/say")):
        task = Task(
            id="t",
            run_id="r",
            name="say",
            path="say",
            parent_path="",
            kind=TaskKind.PYTHON,
            component="comp-say",
            display_name="",
            state=State.FAILED,
            error="say needs a value for 'x'",
            folder=folder,
        )
        print_failure(run, task, [task])
        told.append(capsys.readouterr().err.splitlines())
    without, with_folder = told
    assert without == ["step say failed: say needs a value for 'x'", with_folder[2], ""]
    assert with_folder[1] == "folder         /steps/say"
