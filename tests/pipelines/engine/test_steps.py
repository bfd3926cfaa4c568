"""How one step runs and fails."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import psutil
import pytest
import yaml

from trainwright_components.errors import InvalidSetting, RunFailed
from trainwright_pipelines.cli.log_tail import print_log
from trainwright_pipelines.cli.outcome import print_outcome
from trainwright_pipelines.engine import runs, steps
from trainwright_pipelines.engine.attempts import describe_end
from trainwright_pipelines.engine.contract import StepFolder, read_outputs
from trainwright_pipelines.engine.isolation.launch import Launch
from trainwright_pipelines.engine.isolation.process import Processes
from trainwright_pipelines.engine.isolation.protocol import StepEnd
from trainwright_pipelines.engine.records import Event, RunSettings, State, TaskKind
from trainwright_pipelines.engine.replay import rerun_step
from trainwright_pipelines.engine.secret_outputs import disclosed
from trainwright_pipelines.engine.step_logs import end_of
from trainwright_pipelines.engine.store import Store
from trainwright_pipelines.ir.spec import Component
from trainwright_pipelines.service.pages.run_page import render_run_page

AS_PROCESSES = RunSettings(isolation={"": "process"})

if TYPE_CHECKING:
    from tests.pipelines.engine.conftest import Execute, Executed


def test_a_program_gets_its_arguments_whole_and_gives_parameters_and_artifacts(executed: Executed) -> None:
    finished = executed("containers")
    step = finished.tasks["shell"]
    assert step.kind == TaskKind.CONTAINER
    assert step.outputs.parameters == {"out": 'it\'s "quoted" $HOME', "size": 7}
    (data,) = step.outputs.artifacts["data"]
    assert data.path.read_text() == "red-$(NAME)\n"
    assert step.log.read_text().endswith(f"|{data.path}|")
    assert step.attempts[0].exit_code == 0


def test_concatenations_and_optional_arguments_are_resolved(executed: Executed) -> None:
    finished = executed("containers")
    assert finished.output("arguments", "out") == "--text=a b-|--less|"
    assert finished.output("arguments-2", "out") == "--text=c+|--more|d|"


def test_a_program_that_is_not_here_is_named(executed: Executed) -> None:
    finished = executed("unrunnable")
    assert "'no-such-program-anywhere' is not on this machine" in finished.tasks["absent-program"].error
    assert "vendor/tool" in finished.tasks["absent-program"].error
    assert "entry point of its image 'hello-world'" in finished.tasks["entry-point"].error


def test_a_declared_parameter_that_is_missing_is_no_success(executed: Executed) -> None:
    finished = executed("broken_promise")
    assert finished.run.state == State.FAILED
    assert "no value for its output 'Output'" in finished.tasks["promise-number"].error


def test_a_failure_says_what_was_raised_and_where(executed: Executed) -> None:
    step = executed("exit_handler").tasks["exit-handler-1/fail"]
    assert step.error == "ValueError: broken"
    assert "raise ValueError(message)" in step.error_detail
    assert "kfp/dsl/executor.py" not in step.error_detail
    assert "ValueError: broken" in step.log.read_text()
    assert step.attempts[0].exit_code == 1


def test_a_step_is_tried_again_as_often_as_it_says(execute: Execute, tmp_path: Path) -> None:
    finished = execute("retried", counter=str(tmp_path / "three"), needed=3)
    assert finished.output("count-attempts") == 3
    attempts = finished.tasks["count-attempts"].attempts
    assert [attempt.state for attempt in attempts] == [State.FAILED, State.FAILED, State.SUCCEEDED]
    assert [attempt.error for attempt in attempts] == ["RuntimeError: try 1", "RuntimeError: try 2", ""]
    assert len({attempt.log for attempt in attempts}) == 3
    told = [event.message for event in finished.events if event.message.startswith("try ")]
    assert told == [f"try {number} of 3 failed: RuntimeError: try {number}; trying again" for number in (1, 2)]


def test_retries_end(execute: Execute, tmp_path: Path) -> None:
    finished = execute("retried", counter=str(tmp_path / "four"), needed=4)
    assert finished.run.state == State.FAILED
    assert finished.tasks["count-attempts"].error == "RuntimeError: try 3"


def test_every_attempt_starts_with_nothing_of_the_one_before(execute: Execute, tmp_path: Path) -> None:
    first = execute("left_behind", flag=str(tmp_path / "flag"))
    assert first.output("leave-things") == "rowrow"
    (file,) = first.tasks["leave-things"].outputs.artifacts["file"]
    assert file.path.read_text() == "row"
    assert first.tasks["leave-things-2"].error == "RuntimeError: first try"
    assert execute("", resume=first.run.id).output("leave-things-2") == "rowrow"


@pytest.mark.parametrize("keeps_artifacts", [False, True])
def test_an_attempt_that_left_links_files_or_folders_in_the_wrong_place_does_not_stop_the_next(
    tmp_path: Path, keeps_artifacts: bool
) -> None:
    elsewhere, step = tmp_path / "elsewhere", StepFolder(tmp_path / "step")
    (elsewhere / "kept").mkdir(parents=True)
    step.path.mkdir()
    step.artifacts.symlink_to(elsewhere)
    step.work.symlink_to("/nowhere")
    step.parameters.write_text("a file")
    os.mkfifo(step.scratch)
    for path in (step.executor_input, step.executor_output, step.report, step.source):
        (path / "below").mkdir(parents=True)
    step.make(keeps_artifacts=keeps_artifacts)
    found = {path.name: list(path.iterdir()) for path in step.path.iterdir()}
    assert found == {"outputs": [], "parameters": [], "tmp": [], "work": []}
    assert not any(path.is_symlink() for path in step.path.iterdir())
    assert (elsewhere / "kept").is_dir()


def test_an_attempt_that_locked_its_folders_does_not_stop_the_next() -> None:
    """As another user, for root may write anywhere."""
    code = """
