"""Pipelines from Python: run, submit, compile, resume, and looking at runs."""

import io
import json
import pickle
import re
import sys
import time
from pathlib import Path

import pytest
import yaml
from kfp import dsl

import trainwright
from trainwright_pipelines.cli.main import run_command
from trainwright_pipelines.engine.records import Event, State

FILE = Path(__file__).parents[1] / "cli" / "sums.py"
SUMS = f"{FILE}:sums"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRAINWRIGHT_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_a_run_comes_back_with_its_state_steps_results_and_page() -> None:
    events: list[Event] = []
    ended = trainwright.run(SUMS, {"x": 2, "options.a": 3}, name="mine", listener=events.append)
    assert (ended.state, ended.is_successful, ended.run.name) == ("SUCCEEDED", True, "mine")
    assert ended.run.parameters["options"] == {"a": 3}
    assert ended.task("add-2").outputs.parameters == {"Output": 5.0}
    assert ended.id in ended.page.read_text()
    assert repr(ended) == f"PipelineRun(id={ended.id!r}, state='SUCCEEDED', outputs={{}}, page={str(ended.page)!r})"
    assert State.RUNNING in {event.state for event in events}
    with pytest.raises(trainwright.RunNotFound, match="has no step 'ad-2'; did you mean 'add-2'"):
        ended.task("ad-2")


def test_a_run_that_fails_raises_nothing_and_is_resumed_listed_and_shown() -> None:
    failed = trainwright.run(SUMS, {"x": 2, "fail": True})
    assert (failed.state, failed.is_successful) == ("FAILED", False)
    assert "no way to take 5.0" in failed.task("refuse").error
    assert "error='refuse failed: ValueError: no way to take 5.0'" in repr(failed)
    again = trainwright.resume()
    assert (again.id, again.state) == (failed.id, "FAILED")
    assert [len(again.task(name).attempts) for name in ("add", "refuse")] == [1, 2]
    succeeded = trainwright.run(SUMS, {"x": 2})
    assert [each.id for each in trainwright.list_runs()] == [succeeded.id, failed.id]
    assert [each.id for each in trainwright.list_runs(state="failed", pipeline="sums")] == [failed.id]
    assert len(trainwright.list_runs(limit=1)) == 1
    assert trainwright.list_runs(pipeline="other") == []
    with pytest.raises(trainwright.InvalidSetting, match=r"state must be one of .*INTERRUPTED; got 'gone'"):
        trainwright.list_runs(state="gone")
    assert trainwright.get_run() == succeeded
    assert trainwright.get_run(failed.id) == again
    with pytest.raises(trainwright.InvalidSetting, match="has succeeded"):
        trainwright.resume(succeeded.id)


