"""Runs on this machine from the command line: how they go, what is told, how to go on."""

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import pytest

from trainwright import get_run
from trainwright_components.home import find_home
from trainwright_pipelines.cli.outcome import print_failure
from trainwright_pipelines.engine.records import Run, State, Task, TaskKind
from trainwright_pipelines.targets.local import target
from trainwright_pipelines.targets.local.background import execute_in_background

SUMS = f"{Path(__file__).parent / 'sums.py'}:sums"
WAITING = f"{Path(__file__).parent / 'sums.py'}:waiting"
RETURNING = f"{Path(__file__).parent / 'sums.py'}:returning"
TIMEOUT_S = 60


@pytest.fixture
def meeting(tmp_path: Path) -> Iterator[Path]:
    """Where the waiting step and the test leave files for each other, apart from the home."""
    folder = tmp_path / "meeting"
    folder.mkdir()
    yield folder
    (folder / "go").touch()  # whatever still waits after a failed test ends


@pytest.fixture
def failed_run(trainwright: Callable[..., Any]) -> str:
    outcome = trainwright("run", SUMS, "--set", "x=2", "--set", "fail=true", "--json")
    return str(json.loads(outcome.out)["id"])


def test_a_run_prints_steps_with_state_and_where_its_page_is(trainwright: Callable[..., Any]) -> None:
    outcome = trainwright("run", SUMS, "--set", "x=2")
    assert outcome.code == 0, outcome.err
    lines = [line.split() for line in outcome.out.splitlines() if line]
    assert lines[0] == ["STEP", "STATE", "TIME"]
    assert [line[:2] for line in lines[1:4]] == [
        ["add", "SUCCEEDED"],
        ["add-2", "SUCCEEDED"],
        ["condition-1", "SKIPPED"],
    ]
    page = Path(lines[-1][1])
    assert lines[-1][0] == "page"
    assert "add-2" in page.read_text()
    assert "add-2: succeeded" in outcome.err


def test_a_second_run_takes_over_what_has_not_changed(trainwright: Callable[..., Any]) -> None:
    trainwright("run", SUMS, "--set", "x=2")
    cached = trainwright("run", SUMS, "--set", "x=2")
    assert cached.out.count("CACHED") == 2
    again = trainwright("run", SUMS, "--set", "x=2", "--no-cache")
    assert "CACHED" not in again.out


def test_json_is_one_document_and_nothing_else(trainwright: Callable[..., Any]) -> None:
    outcome = trainwright("run", SUMS, "--set", "x=2", "--json")
    document = json.loads(outcome.out)
    assert document["state"] == "SUCCEEDED"
    assert document["parameters"] == {"x": 2.0, "times": 3, "options": {"a": 1}, "fail": False}
    assert [step["outputs"]["parameters"] for step in document["steps"][:2]] == [{"Output": 3.0}, {"Output": 5.0}]


def test_a_failure_names_the_step_the_reason_the_log_the_folder_and_what_to_do(trainwright: Callable[..., Any]) -> None:
    outcome = trainwright("run", SUMS, "--set", "x=2", "--set", "fail=true")
    assert outcome.code == 1
    assert "step refuse failed: ValueError: no way to take 5.0" in outcome.err
    assert 'raise ValueError(f"no way to take {a}")' in outcome.err
    assert "trainwright_pipelines" not in outcome.err.split("Traceback")[1].split("folder")[0]
    run = outcome.err.split()[1]
    assert f"trainwright runs rerun {run} --step refuse\n" in outcome.err
    assert f"trainwright runs resume {run}" in outcome.err
    assert outcome.err.splitlines()[-1].startswith("after an edit: run the pipeline again")
    folder = next(line.split()[1] for line in outcome.err.splitlines() if line.startswith("folder"))
    assert Path(folder).is_dir()


def test_after_a_setting_that_cannot_be_used_another_one_is_asked_for(trainwright: Callable[..., Any]) -> None:
    outcome = trainwright("run", SUMS.replace(":sums", ":complaining"))
    assert outcome.code == 1
    assert "step complain failed: units must be at least 1, got 0" in outcome.err
    assert outcome.err.splitlines()[-1] == "correct the setting and run again"
    assert "resume" not in outcome.err
    assert "rerun" not in outcome.err
    shown = trainwright("runs", "show")
    assert shown.err.splitlines()[-1] == "correct the setting and run again"
    assert outcome.err.count("complain: few units\n") == 1