import os, tempfile
from pathlib import Path
from trainwright_pipelines.engine.contract import StepFolder
if os.geteuid() == 0:
    os.seteuid(65534)
with tempfile.TemporaryDirectory(dir="/tmp") as folder:
    step = StepFolder(Path(folder, "step"))
    (step.artifacts / "a" / "b").mkdir(parents=True)
    (step.artifacts / "a" / "b" / "file").touch(mode=0o400)
    (step.work / "gone").mkdir(parents=True)
    (step.artifacts / "a" / "b").chmod(0o500)
    step.artifacts.chmod(0)
    step.work.chmod(0o400)
    step.path.chmod(0o500)
    step.make()
    print(sorted(str(each.relative_to(step.path)) for each in step.path.rglob("*")))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "['outputs', 'parameters', 'tmp', 'work']\n", done.stderr


def test_our_own_components_find_tensorflow_imported(executed: Executed) -> None:
    assert executed("ours").state("warm") == State.SUCCEEDED, executed("ours").tasks["warm"].error
    assert executed("ours").output("warm") == "a"


def test_a_component_that_says_so_goes_on_from_what_its_earlier_attempt_left(executed: Executed) -> None:
    assert executed("ours").output("leave-work") == "step 8"
    assert executed("ours").tasks["leave-work-2"].error == "RuntimeError: first try"
    assert len(executed("ours").tasks["leave-work-2"].attempts) == 2


def test_our_own_errors_show_their_message_without_a_traceback(executed: Executed) -> None:
    step = executed("ours").tasks["refuse"]
    assert step.error == "the column 'colour' is missing"
    assert step.attempts[-1].error_kind == "InvalidData"
    assert step.error_detail == ""
    assert "Traceback" not in step.log.read_text()


def test_an_error_in_user_code_shows_the_users_traceback(executed: Executed) -> None:
    step = executed("ours").tasks["refuse-2"]
    assert step.error == "build_model raised KeyError: 'x'"
    assert step.error_detail == "File model.py, line 3\nKeyError: 'x'"


def test_text_that_is_not_utf8_fails_its_step_and_nothing_else(executed: Executed) -> None:
    finished = executed("not_utf8")
    quoted = "ValueError: cannot read caf\\udce9 nor \\ud800"
    assert finished.tasks["exit-handler-1/quote-badly"].error == quoted
    assert quoted in finished.tasks["exit-handler-1/quote-badly"].error_detail
    assert quoted in finished.output("show-status")
    assert "step's output 'Output' is not UTF-8 text: [{'of': 'caf\\udce9'}]" in finished.tasks["return-badly"].error
    assert "step's output 'out' is not UTF-8 text: 'caf\\udce9'" in finished.tasks["write-badly"].error
    assert "step's output 'out' is not UTF-8 text: " in finished.tasks["note-badly"].error
    assert finished.tasks["fail-badly"].error == "exit code 3: no caf\ufffd"
    assert finished.output("name-badly") == 4
    assert finished.run.state == State.FAILED