def test_progress_is_shown_as_the_command_shows_it_and_a_failure_is_raised_on_request(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(trainwright.PipelineRunFailed) as raised:
        trainwright.run(SUMS, {"x": 2, "fail": True}, raise_on_error=True)
    error, ended = raised.value, raised.value.run
    assert [each.name for each in ended.failed_steps] == ["refuse"]
    assert str(error) == (
        f"step refuse of run {ended.id} failed: ValueError: no way to take 5.0. See it: {ended.page}. "
        f"Go on with it: trainwright.resume({ended.id!r})"
    )
    assert 'raise ValueError(f"no way to take {a}")' in error.__notes__[0]
    assert isinstance(error, trainwright.RunFailed)
    assert pickle.loads(pickle.dumps(error)).run == ended
    of_python = capsys.readouterr()
    assert of_python.out == ""
    assert run_command(["run", SUMS, "--set", "x=2", "--set", "fail=true", "--no-cache"]) == 1
    of_command = capsys.readouterr().err

    def steps(text: str) -> list[str]:
        return re.findall(r"^\S+: \w+(?=  |$)", text, re.MULTILINE)

    assert steps(of_python.err) == steps(of_command) != []
    assert of_python.err.startswith(f"run {ended.id}\n")
    assert re.search(rf"\nrun {ended.id} failed after .* s: {re.escape(str(ended.page))}\n$", of_python.err)
    with pytest.raises(trainwright.PipelineRunFailed, match="refuse"):
        trainwright.resume(ended.id, raise_on_error=True, show_progress=False)
    assert capsys.readouterr().err == ""


def test_a_run_of_a_home_of_ones_own_says_how_to_resume_it_there(tmp_path: Path) -> None:
    with pytest.raises(trainwright.PipelineRunFailed, match=rf"resume\('sums-.*', home='{tmp_path / 'mine'}'\)"):
        trainwright.run(SUMS, {"x": 2, "fail": True}, raise_on_error=True, home=tmp_path / "mine")


def test_a_terminal_that_closes_keeps_no_event_from_the_listener(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stderr", closed)
    events: list[Event] = []
    assert trainwright.run(SUMS, {"x": 2}, listener=events.append).is_successful
    assert events[-1].state == State.SUCCEEDED


def test_a_run_is_repeated_from_a_step_and_tells_of_its_edited_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mine.py"
    file.write_text(FILE.read_text())
    first = trainwright.run(f"{file}:sums", {"x": 2})
    assert first.run.provenance["source"] | {"digest": ""} == {
        "reference": f"{file}:sums",
        "file": str(file),
        "digest": "",
    }
    assert trainwright.rerun(first.id, from_step="add-2").warnings == ()
    file.write_text(FILE.read_text().replace("b=2.0)\n    with", "b=3.0)\n    with"))
    capsys.readouterr()
    as_it_was = trainwright.rerun(first.id, from_step="add-2")
    notice = f"{file}:sums has changed since run {first.id}, whose steps these are; --pipeline {file}:sums uses it"
    assert as_it_was.warnings == (notice,)
    assert f"warning: {notice}\n" in capsys.readouterr().err
    assert as_it_was.task("add-2").outputs.parameters == {"Output": 5.0}
    edited = trainwright.rerun(first.id, from_step="add-2", pipeline=f"{file}:sums")
    assert (edited.warnings, edited.task("add").is_cached) == ((), True)
    assert edited.task("add-2").outputs.parameters == {"Output": 6.0}
    assert trainwright.rerun(edited.id, from_step="add-2").warnings == ()
    whole = trainwright.rerun(first.id, home=tmp_path / "home")
    assert whole.warnings == (
        f"{file}:sums has changed since run {first.id}, whose steps these are; trainwright run {file}:sums uses it",
    )
    file.unlink()
    assert trainwright.rerun(first.id).warnings == ()
    with pytest.raises(trainwright.InvalidSetting, match="pipeline needs from_step"):
        trainwright.rerun(first.id, pipeline=SUMS)


def test_a_resumed_run_says_that_its_file_was_edited(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(FILE.read_text())
    trainwright.run(f"{file}:sums", {"x": 2, "fail": True})
    file.write_text(FILE.read_text() + "\n")
    (told,) = trainwright.resume("sums").warnings
    assert told == f"{file}:sums has changed since the run began, whose steps stay; trainwright run {file}:sums uses it"


def test_a_pipeline_of_this_session_runs_without_a_file_and_is_resumed(tmp_path: Path) -> None:
    @dsl.component(base_image="python:3.11")
    def read(path: str) -> str:
        from pathlib import Path

        return Path(path).read_text()

    @dsl.pipeline(name="of-a-notebook")
    def notebook(path: str) -> str:
        return read(path=path).output  # type: ignore[no-any-return]

    file = tmp_path / "note.txt"
    failed = trainwright.run(notebook, {"path": str(file)})
    file.write_text("here")
    ended = trainwright.resume(failed.id)
    assert (failed.state, ended.run.pipeline, ended.outputs.parameters) == (
        "FAILED",
        "of-a-notebook",
        {"Output": "here"},
    )
    (written,) = trainwright.compile(notebook, tmp_path / "out")
    assert yaml.safe_load(written.read_text())["pipelineInfo"]["name"] == "of-a-notebook"
    with pytest.raises(trainwright.InvalidSetting, match="no value for path"):
        trainwright.run(notebook)
    with pytest.raises(trainwright.InvalidPipeline, match=r"or is a function under @dsl\.pipeline; got <function"):
        trainwright.run(test_a_home_of_ones_own_holds_its_runs)  # type: ignore[arg-type]


def test_a_home_of_ones_own_holds_its_runs(tmp_path: Path, home: Path) -> None:
    ended = trainwright.run(SUMS, {"x": 2}, home=tmp_path / "mine")
    assert ended.page.is_relative_to(tmp_path / "mine")
    assert trainwright.get_run(home=tmp_path / "mine").id == ended.id
    assert trainwright.list_runs() == []


def test_what_was_submitted_runs_in_a_process_of_its_own(tmp_path: Path) -> None:
    submission = trainwright.submit(SUMS, {"x": 2}, name="later", home=tmp_path / "mine")
    assert submission.target == "local"
    deadline = time.monotonic() + 60
    while not trainwright.get_run(submission.run_id, home=tmp_path / "mine").run.state.is_final:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert trainwright.get_run("later", home=tmp_path / "mine").state == "SUCCEEDED"
    assert trainwright.list_runs() == []


def test_compile_writes_what_a_target_would_be_sent(tmp_path: Path) -> None:
    [file] = trainwright.compile(SUMS, tmp_path / "out", home=tmp_path / "mine")
    assert list((tmp_path / "mine" / "compiled").iterdir())
    assert file == tmp_path / "out" / "sums.yaml"
    assert yaml.safe_load(file.read_text())["pipelineInfo"]["name"] == "sums"
    with pytest.raises(trainwright.InvalidSetting, match="there is no target 'kubeflw'; did you mean 'kubeflow'"):
        trainwright.compile(SUMS, tmp_path, target="kubeflw")
    with pytest.raises(trainwright.InvalidSetting, match="target vertex has no option 'projekt'"):
        trainwright.submit(SUMS, {"x": 2}, target="vertex", options={"projekt": "mine"})


def test_unusable_input_is_refused_with_the_public_errors() -> None:
    with pytest.raises(trainwright.InvalidPipeline):
        trainwright.run("no_such_pipeline")
    with pytest.raises(trainwright.InvalidSetting, match="'y'"):
        trainwright.run(SUMS, {"x": 2, "y": 1})
    with pytest.raises(trainwright.InvalidSetting):
        trainwright.predict("nothing", [{"a": 1}])
    assert trainwright.list_runs() == []


def test_a_pipeline_of_ones_own_is_made_of_the_public_components(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    [example] = [block for block in _python_blocks() if "@dsl.pipeline" in block]
    (tmp_path / "mine.py").write_text(example)
    [file] = trainwright.compile(f"{tmp_path / 'mine.py'}:train_only", tmp_path)
    tasks = yaml.safe_load(file.read_text())["root"]["dag"]["tasks"]
    assert {"prepare-data", "train-distributed"} <= set(tasks)
    assert run_command(["components", "evaluate"]) == 0
    assert "In a pipeline: from trainwright.components import evaluate" in capsys.readouterr().out


@pytest.mark.slow
def test_the_first_example_of_the_readme_runs(capsys: pytest.CaptureFixture[str]) -> None:
    exec(_python_blocks()[0])
    state, is_blessed, page = capsys.readouterr().out.split()[-3:]
    assert (state, is_blessed) == ("SUCCEEDED", "True")
    assert Path(page).is_file()


def _python_blocks() -> list[str]:
    text = (Path(__file__).parents[3] / "pipelines" / "README.md").read_text(encoding="utf-8")
    return [part.partition("```")[0] for part in text.split("```python\n")[1:]]


def test_the_state_of_a_run_is_what_the_command_line_says(capsys: pytest.CaptureFixture[str]) -> None:
    ended = trainwright.run(SUMS, {"x": 2})
    capsys.readouterr()
    assert run_command(["runs", "show", ended.id, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["live_state"] == ended.state


def test_paths_may_be_text_or_paths_also_inside_a_group(tmp_path: Path) -> None:
    ended = trainwright.run(
        SUMS, {"x": 2, "options": {"folder": tmp_path, "all": (tmp_path,)}}, home=str(tmp_path / "mine")
    )
    assert ended.run.parameters["options"] == {"folder": str(tmp_path), "all": [str(tmp_path)]}
    assert trainwright.list_runs(home=str(tmp_path / "mine")) == [ended]
    assert trainwright.get_run(home=str(tmp_path / "mine")) == ended


def test_arguments_of_another_form_are_refused() -> None:
    with pytest.raises(trainwright.InvalidSetting, match=r"parameters must be a mapping, got \[1\]"):
        trainwright.run(SUMS, [1])  # type: ignore[arg-type]
    with pytest.raises(trainwright.InvalidSetting, match="no parameter '3'"):
        trainwright.run(SUMS, {3: 4})  # type: ignore[dict-item]
    with pytest.raises(trainwright.InvalidSetting, match="limit must be a whole number, at least 0; got -1"):
        trainwright.list_runs(limit=-1)
    with pytest.raises(trainwright.InvalidSetting, match=r"limit must be .*; got 1\.5"):
        trainwright.list_runs(limit=1.5)  # type: ignore[arg-type]
    with pytest.raises(trainwright.InvalidSetting, match=r"options must be a mapping, got \['a'\]"):
        trainwright.submit(SUMS, target="kubeflow", options=["a"])  # type: ignore[arg-type]
    with pytest.raises(trainwright.InvalidPipeline, match=r"a pipeline is named by text or a path.*; got None"):
        trainwright.run(None)  # type: ignore[arg-type]
    with pytest.raises(trainwright.InvalidSetting, match=r"cannot make .*null byte"):
        trainwright.list_runs(home="a\0b")
    with pytest.raises(trainwright.InvalidSetting, match=r"has no user's folder for its ~"):
        trainwright.list_runs(home="~nobody-here/home")
    with pytest.raises(trainwright.InvalidSetting, match="home must be a path on this machine"):
        trainwright.list_runs(home="gs://bucket/home")


def test_a_current_folder_that_was_removed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    for call in (lambda: trainwright.run(SUMS, {"x": 2}), lambda: trainwright.list_runs(home="relative")):
        with pytest.raises(trainwright.InvalidSetting, match="the current folder was removed: change to another one"):
            call()
    with pytest.raises(trainwright.InvalidSetting, match=r"cannot write out/sums\.yaml: No such file"):
        trainwright.compile(SUMS, "out")
    assert trainwright.list_runs(home=tmp_path / "home") == []