def test_an_error_is_not_repeated_as_the_end_of_the_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "log"
    log.write_text("reading rows\nrows.csv lacks the column age\nAdd it, or name another\n")
    error = "rows.csv lacks the column age\nAdd it, or name another"
    task = Task(
        id="t",
        run_id="r",
        name="train",
        path="condition-1/train",
        parent_path="condition-1",
        kind=TaskKind.PYTHON,
        component="comp-train",
        display_name="train",
        state=State.FAILED,
        error=error,
        log=log,
    )
    run = Run(
        id="r", name="r", pipeline="p", folder=tmp_path, state=State.FAILED, parameters={}, created=datetime.now(UTC)
    )
    print_failure(run, task, [task])
    said = capsys.readouterr().err
    assert said.count("lacks the column age") == said.count("Add it, or name another") == 1
    assert "end of the log:\n  reading rows\n" in said
    assert "runs rerun r --step train\n" in said


def test_runs_are_listed_shown_and_deleted(trainwright: Callable[..., Any], failed_run: str) -> None:
    assert failed_run in trainwright("runs", "list", "--state", "failed").out
    assert trainwright("runs", "list", "--state", "succeeded").out == "no such run\n"
    assert json.loads(trainwright("runs", "list", "--limit", "1", "--json").out)[0]["live_state"] == "FAILED"
    shown = trainwright("runs", "show", failed_run)
    assert "step refuse failed" in shown.err
    assert json.loads(trainwright("runs", "show", "--json").out)["id"] == failed_run
    folder = Path(json.loads(trainwright("runs", "show", "--json").out)["folder"])
    assert trainwright("runs", "delete", failed_run, "--yes").code == 0
    assert not folder.exists()
    assert trainwright("runs", "show", failed_run).code == 2


def test_a_run_is_listed_with_its_name_and_shown_by_it(trainwright: Callable[..., Any], failed_run: str) -> None:
    assert "NAME" not in trainwright("runs", "list").out
    trainwright("run", SUMS, "--set", "x=2", "--name", "mine")
    assert "mine" in trainwright("runs", "list").out
    assert trainwright("runs", "show", "mine").code == 0
    assert failed_run in trainwright("runs", "list").out


def test_logs_are_printed_by_step(trainwright: Callable[..., Any], failed_run: str) -> None:
    assert "adding 3.0 and 2.0" in trainwright("runs", "logs", failed_run).out
    one = trainwright("runs", "logs", failed_run, "--step", "add")
    assert one.out == "adding 2.0 and 1.0\n"
    followed = trainwright("runs", "logs", failed_run, "--follow")
    assert "add-2 | adding 3.0 and 2.0" in followed.out


def test_one_step_is_run_again_with_its_inputs(trainwright: Callable[..., Any], failed_run: str) -> None:
    again = trainwright("runs", "rerun", failed_run, "--step", "add-2", "--json")
    assert json.loads(again.out)["outputs"] == {"Output": 5.0}
    failing = trainwright("runs", "rerun", failed_run, "--step", "refuse")
    assert failing.code == 1
    assert "step refuse failed: ValueError" in failing.err


def test_a_whole_run_is_repeated(trainwright: Callable[..., Any], failed_run: str) -> None:
    for option in ("--step", "--from"):  # such as a variable of a script that is not set
        assert "has no step ''" in trainwright("runs", "rerun", failed_run, option, "").err
    again = json.loads(trainwright("runs", "rerun", failed_run, "--json").out)
    assert again["id"] != failed_run
    assert again["parameters"]["fail"] is True


