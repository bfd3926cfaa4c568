"""What comes before and after the process of a step: its folder, mounts, inputs and interpreter, then its outputs."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from trainwright_components.images import is_logical
from trainwright_components.reuse import CONTINUED, states
from trainwright_pipelines.engine.contract import (
    LeftBehind,
    StepFolder,
    build_executor_input,
    read_outputs,
    write_executor_input,
)
from trainwright_pipelines.engine.downloads import FOLDER as DOWNLOADS
from trainwright_pipelines.engine.downloads import download, downloaded
from trainwright_pipelines.engine.execution import run_constants
from trainwright_pipelines.engine.installing import InstalledPackages, packages_for
from trainwright_pipelines.engine.isolation.container_engine import Image
from trainwright_pipelines.engine.isolation.container_launch import ContainerLaunch, plan_container
from trainwright_pipelines.engine.isolation.launch import Launch, plan_launch, step_variables
from trainwright_pipelines.engine.isolation.of_a_run import Isolations
from trainwright_pipelines.engine.isolation.process import run_command
from trainwright_pipelines.engine.isolation.python_source import python_source
from trainwright_pipelines.engine.masking import told_by
from trainwright_pipelines.engine.own_python import make_own_python
from trainwright_pipelines.engine.platform_settings import PlatformSettings, Resolve
from trainwright_pipelines.engine.records import Run, Task, Values
from trainwright_pipelines.engine.task_config import Handover, hand_over
from trainwright_pipelines.engine.volumes import VOLUMES_NAME, mounted_values, place_values
from trainwright_pipelines.ir.placeholders import Placeholders
from trainwright_pipelines.ir.spec import Component

ENVIRONMENTS = "environments"
"""The folder of packages, in the home of the store."""


@dataclass(frozen=True, kw_only=True)
class PreparedStep:
    """A step whose process can start: its files are written."""

    launch: Launch | ContainerLaunch
    task: Task
    component: Component
    folder: StepFolder
    executor_input: Mapping[str, Any]
    mounts: Mapping[str, Path]
    needs_artifacts: bool
    packages: InstalledPackages | None = None
    """What was installed for it."""

    def read_outputs(self, brought: Mapping[str, Path]) -> LeftBehind:
        """What the process gave; paths below mounted folders as later steps know them, by the mount paths.

        `brought` are copies of what lay inside its container.

        Raises:
            RunFailed: An output is missing or of another type than declared.
        """
        left = read_outputs(
            self.component,
            self.executor_input,
            self.folder,
            task_id=self.task.id,
            needs_artifacts=self.needs_artifacts,
            brought=brought,
        )
        parameters = mounted_values(left.values.parameters, self.mounts)
        return replace(left, values=replace(left.values, parameters=parameters))


def fill_placeholders(executor_input: Mapping[str, Any], *, run: Run, task: Task) -> Placeholders:
    """KFP's placeholders with the values that they have in a step."""
    name = task.parent_path.rpartition("/")[2] if task.name.isdecimal() else task.name  # of a loop over one step
    names = {"pipeline_task_name": name, "pipeline_task_uuid": task.id}
    return Placeholders(executor_input, run_constants(run) | names)


def take_own_part(
    component: Component,
    container: Mapping[str, Any],
    platform: Mapping[str, Any],
    inputs: Values,
    *,
    run: Run,
    task: Task,
    folder: StepFolder,
    resolve: Resolve,
) -> Handover:
    """A step without what its component only hands on to a workload of its own, and with its TaskConfig filled."""
    if not component.passthroughs:
        return Handover(container=container, platform=platform, inputs=inputs)
    executor_input = build_executor_input(component, inputs, folder, folder.artifacts)
    return hand_over(
        component,
        container,
        platform,
        inputs,
        fill=fill_placeholders(executor_input, run=run, task=task).text,
        resolve=resolve,
        workspace=run_constants(run)["workspace_path"],
    )


