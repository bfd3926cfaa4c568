"""Artifacts that steps leave unwritten, and those that a pipeline itself is given."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import trainwright
from trainwright_components.errors import InvalidSetting, RunFailed
from trainwright_pipelines.cli.main import run_command
from trainwright_pipelines.engine import runs
from trainwright_pipelines.engine.contract import StepFolder, build_executor_input, read_outputs
from trainwright_pipelines.engine.records import RunSettings, State, Values
from trainwright_pipelines.ir.parsing import parse_pipeline
from trainwright_pipelines.ir.spec import ArtifactSlot, Component, ParameterSlot

if TYPE_CHECKING:
    from tests.pipelines.engine.conftest import Execute, Executed, Finished

    from trainwright_pipelines.engine.store import Store


def test_what_a_foreign_step_leaves_unwritten_is_a_warning_and_its_reader_finds_nothing(
    execute: Execute, store: Store
) -> None:
    """KFP's launcher: backend/src/v2/component/launcher_v2.go, uploadOutputArtifacts."""
    finished = execute("unwritten")
    assert finished.run.outputs.parameters == {"Output": False}
    [warning] = finished.tasks["maybe-write"].warnings
    assert warning.startswith("its output 'data' is not there: nothing was written to ")
    again = execute("unwritten")
    assert again.tasks["maybe-write"].is_cached
    assert again.tasks["maybe-write"].warnings == (warning,)
    repeated = runs.repeat(finished.run.id, store=store)
    assert not repeated.requires_outputs


def test_it_is_an_error_for_our_own_components_and_where_a_run_says_so(
    executed: Executed, execute: Execute, store: Store
) -> None:
    assert "its output 'data' is not there" in executed("ours").tasks["maybe-write"].error
    assert execute("unwritten").run.state == State.SUCCEEDED
    strict = execute("unwritten", settings=RunSettings(requires_outputs=True))
    assert "which this run requires: data" in strict.tasks["maybe-write"].cache["why"]
    assert strict.state("maybe-write") == State.FAILED
    assert execute("", resume=strict.run.id).state("maybe-write") == State.FAILED
    assert runs.repeat(strict.run.id, store=store).requires_outputs


@pytest.fixture
def files(tmp_path: Path) -> dict[str, list[str]]:
    paths = [tmp_path / name for name in ("rows", "first", "second")]
    for path in paths:
        path.write_text(path.name)
    rows, *models = map(str, paths)
    return {"one": [rows], "many": models}


def test_a_loop_gives_each_artifact_to_an_iteration(execute: Execute, files: dict[str, list[str]]) -> None:
    finished = execute("loops_over_artifacts", settings=RunSettings(artifacts={"many": files["many"]}))
    assert finished.run.outputs.parameters == {"Output": ["first", "second"]}


def read(finished: Finished) -> Any:
    return finished.output("read-all")


def test_a_pipeline_takes_artifacts_and_what_changed_in_them_is_read_again(
    execute: Execute, store: Store, files: dict[str, list[str]]
) -> None:
    settings = RunSettings(artifacts=files)
    finished = execute("takes_artifacts", settings=settings)
    assert read(finished) == ["rows", "first", "second"]
    assert finished.output("is-given") is False
    given = finished.tasks["read-all"].inputs.artifacts
    assert [each.type for each in given["many"]] == ["system.Model", "system.Model"]
    inputs = store.run(finished.run.id).provenance["inputs"]
    assert {name: each["digest"] is not None for name, each in inputs.items()} == dict.fromkeys(
        ("one", "many.0", "many.1"), True
    )
    assert execute("takes_artifacts", settings=settings).tasks["read-all"].is_cached
    Path(files["many"][1]).write_text("other")
    repeated = runs.execute(runs.repeat(finished.run.id, store=store).id, store=store)
    assert store.task(repeated.id, "read-all").outputs.parameters["Output"] == ["rows", "first", "other"]


def test_an_artifact_that_is_gone_fails_the_run_and_once_it_is_back_the_run_goes_on(
    execute: Execute, specs: Path, store: Store, files: dict[str, list[str]]
) -> None:
    text = (specs / "takes_artifacts.yaml").read_text()
    created = runs.create_run(text, {}, store=store, settings=RunSettings(artifacts=files))
    Path(files["one"][0]).unlink()
    failed = runs.execute(created.id, store=store)
    assert failed.state == State.FAILED
    assert "the artifact 'one' that the run was given is gone" in failed.error
    Path(files["one"][0]).write_text("back")
    assert read(execute("", resume=created.id)) == ["back", "first", "second"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"one": []}, "needs the artifact 'one' (system.Dataset): --artifact one=PATH"),
        ({"onne": ["x"]}, "has no artifact 'onne'; did you mean 'one'?"),
        ({"one": ["/nowhere/at/all"]}, "artifact 'one': there is nothing at '/nowhere/at/all'"),
        ({"one": [""]}, "there is nothing at ''"),
        ({"perhaps": ["/", "/tmp"]}, "takes one artifact 'perhaps', got 2"),
    ],
)
def test_artifacts_are_checked_before_anything_starts(
    specs: Path, store: Store, files: dict[str, list[str]], change: dict[str, list[str]], message: str
) -> None:
    text = (specs / "takes_artifacts.yaml").read_text()
    with pytest.raises(InvalidSetting) as refused:
        runs.create_run(text, {}, store=store, settings=RunSettings(artifacts=files | change))
    assert message in str(refused.value)
    assert not store.runs()