def test_a_run_goes_on_after_its_process_was_killed(trainwright: Callable[..., Any], home: Path, meeting: Path) -> None:
    with _waiting_process(meeting) as process:
        _kill_tree(process.pid)
        process.wait(TIMEOUT_S)
    assert "INTERRUPTED" in trainwright("runs", "list", "--state", "interrupted").out
    assert trainwright("runs", "list", "--state", "running").out == "no such run\n"
    shown = trainwright("runs", "show")
    assert " interrupted" in shown.err
    assert "trainwright runs resume" in shown.err
    assert ["wait", "INTERRUPTED"] in [line.split()[:2] for line in shown.out.splitlines()]
    (meeting / "go").touch()
    cut_short = json.loads(trainwright("runs", "show", "--json").out)["id"]
    other = meeting / "other"
    other.mkdir()
    (other / "go").touch()
    newer = json.loads(trainwright("run", WAITING, "--set", f"folder={other}", "--no-cache", "--json").out)
    resumed = json.loads(trainwright("runs", "resume", "--json").out)
    assert (resumed["id"], resumed["state"]) == (cut_short, "SUCCEEDED"), "not the newer one, which needs nothing"
    assert newer["id"] != cut_short
    assert {step["state"] for step in resumed["steps"]} <= {"SUCCEEDED", "CACHED"}
    assert "no run can go on" in trainwright("runs", "resume").err


def test_a_run_in_the_background_can_be_followed_and_canceled(trainwright: Callable[..., Any], meeting: Path) -> None:
    submitted = json.loads(trainwright("submit", WAITING, "--name", "bg", "--set", f"folder={meeting}", "--json").out)
    assert json.loads(trainwright("runs", "show", "bg", "--json").out)["id"] == submitted["run_id"]
    while not (meeting / "begun").exists():
        assert not json.loads(trainwright("runs", "show", "--json").out)["finished"]
    shown = trainwright("runs", "show")
    assert "--follow" in shown.err
    assert "resume" not in shown.err
    canceled = trainwright("runs", "cancel", submitted["run_id"])
    assert f"trainwright runs resume {submitted['run_id']}" in canceled.out
    trainwright("runs", "logs", submitted["run_id"], "--follow")
    assert json.loads(trainwright("runs", "show", "--json").out)["state"] == "CANCELED"
    assert "has ended already: CANCELED" in trainwright("runs", "cancel", submitted["run_id"]).err


def test_a_run_that_was_canceled_before_it_began_does_not_begin(
    trainwright: Callable[..., Any], meeting: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Run] = []
    monkeypatch.setattr(target, "start_in_background", started.append)
    trainwright("submit", WAITING, "--set", f"folder={meeting}")
    assert "canceled" in trainwright("runs", "cancel", "latest").out
    execute_in_background(started[0].id, find_home())
    assert json.loads(trainwright("runs", "show", "--json").out)["state"] == "CANCELED"
    assert not (meeting / "begun").exists()


def test_ctrl_c_stops_the_run_and_says_how_to_go_on(home: Path, meeting: Path) -> None:
    with _waiting_process(meeting) as process:
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 130
    assert "trainwright runs resume waiting-" in said
    assert "canceled" in said


@pytest.mark.parametrize("number", [None, signal.SIGTERM])
def test_a_run_that_can_write_no_more_ends_and_says_so(
    trainwright: Callable[..., Any],
    home: Path,
    meeting: Path,
    number: signal.Signals | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG"):  # coverage.py writes a file at the end too
        monkeypatch.delenv(name, raising=False)
    with _waiting_process(meeting) as process:
        _, hard = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (0, hard))  # no file of the engine grows any more
        step = psutil.Process(process.pid).children(recursive=True)[-1]
        if number is None:
            (meeting / "go").touch()
        else:
            process.send_signal(number)
        out, said = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 1
    assert f"error: the record of runs in {home} cannot be written: disk I/O error" in said
    assert "trainwright runs resume waiting-" in said
    assert "is not written: " in said  # the page, which hides nothing of the above
    assert "Traceback" not in said + out
    psutil.wait_procs([step], timeout=TIMEOUT_S)
    assert not step.is_running()
    (meeting / "go").touch()
    assert json.loads(trainwright("runs", "resume", "--json").out)["state"] == "SUCCEEDED"


def test_a_disk_that_takes_no_more_is_no_fault_of_the_program(trainwright: Callable[..., Any], home: Path) -> None:
    trainwright("run", SUMS, "--set", "x=2")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        outcome = trainwright("run", SUMS, "--set", "x=2")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert outcome.code == 1
    assert outcome.err == f"error: the record of runs in {home} cannot be written: disk I/O error\n"