def prepare_step(
    container: Mapping[str, Any],
    inputs: Values,
    *,
    run: Run,
    task: Task,
    component: Component,
    folder: StepFolder,
    settings: PlatformSettings,
    home: Path,
    log: Path,
    isolations: Isolations,
    image: Image | None = None,
    gpus: Sequence[str] = (),
    in_warm_process: bool = True,
    secret: Path | None = None,
    tell: Callable[[str], object] = lambda _: None,
) -> PreparedStep:
    """Make what a step finds when it starts.

    Args:
        container: As KFP's PipelineContainerSpec has it.
        inputs: With paths as the steps before gave them.
        run: The run of the step.
        task: The record of the step.
        component: What the step runs.
        folder: Its files.
        settings: What the platform document asks for it.
        home: The home of the store, which holds claims and environments.
        log: Where the installation of packages is told.
        isolations: Run the installation of packages, and say when to end a download.
        image: What it runs in; None for a process.
        gpus: Those that a container gets.
        in_warm_process: Whether our own components run in warm children.
        secret: Where files of secrets go, by default below `folder`.
        tell: Given what takes a while.

    Raises:
        InvalidPipeline: It cannot be run without its image.
        InvalidSetting: Nothing is at the address of an input artifact, or it may not be read.
        OSError: The folder cannot be written.
        RunFailed: Its program or its packages cannot be had on this machine.
        TargetUnavailable: The storage of an input artifact cannot be reached.
    """
    folder.make(keeps_artifacts=states(container, CONTINUED))
    mounts = settings.volumes.make(home / "volumes", folder.scratch / VOLUMES_NAME, secret)
    replaced = mounts if image is None else {}  # a container has its volumes where they are mounted
    placed = replace(inputs, parameters=place_values(inputs.parameters, replaced))
    copies = {
        artifact.uri: download(artifact.uri, home / DOWNLOADS, check=isolations.check_open, tell=tell)
        for artifact in downloaded(inputs)
    }
    placed_copies = copies if image is None else {}  # likewise
    executor_input = build_executor_input(component, placed, folder, folder.artifacts, copies=placed_copies)
    write_executor_input(executor_input, folder)
    placeholders = fill_placeholders(executor_input, run=run, task=task)
    packages = None
    launch: Launch | ContainerLaunch
    if image is not None:
        launch = plan_container(
            container,
            placeholders,
            folder,
            image=image,
            run=run,
            task=task,
            inputs=inputs,
            settings=settings,
            home=home,
            volume_folders=mounts,
            gpus=gpus,
            copies=copies,
        )
    else:
        told = told_by(settings.secret_variables, [mounts[each] for each in settings.secret_mounts])
        given = {"TRAINWRIGHT_HOME": str(home), "TRAINWRIGHT_RUN": run.id, **settings.env, **told}
        packages = _install_packages(
            container,
            folder,
            home / ENVIRONMENTS,
            env=step_variables(container, placeholders, given, mounts),
            log=log,
            isolations=isolations,
            tell=tell,
        )
        launch = plan_launch(
            container,
            placeholders,
            folder,
            extra_env=given,
            python=make_own_python(folder.scratch / "python", home / ENVIRONMENTS, packages),
            in_warm_process=in_warm_process,
            mounts=mounts,
        )
    return PreparedStep(
        launch=launch,
        task=task,
        component=component,
        folder=folder,
        executor_input=executor_input,
        mounts=replaced,
        needs_artifacts=run.requires_outputs or is_logical(str(container.get("image") or "")),
        packages=packages,
    )


def _install_packages(
    container: Mapping[str, Any],
    folder: StepFolder,
    environments: Path,
    *,
    env: Mapping[str, str],
    log: Path,
    isolations: Isolations,
    tell: Callable[[str], object],
) -> InstalledPackages | None:
    """What a lightweight component asks for; our own find all that they need in the product's environment."""
    if python_source(container) is None or is_logical(str(container.get("image") or "")):
        return None
    return packages_for(
        container,
        environments,
        own=folder.scratch / "packages",
        env=env,
        log=log,
        run=functools.partial(run_command, isolations.processes),
        check=isolations.check_open,
        tell=tell,
    )