def test_the_command_line_and_python_give_artifacts(
    specs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRAINWRIGHT_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    for name in ("rows", "first"):
        (tmp_path / name).write_text(name)
    spec = specs / "takes_artifacts.yaml"
    given = ["--artifact", "one=rows", "--artifact", "many=first", "--artifact", f"many=file://{tmp_path}/rows"]
    assert run_command(["run", str(spec), *given, "--json"]) == 0
    steps = {each["step"]: each for each in json.loads(capsys.readouterr().out)["steps"]}
    assert steps["read-all"]["outputs"]["parameters"]["Output"] == ["rows", "first", "rows"]
    ran = trainwright.run(spec, artifacts={"one": Path("rows"), "many": ["first", "rows"]})
    assert ran.task("read-all").is_cached
    assert f"<td>many</td><td><code>{tmp_path}/first, {tmp_path}/rows</code></td>" in ran.page.read_text()
    assert run_command(["run", str(spec), "--artifact", "one"]) == 2
    assert "--artifact takes NAME=PATH, got 'one'" in capsys.readouterr().err
    assert run_command(["run", str(spec), "--set", "one=rows"]) == 2
    assert "'one' is an artifact, not a parameter: --artifact one=rows" in capsys.readouterr().err
    assert run_command(["pipelines", str(spec)]) == 0
    shown = capsys.readouterr().out
    assert "many      list of system.Model  (required)  Models." in shown
    assert "perhaps   system.Model          (none)      Another." in shown
    assert "PARAMETER" not in shown
    assert shown.endswith(f"Run it: trainwright run {spec} --artifact NAME=PATH\n")


def test_other_targets_say_what_they_cannot_be_given(specs: Path, tmp_path: Path) -> None:
    (tmp_path / "x").touch()
    options = {"host": "http://127.0.0.1:9"}
    with pytest.raises(InvalidSetting, match="kubeflow cannot be given artifacts by their addresses"):
        trainwright.submit(
            specs / "takes_artifacts.yaml", target="kubeflow", options=options, artifacts={"one": tmp_path / "x"}
        )
    with pytest.raises(InvalidSetting, match=r"kubeflow cannot be given artifacts by their addresses \(many, one\)"):
        trainwright.submit(specs / "takes_artifacts.yaml", target="kubeflow", options=options)
    with pytest.raises(InvalidSetting, match="kubeflow only warns of an output"):
        trainwright.submit(specs / "chain.yaml", target="kubeflow", options=options, require_outputs=True)


def test_a_spec_knows_what_its_artifacts_are(specs: Path) -> None:
    slots = parse_pipeline((specs / "takes_artifacts.yaml").read_text()).root.input_artifacts
    assert {name: (slot.description, slot.is_list, slot.is_optional) for name, slot in slots.items()} == {
        "one": ("Rows.", False, False),
        "many": ("Models.", True, False),
        "perhaps": ("Another.", False, True),
    }


@pytest.mark.parametrize(
    "said",
    [
        {"parameterValues": [1]},
        {"parameters": {"n": 3}},
        {"artifacts": [1]},
        {"artifacts": {"data": [1]}},
        {"artifacts": {"data": {"artifacts": ["x"]}}},
        {"artifacts": {"data": {"artifacts": [{"metadata": 5}]}}},
        {"artifacts": {"data": {"artifacts": [{"type": "x"}]}}},
    ],
)
def test_a_step_that_says_something_else_than_kfps_form_fails_and_not_the_run(tmp_path: Path, said: Any) -> None:
    folder = StepFolder(tmp_path)
    folder.make()
    component = Component(
        name="c",
        input_parameters={},
        input_artifacts={},
        output_parameters={"n": ParameterSlot(type="")} if "parameters" in said else {},
        output_artifacts={"data": ArtifactSlot(schema={"schemaTitle": "system.Dataset"})},
    )
    given = build_executor_input(component, Values(), folder, folder.artifacts)
    folder.executor_output.write_text(json.dumps(said))
    with pytest.raises(RunFailed, match="is not KFP's ExecutorOutput"):
        read_outputs(component, given, folder, task_id="t", needs_artifacts=False)