def _waiting_process(folder: Path) -> subprocess.Popen[str]:
    """`trainwright run` in a process of its own, at the moment when its first step waits."""
    program = "from trainwright_pipelines.cli.main import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", program, "run", WAITING, "--set", f"folder={folder}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=dict(os.environ),
    )
    watched = psutil.Process(process.pid)
    while not (folder / "begun").exists():
        assert watched.is_running()
        assert process.poll() is None, process.communicate()[1]
        watched.cpu_percent(interval=0.05)
    return process


def _kill_tree(pid: int) -> None:
    root = psutil.Process(pid)
    for process in [root, *root.children(recursive=True)]:
        process.kill()


def test_what_a_pipeline_returns_is_told(trainwright: Callable[..., Any], home: Path) -> None:
    ran = trainwright("run", RETURNING)
    shown = trainwright("runs", "show")
    document = json.loads(trainwright("runs", "show", "--json").out)
    table = Path(document["outputs"]["artifacts"]["table"][0]["path"])
    assert table.read_text() == "rowrow"
    told = f"returned       sum: nan\n               sums: [3.0, 4.0]\n               table: {table}\n"
    assert told in ran.out
    assert told in shown.out
    assert document["outputs"]["parameters"] == {"sum": None, "sums": [3.0, 4.0]}
    assert document["steps"][0]["iterations"] in ([0], [1])
    found = get_run(home=home)
    assert found.outputs.artifacts["table"][0].path == table
    assert found.outputs.parameters["sums"] == [3.0, 4.0]
    assert str(table) in found.page.read_text().partition("<h2>Returned</h2>")[2].partition("</section>")[0]


def test_a_run_begins_at_a_step_of_another(trainwright: Callable[..., Any]) -> None:
    first = json.loads(trainwright("run", SUMS, "--set", "x=2", "--json").out)
    begun = trainwright("runs", "rerun", "--from", "add-2", "--pipeline", SUMS, "--json")
    again = json.loads(begun.out)
    assert f"begins at add-2; taken over from run {first['id']}: 1 step\n" in begun.err
    assert {each["step"]: each["state"] for each in again["steps"]} == {"add": "CACHED", "add-2": "SUCCEEDED"}
    assert again["steps"][0]["cache"]["why"] == f"taken from step add of run {first['id']}"
    assert again["provenance"]["repeats"]["with"] == "an edited pipeline"
    assert f"taken from step add of run {first['id']}" in trainwright("runs", "show").out
    for wrong in (["--from", "add", "--step", "add"], ["--pipeline", SUMS]):
        assert trainwright("runs", "rerun", *wrong).code == 2


def test_a_module_that_a_step_lacks_is_asked_for_where_kubeflow_needs_it_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Run(
        id="r", name="r", pipeline="p", state=State.FAILED, parameters={}, folder=tmp_path, created=datetime.now(UTC)
    )
    task = Task(
        id="t", run_id="r", name="t", path="t", parent_path="", kind=TaskKind.PYTHON, component="c", display_name="t"
    )
    failed = replace(task, error="ModuleNotFoundError: No module named 'sklearn.tree'", image="python:3.11")
    for each in (failed, replace(failed, image="trainwright/cpu")):
        print_failure(run, each, [each])
    advice = "sklearn.tree: name the package that has it in packages_to_install of the component, or in its image\n"
    assert capsys.readouterr().err.count(advice) == 1


def test_a_file_that_a_step_looks_for_in_the_wrong_folder_is_pointed_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.csv").write_text("a")
    given = {"table": "rows.csv", "other": "none.csv", "rows": "rows", "n": 1}
    run = Run(
        id="r", name="r", pipeline="p", state=State.FAILED, parameters=given, folder=tmp_path, created=datetime.now(UTC)
    )
    task = Task(
        id="t", run_id="r", name="t", path="t", parent_path="", kind=TaskKind.PYTHON, component="c", display_name="t"
    )
    for name in ("rows.csv", "none.csv"):
        failed = replace(task, error=f"FileNotFoundError: [Errno 2] No such file or directory: '{name}'")
        print_failure(run, failed, [failed])
    said = capsys.readouterr().err
    advice = "it is in the folder that you are in, but a step runs in one of its own: --set table=./rows.csv\n"
    assert f"rows.csv: {advice}" in said
    assert said.count("in the folder that you are in") == 1
