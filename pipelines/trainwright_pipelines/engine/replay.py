"""One step again, alone: its recorded inputs, in a scratch folder, in the foreground, under a debugger if wanted."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from trainwright_components.errors import InvalidSetting, RunFailed, RunNotFound
from trainwright_pipelines.engine.attempts import said_end
from trainwright_pipelines.engine.contract import PDB_VARIABLE, StepFolder, build_executor_input
from trainwright_pipelines.engine.isolation.choices import CONTAINER, isolation_of, step_at
from trainwright_pipelines.engine.isolation.container_launch import ContainerLaunch
from trainwright_pipelines.engine.isolation.launch import Launch
from trainwright_pipelines.engine.isolation.masked import MaskedStep
from trainwright_pipelines.engine.isolation.of_a_run import Isolations
from trainwright_pipelines.engine.isolation.protocol import StartedStep, StepEnd
from trainwright_pipelines.engine.isolation.python_source import python_source
from trainwright_pipelines.engine.machine import this_machine
from trainwright_pipelines.engine.masking import Mask, MaskedLog
from trainwright_pipelines.engine.platform_settings import LocalSecrets, read_settings
from trainwright_pipelines.engine.preparing import PreparedStep, fill_placeholders, prepare_step, take_own_part
from trainwright_pipelines.engine.records import Task, TaskKind, Values
from trainwright_pipelines.engine.resuming import is_intact
from trainwright_pipelines.engine.runs import check_repeatable
from trainwright_pipelines.engine.store import Store
from trainwright_pipelines.engine.volumes import VOLUMES_NAME, folder_in_memory
from trainwright_pipelines.ir.parsing import parse_pipeline, parse_source
from trainwright_pipelines.ir.resources import read_resources

_OWN_OUTPUT = Path("/dev/stdout")


@dataclass(frozen=True, kw_only=True)
class Replay:
    """How a step went when it was run again; no error means well."""

    step: str
    folder: Path
    exit_code: int | None
    outputs: Values
    error: str = ""
    detail: str = ""


def rerun_step(run_id: str, step: str, *, store: Store, pdb: bool = False) -> Replay:
    """Run one step of a run again with its recorded inputs; the run itself does not change.

    Its output goes to this process's own. With `pdb`, an exception opens the debugger where it was raised.

    Raises:
        RunNotFound: There is no such run or step, or its inputs are gone.
        InvalidSetting: The step runs no code, or never started, or an older release made the run.
    """
    run, task = store.run(run_id), store.task(run_id, step)
    check_repeatable(run)
    _check_replayable(task)
    pipeline = parse_pipeline(store.spec_text(run.id))
    component = pipeline.root if task.component == "root" else pipeline.components[task.component]
    container = pipeline.executors[component.executor].container
    assert container is not None  # the step has run as a process or in a container
    if pdb and python_source(container) is None:
        raise InvalidSetting(f"{task.label} is a command, not a Python component; only those run under a debugger")
    planned = step_at(pipeline, task.path, container)
    is_in_container = isolation_of(planned, run.isolation) == CONTAINER
    if pdb and is_in_container:
        raise InvalidSetting(
            f"{task.label} runs in a container, which no debugger reaches: leave --pdb out, or run the pipeline with "
            f"--isolation {planned.label}=process first"
        )
    reruns = run.folder / "reruns"
    reruns.mkdir(exist_ok=True)
    folder = StepFolder(Path(tempfile.mkdtemp(prefix=f"{task.name}-", dir=reruns)))
    own = take_own_part(
        component,
        container,
        pipeline.platform_settings.get(component.executor) or {},
        task.inputs,
        run=run,
        task=task,
        folder=folder,
        resolve=_constant,
    )
    settings = read_settings(
        own.platform,
        step=task.name,
        run=run.name,
        local=LocalSecrets.load(store.home, os.environ),
        resolve=_constant,
        run_id=run.id,
        task_id=task.id,
    )
    isolations, image = Isolations(), None
    gpus: tuple[str, ...] = ()
    with contextlib.closing(isolations), folder_in_memory() as memory:
        if is_in_container:
            executor_input = build_executor_input(component, own.inputs, folder, folder.artifacts)
            placeholders = fill_placeholders(executor_input, run=run, task=task)
            image = isolations.image_of(
                replace(planned, container=own.container),
                placeholders,
                images=run.images,
                pull_policy=settings.pull_policy,
                tell=lambda message: print(message, file=sys.stderr),
            )
            gpus = this_machine().gpus[: read_resources(own.container, placeholders.text).accelerator_count]
        prepared = prepare_step(
            own.container,
            own.inputs,
            run=run,
            task=task,
            component=component,
            folder=folder,
            settings=settings,
            home=store.home,
            log=folder.log(1),
            isolations=isolations,
            image=image,
            gpus=gpus,
            in_warm_process=False,
            secret=None if is_in_container else memory,
            tell=lambda message: print(message, file=sys.stderr),
        )
        try:
            ended = _in_foreground(prepared.launch, settings.mask, folder, isolations, pdb=pdb)
        finally:
            shutil.rmtree(folder.scratch / VOLUMES_NAME, ignore_errors=True)  # with what was mounted into a container
    told = _told(ended, prepared, step=task.label)
    shutil.rmtree(folder.brought, ignore_errors=True)
    return told


def _check_replayable(task: Task) -> None:
    if task.kind == TaskKind.IMPORTER:
        raise InvalidSetting(f"{task.label} only names something that is there already; choose a step that runs code")
    if task.is_group:
        raise InvalidSetting(f"{task.label} is a {task.kind}: it runs no code of its own; choose a step inside it")
    if task.folder is None:
        raise InvalidSetting(f"{task.label} never started, so there are no inputs to run it with")
    if not is_intact(task.inputs):
        raise RunNotFound(f"the inputs of {task.label} are gone; run the pipeline again")


def _told(ended: StepEnd, prepared: PreparedStep, *, step: str) -> Replay:
    folder, code = prepared.folder, ended.code
    outputs, error, detail = Values(), ended.reason, ""
    if code == 0:
        try:
            outputs = prepared.read_outputs(ended.brought).values
        except RunFailed as missing:
            error = str(missing)
    elif (said := said_end(code, folder)) is not None:
        error, detail = said.error, said.detail
    return Replay(
        step=step,
        folder=folder.path,
        exit_code=code,
        outputs=outputs,
        error=error or ("" if code == 0 else f"exit code {code}"),
        detail=detail,
    )


def _constant(raw: Mapping[str, Any]) -> Any:
    return parse_source(raw).constant


def _in_foreground(
    launch: Launch | ContainerLaunch, mask: Mask, folder: StepFolder, isolations: Isolations, *, pdb: bool
) -> StepEnd:
    if isinstance(launch, ContainerLaunch):
        return _show_container(launch, mask, folder, isolations)
    env = {**os.environ, **launch.env, **({PDB_VARIABLE: "1"} if pdb else {})}
    command = launch.arguments["command"]
    is_piped = bool(mask) and not pdb  # a debugger needs the terminal
    output, errors = (subprocess.PIPE, subprocess.STDOUT) if is_piped else (None, None)
    process = subprocess.Popen(command, env=env, cwd=launch.cwd, stdout=output, stderr=errors)
    with _left_to_the_child(), process:
        for line in process.stdout or ():
            os.write(1, mask.content(line))
        return StepEnd(code=process.wait())


def _show_container(launch: ContainerLaunch, mask: Mask, folder: StepFolder, isolations: Isolations) -> StepEnd:
    def step(output: Path) -> StartedStep:
        return isolations.step(launch, log=output, timeout_s=None)

    shown = MaskedStep(step, MaskedLog(_OWN_OUTPUT, folder.scratch / "log", mask)) if mask else step(_OWN_OUTPUT)
    shown.start()
    return shown.wait()


@contextlib.contextmanager
def _left_to_the_child() -> Iterator[None]:
    """Ctrl-C is the debugger's, or the step's."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, lambda *_: None)  # SIG_IGN would be inherited
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
