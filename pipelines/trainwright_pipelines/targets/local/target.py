"""Run pipelines on one machine: the engine in a process of its own, followed through the store."""

import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

from trainwright_components.home import Home, find_home
from trainwright_pipelines.engine.isolation.choices import ALL_STEPS, parse_isolation
from trainwright_pipelines.engine.records import Run, RunSettings, Task
from trainwright_pipelines.engine.runs import create_run
from trainwright_pipelines.engine.store import Store
from trainwright_pipelines.ir.compiled import CompiledPipeline
from trainwright_pipelines.service.pages.run_page import PAGE_NAME
from trainwright_pipelines.targets.lowering import IMAGES_OPTION, chosen_images
from trainwright_pipelines.targets.protocol import NO_SETTINGS, RunStatus, Submission, Target, TaskStatus
from trainwright_pipelines.views.wording import shown_state

_POLL_S = 0.5
ENGINE_LOG = "engine.log"
ISOLATION_VARIABLE = "TRAINWRIGHT_ISOLATION"
ISOLATION_OPTION = (
    f"process or container, STEP=process or STEP=container, separated by commas; also in {ISOLATION_VARIABLE}"
)


class Local:
    """One machine."""

    name: ClassVar[str] = "local"
    runs_here: ClassVar[bool] = True
    options: ClassVar[Mapping[str, str]] = {"isolation": ISOLATION_OPTION, "images": IMAGES_OPTION}

    def __init__(
        self, home: Home, *, isolation: Mapping[str, str] | None = None, images: Mapping[str, str] | None = None
    ) -> None:
        self._home = home
        self._isolation = isolation or {}
        self._images = images or {}

    @classmethod
    def from_options(cls, options: Mapping[str, str], home: Home | None = None) -> Self:
        """The machine's own home, with what steps run in."""
        given = (os.environ.get(ISOLATION_VARIABLE, ""), options.get("isolation", ""))
        return cls(home or find_home(), isolation=parse_isolation(given), images=chosen_images(options))

    def lower(self, pipeline: CompiledPipeline) -> Mapping[str, str]:
        """The pipeline as it is: the engine takes what the compiler gives."""
        return {f"{pipeline.name}.yaml": pipeline.to_yaml()}

    def complete(self, settings: RunSettings) -> RunSettings:
        """`settings` with what the options and the environment say of isolation, where they say nothing."""
        own = {} if ALL_STEPS in settings.isolation else self._isolation
        return replace(
            settings,
            isolation={**own, **settings.isolation},
            images={**self._images, **settings.images},
        )

    def submit(
        self,
        pipeline: CompiledPipeline,
        parameters: Mapping[str, Any],
        *,
        name: str = "",
        use_cache: bool = True,
        settings: RunSettings = NO_SETTINGS,
    ) -> Submission:
        """Record a run and start a process for it that outlives this one."""
        with Store(self._home.root) as store:
            run = create_run(
                pipeline.to_yaml(),
                parameters,
                store=store,
                name=name,
                uses_cache=use_cache,
                settings=self.complete(settings),
            )
        start_in_background(run)
        return Submission(
            target=self.name,
            run_id=run.id,
            url=(run.folder / PAGE_NAME).as_uri(),
            follow_command=f"trainwright runs logs {run.id} --follow",
        )

    def follow(self, submission: Submission, report: Callable[[RunStatus], None]) -> RunStatus:
        """Read the store until the run has ended."""
        store = Store(self._home.root)
        before: RunStatus | None = None
        try:
            while True:
                run = store.run(submission.run_id)
                status = _status(run, store.tasks(run.id))
                if status != before:
                    report(status)
                if run.state.is_final:
                    return status
                before = status
                time.sleep(_POLL_S)
        finally:
            store.close()


def start_in_background(run: Run) -> None:
    """Execute `run` in a process of its own session, so that closing the terminal does not end it."""
    command = [sys.executable, "-P", "-m", "trainwright_pipelines.targets.local.background", run.id]
    home = run.folder.parents[1]
    log = str(run.folder / ENGINE_LOG)
    os.posix_spawn(
        sys.executable,
        command,
        {**os.environ, "TRAINWRIGHT_HOME": str(home)},
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
    )


def _status(run: Run, tasks: list[Task]) -> RunStatus:
    return RunStatus(
        state=str(run.state),
        message=run.error,
        tasks=tuple(
            TaskStatus(name=task.label, state=shown_state(task), seconds=task.duration_s, message=task.error)
            for task in tasks
            if not task.is_group
        ),
    )


if TYPE_CHECKING:
    _: type[Target] = Local