def test_a_run_with_text_that_is_not_utf8_is_shown(
    executed: Executed, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    finished = executed("not_utf8")
    print_outcome(finished.run, list(finished.tasks.values()), None)
    for task in finished.tasks.values():
        print_log(task, with_title=True)
    out, err = (each.decode() for each in capfdbinary.readouterr())
    assert "a log with caf\ufffd" in out
    assert "cannot read caf\\udce9 nor" in err
    page = render_run_page(finished.run, list(finished.tasks.values()), "{root: {dag: {tasks: {}}}}")
    assert "cannot read caf\\udce9 nor" in page.encode().decode()


@pytest.mark.parametrize(("name", "value"), [("x", "caf\udce9"), ("y", {"a": ["caf\udce9"]})])
def test_a_parameter_that_is_not_utf8_is_refused(store: Store, name: str, value: object) -> None:
    slots = {"x": {"parameterType": "STRING", "isOptional": True}, "y": {"parameterType": "STRUCT", "isOptional": True}}
    spec = {"root": {"dag": {"tasks": {}}, "inputDefinitions": {"parameters": slots}}}
    with pytest.raises(InvalidSetting, match=f"parameter {name!r} is not UTF-8 text: .*udce9"):
        runs.create_run(json.dumps(spec), {name: value}, store=store)
    with pytest.raises(InvalidSetting, match="name of a run is UTF-8 text"):
        runs.create_run(json.dumps(spec), {}, store=store, name="caf\udce9")
    assert store.runs() == []


@pytest.mark.parametrize("left", ["", '{"error": "x", "de', '["error", "detail"]', '{"error": "x"}', None])
def test_what_a_task_could_not_say_to_its_end_is_not_needed(tmp_path: Path, left: str | None) -> None:
    folder = StepFolder(tmp_path)
    if left is not None:
        folder.report.write_text(left)
    folder.log(1).write_text("No space left on device")
    assert describe_end(StepEnd(code=1), folder, folder.log(1)).error == "exit code 1: No space left on device"


def test_pipes_in_place_of_files_are_not_waited_for(tmp_path: Path) -> None:
    folder = StepFolder(tmp_path)
    for each in (folder.report, folder.log(1), folder.executor_output):
        os.mkfifo(each)
    assert describe_end(StepEnd(code=1), folder, folder.log(1)).error == "exit code 1"
    component = Component(name="a", input_parameters={}, input_artifacts={}, output_parameters={}, output_artifacts={})
    with pytest.raises(RunFailed, match=r"executor_output.json is not a file"):
        read_outputs(component, {}, folder, task_id="t")


def test_the_end_of_a_long_log_is_read_without_the_rest(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"\xff" * 50_000 + "é".encode() * 4_000)
    assert end_of(log) == "é" * 4_000


def with_platform(specs: Path, pipeline: str, executors: dict[str, Any]) -> str:
    platform = {"platforms": {"kubernetes": {"deploymentSpec": {"executors": executors}}}}
    return (specs / f"{pipeline}.yaml").read_text() + "\n---\n" + yaml.safe_dump(platform)


def test_a_step_over_its_deadline_is_stopped(specs: Path, store: Store) -> None:
    text = with_platform(specs, "one_sleeper", {"exec-sleeper": {"activeDeadlineSeconds": "1"}})
    run = runs.execute(runs.create_run(text, {}, store=store, settings=AS_PROCESSES).id, store=store)
    assert run.state == State.FAILED
    assert "took longer than 1 s" in run.error


@pytest.mark.parametrize("uses_cache", [True, False])
def test_a_step_that_fails_before_its_first_try_has_its_start_and_its_folder_on_record(
    specs: Path, store: Store, uses_cache: bool
) -> None:
    secret = {"secretName": "keys", "keyToEnv": [{"secretKey": "colour", "envVar": "COLOUR"}]}
    text = with_platform(specs, "one_sleeper", {"exec-sleeper": {"secretAsEnv": [secret]}})
    recorded = runs.create_run(text, {}, store=store, settings=AS_PROCESSES, uses_cache=uses_cache)
    run = runs.execute(recorded.id, store=store)
    task = store.task(run.id, "sleeper")
    assert task.error.startswith("sleeper needs the secret 'keys'")
    assert task.started is not None
    assert task.folder is not None


def test_secrets_come_from_a_local_file_and_are_not_stored(specs: Path, store: Store, tmp_path: Path) -> None:
    secret = {"secretName": "keys", "keyToEnv": [{"secretKey": "colour", "envVar": "COLOUR"}]}
    config = {"secretAsEnv": [secret], "nodeSelector": {"labels": {}}}
    text = with_platform(specs, "containers", {"exec-shell": config})
    text = text.replace("- name: COLOUR\n", "- name: OTHER\n")
    run = runs.execute(runs.create_run(text, {}, store=store, settings=AS_PROCESSES).id, store=store)
    assert "needs the secret 'keys' with the key 'colour'" in run.error
    (store.home / "secrets.yaml").write_text("secrets: {keys: {colour: very-secret-blue}}")
    (store.home / "secrets.yaml").chmod(0o600)
    events: list[Event] = []
    run = runs.resume(run.id, store=store, listener=events.append)
    (data,) = store.task(run.id, "shell").outputs.artifacts["data"]
    assert data.path.read_text() == "very-secret-blue\n"
    told = [event for event in events if event.is_warning]
    warnings = (
        "nodeSelector has no effect on this machine",
        "runs as a process, without its image alpine",
        *disclosed(store.task(run.id, "shell").outputs, ["very-secret-blue"]),
    )
    assert len(warnings) == 3
    assert [(event.task.path, event.message) for event in told] == [("shell", each) for each in warnings]
    assert store.task(run.id, "shell").warnings == warnings
    kept = [event for event in store.events(run.id) if event.is_warning and event.task_path == "shell"]
    assert [event.message for event in kept] == list(warnings)
    stored = [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "secrets.yaml"]
    assert [path for path in stored if b"very-secret-blue" in path.read_bytes()] == [data.path]


def test_a_mount_path_that_comes_as_a_parameter_is_the_claim(specs: Path, store: Store, tmp_path: Path) -> None:
    folder = str(tmp_path / "mnt")
    given = {"folder": f"{folder}/../mnt", "nested": {"in": [f"{folder}/"]}}
    for claim, text in (("ca", "A"), ("cb", "B")):
        mounts = {"pvcMount": [{"mountPath": folder, "constant": claim}]}
        written = with_platform(specs, "claims", {"exec-write-below": mounts, "exec-cat": mounts})
        run = runs.execute(
            runs.create_run(written, {**given, "text": text}, store=store, settings=AS_PROCESSES).id, store=store
        )
        assert run.state == State.SUCCEEDED, run.error
        assert store.task(run.id, "write-below").outputs.parameters == {"Output": text}
        assert store.task(run.id, "cat").outputs.parameters == {"out": text}
        assert store.task(run.id, "write-below").inputs.parameters["folder"] == given["folder"]
        assert rerun_step(run.id, "write-below", store=store).outputs.parameters == {"Output": text + text}
    assert not (tmp_path / "mnt").exists()
    assert (store.home / "volumes" / "cb" / "f").read_text() == "BB"


def test_a_mount_path_that_a_step_gives_back_is_still_one_for_conditions_and_later_steps(
    specs: Path, store: Store
) -> None:
    mounts = {"pvcMount": [{"mountPath": "/mnt/x", "constant": "ca"}]}
    text = with_platform(specs, "claim_named", {"exec-say": mounts, "exec-look-below": mounts})
    run = runs.execute(
        runs.create_run(text, {"folder": "/mnt/x,/mnt/x/f"}, store=store, settings=AS_PROCESSES).id, store=store
    )
    assert run.state == State.SUCCEEDED, run.error
    assert store.task(run.id, "say").outputs.parameters == {"Output": "/mnt/x,/mnt/x/f"}
    assert store.task(run.id, "condition-1/look-below").outputs.parameters == {"Output": ["/mnt/x", ""]}
    assert rerun_step(run.id, "say", store=store).outputs.parameters == {"Output": "/mnt/x,/mnt/x/f"}


def test_a_mount_path_above_the_home_moves_nothing_of_ours(specs: Path, store: Store, tmp_path: Path) -> None:
    mounts = {"emptyDirMounts": [{"mountPath": str(tmp_path), "volumeName": "scratch"}]}
    text = with_platform(specs, "claim_of_all", {"exec-cat": mounts})
    run = runs.execute(
        runs.create_run(text, {"folder": f"{tmp_path}/x"}, store=store, settings=AS_PROCESSES).id, store=store
    )
    assert store.task(run.id, "cat").outputs.parameters == {"out": "none"}


def test_packages_that_cannot_be_had_fail_the_step_and_change_nothing_here(execute: Execute) -> None:
    finished = execute("packages")
    assert finished.run.state == State.FAILED
    assert "pip cannot install what the step asks for, pip-that-is-no-package==99" in finished.run.error


def test_a_step_keeps_its_inputs_in_kfps_form(executed: Executed) -> None:
    finished = executed("chain")
    folder = finished.tasks["add"].folder
    assert folder is not None
    assert json.loads((folder / "executor_input.json").read_text())["inputs"]["parameterValues"] == {"a": 3, "b": 2}
    assert not (folder / "tmp").exists()


def test_a_run_over_its_deadline_is_stopped(specs: Path, store: Store) -> None:
    platform = {"platforms": {"kubernetes": {"pipelineConfig": {"activeDeadlineSeconds": 1}}}}
    text = (specs / "one_sleeper.yaml").read_text() + "\n---\n" + yaml.safe_dump(platform)
    run = runs.execute(runs.create_run(text, {}, store=store, settings=AS_PROCESSES).id, store=store)
    assert (run.state, run.error) == (State.FAILED, "took longer than the 1 s that the pipeline allows")
    assert store.task(run.id, "sleeper").state == State.FAILED


def test_a_failure_deep_inside_is_named_as_a_person_knows_it(executed: Executed) -> None:
    assert executed("exit_handler").run.error == "fail failed: ValueError: broken"


def test_a_listener_that_fails_does_not_end_the_run(specs: Path, store: Store) -> None:
    def listen(event: object) -> None:
        raise BrokenPipeError("the terminal is closed")

    created = runs.create_run((specs / "chain.yaml").read_text(), {}, store=store)
    assert runs.execute(created.id, store=store, listener=listen).state == State.SUCCEEDED


def test_a_killed_parent_of_processes_is_replaced(tmp_path: Path) -> None:
    launch = Launch(target="os:getpid", arguments={}, env={}, cwd=tmp_path)
    before = {each.pid for each in psutil.Process().children()}
    processes = Processes()
    try:
        processes.start(launch, log=tmp_path / "log").wait(30)
        (parent,) = [each for each in psutil.Process().children() if each.pid not in before]
        parent.kill()
        parent.wait(30)
        assert processes.start(launch, log=tmp_path / "log").wait(30) >= 0
    finally:
        processes.close()
    with pytest.raises(RunFailed, match="was stopped"):
        processes.start(launch, log=tmp_path / "log")


def test_what_one_pipeline_asks_for_in_vain_is_not_told_of_another_that_takes_its_results(
    specs: Path, store: Store
) -> None:
    asking = with_platform(specs, "chain", {"exec-add": {"nodeSelector": {"labels": {}}}})
    plain = (specs / "chain.yaml").read_text()
    found = []
    for text in (asking, plain):
        run = runs.execute(runs.create_run(text, {}, store=store).id, store=store)
        found.append(store.task(run.id, "add"))
    assert [(task.is_cached, task.warnings) for task in found] == [
        (False, ("nodeSelector has no effect on this machine",)),
        (True, ()),
    ]


def test_a_step_that_nobody_waits_for_is_ended_beside_the_loop_of_its_run() -> None:
    """Its heartbeats must not wait for an engine of containers that takes long."""
    ended_in: list[str] = []

    class Started:
        def abandon(self) -> None:
            ended_in.append(threading.current_thread().name)

    async def cancel(threads: ThreadPoolExecutor) -> None:
        starting: Any = asyncio.get_running_loop().create_future()
        starting.set_result(SimpleNamespace(process=Started()))
        steps._abandon(threads, starting)

    with ThreadPoolExecutor(thread_name_prefix="step") as threads:
        asyncio.run(cancel(threads))
    asyncio.run(cancel(threads))
    assert ended_in == ["step_0"], "nor where the run has ended, and this with it"
