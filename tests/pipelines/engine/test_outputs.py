"""What a task says that it gave, in KFP's ExecutorOutput, of today and of its first releases."""

import json
from pathlib import Path
from typing import Any

import pytest

from trainwright_components.errors import RunFailed
from trainwright_pipelines.engine.contract import StepFolder, build_executor_input, read_outputs
from trainwright_pipelines.engine.records import Artifact, Values
from trainwright_pipelines.ir.spec import ArtifactSlot, Component, ParameterSlot

COMPONENT = Component(
    name="comp-a",
    input_parameters={},
    input_artifacts={},
    output_parameters={"count": ParameterSlot(type="NUMBER_INTEGER")},
    output_artifacts={"model": ArtifactSlot(schema={"schemaTitle": "system.Model"})},
)


def given(folder: Path, said: dict[str, Any]) -> Values:
    """What the engine takes from a task that wrote its model, and said this."""
    step = StepFolder(folder)
    step.make()
    executor_input = build_executor_input(COMPONENT, Values(), step, step.artifacts)
    (step.artifacts / "model").write_text("weights")
    (step.work / "own").write_text("weights in its working folder")
    step.executor_output.write_text(json.dumps(said))
    return read_outputs(COMPONENT, executor_input, step, task_id="t").values


def model(folder: Path, **said: Any) -> Artifact:
    [artifact] = given(
        folder, {"parameterValues": {"count": 1}, "artifacts": {"model": {"artifacts": [said]}}}
    ).artifacts["model"]
    return artifact


@pytest.mark.parametrize("said", [{"parameterValues": {"count": 3}}, {"parameters": {"count": {"intValue": "3"}}}])
def test_parameters_are_read_in_the_form_of_today_and_of_old(tmp_path: Path, said: dict[str, Any]) -> None:
    assert given(tmp_path, said).parameters == {"count": 3}


def test_an_artifact_is_what_its_task_says(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("other weights")
    made = model(
        tmp_path,
        name="best",
        type={"schemaTitle": "google.VertexModel"},
        uri=str(elsewhere),
        metadata={"layers": 3, "loss": 0.5},
    )
    assert (made.name, made.type, made.uri) == ("best", "google.VertexModel", str(elsewhere))
    assert dict(made.metadata) == {"layers": 3, "loss": 0.5}


def test_what_lies_at_a_path_of_the_tasks_own_goes_to_the_artifacts_place(tmp_path: Path) -> None:
    """As after Artifact.set_path in kfp: the launcher uploads from there (backend/src/v2/component/launcher_v2.go)."""
    (tmp_path / "own").write_text("own weights")
    place = StepFolder(tmp_path).artifacts / "model"
    made = model(tmp_path, uri=str(place), custom_path=str(tmp_path / "own"))
    assert made.uri == str(place)
    assert place.read_text() == "own weights"


def test_a_path_of_the_tasks_own_begins_in_its_working_folder_and_counts_alone(tmp_path: Path) -> None:
    assert Path(model(tmp_path, custom_path="own").uri).read_text() == "weights in its working folder"
    with pytest.raises(RunFailed, match="nothing was written to absent"):
        model(tmp_path, custom_path="absent", metadata={"layers": 3})
