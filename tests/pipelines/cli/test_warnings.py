"""What a run goes on without reaches whoever looks at it."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import trainwright as public
from trainwright_pipelines.cli.outcome import print_outcome
from trainwright_pipelines.engine.records import Artifact, Run, State, Task, TaskKind, Values
from trainwright_pipelines.views.warnings import gather_warnings

COMPLAINING = f"{Path(__file__).parent / 'sums.py'}:complaining"


def test_a_warning_is_told_on_the_screen_in_the_record_on_the_page_and_in_python(
    trainwright: Callable[..., Any],
) -> None:
    ran = trainwright("run", COMPLAINING)
    assert ran.err.count("warning: complain: few units\n") == 1
    assert "warnings       complain: few units\n" in ran.out
    again = json.loads(trainwright("runs", "resume", "--json").out)
    assert again["warnings"] == ["complain: few units"], "which both attempts gave"
    assert again["steps"][0]["warnings"] == ["few units"]
    assert "warnings       complain: few units\n" in trainwright("runs", "show").out
    found = public.get_run()
    assert found.warnings == ("complain: few units",)
    assert found.task("complain").warnings == ("few units",)
    page = found.page.read_text()
    assert "<li>complain: few units</li>" in page
    assert '<ul class="warnings"><li>few units</li></ul>' in page


def test_kfp_says_once_that_its_default_image_will_change(tmp_path: Path) -> None:
    components = "".join(f"@dsl.component\ndef step_{place}(): pass\n\n" for place in range(3))
    file = tmp_path / "three.py"
    file.write_text(f"from kfp import dsl\n\n{components}@dsl.pipeline\ndef three(): step_0()\n")
    command = [sys.executable, "-m", "trainwright_pipelines.cli.main", "pipelines", str(file)]
    env = {name: value for name, value in os.environ.items() if name != "PYTHONWARNINGS"}
    told = subprocess.run(command, env=env, capture_output=True, text=True, check=True).stderr
    assert told.count("The default base_image used by") == 1


def test_a_warning_of_many_steps_is_one() -> None:
    run = Run(
        id="r",
        name="r",
        pipeline="p",
        state=State.SUCCEEDED,
        parameters={},
        folder=Path(),
        created=datetime.now(UTC),
        warnings=("old",),
    )
    tasks = [
        Task(
            id=name,
            run_id="r",
            name=name,
            path=f"loop/{name}/say",
            parent_path=f"loop/{name}",
            kind=TaskKind.PYTHON,
            component="comp-say",
            display_name="",
            warnings=("dull", "blunt") if name == "0" else ("dull",),
        )
        for name in "01234"
    ]
    told = [each.text for each in gather_warnings(run, tasks)]
    assert told == ["old", "loop/0/say, loop/1/say, loop/2/say and 2 more: dull", "loop/0/say: blunt"]


def test_many_warnings_and_artifacts_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    artifacts = tuple(Artifact(id=str(each), name="a", type="system.Dataset", uri=f"/a/{each}") for each in range(9))
    run = Run(
        id="r",
        name="r",
        pipeline="p",
        state=State.SUCCEEDED,
        parameters={},
        folder=Path(),
        created=datetime.now(UTC),
        warnings=tuple(f"w{each}" for each in range(25)),
        outputs=Values(parameters={"text": "x\n" * 1000}, artifacts={"all": artifacts}),
    )
    print_outcome(run, [], None)
    said = capsys.readouterr().out
    assert "w19\n               5 more: trainwright runs show r --json\n" in said
    assert "all: /a/4\n               all: 4 more\n" in said
    assert max(map(len, said.splitlines())) < 400
