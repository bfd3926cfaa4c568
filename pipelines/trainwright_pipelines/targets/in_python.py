"""Run a pipeline on this machine from Python: for notebooks and scripts."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy.exc import DBAPIError

from trainwright_components.errors import RunNotFound
from trainwright_components.hints import did_you_mean
from trainwright_components.home import Home, find_home
from trainwright_pipelines.engine.records import Event, Run, State, Task
from trainwright_pipelines.engine.runs import create_run, execute
from trainwright_pipelines.engine.store import Store
from trainwright_pipelines.requests.preparing import prepare_run
from trainwright_pipelines.service.pages.run_page import write_run_page


@dataclass(frozen=True, kw_only=True)
class EndedRun:
    """A run that has ended, well or not, with its steps and its page."""

    run: Run
    tasks: tuple[Task, ...]
    page: Path

    @property
    def is_successful(self) -> bool:
        """Whether every step that had to run succeeded."""
        return self.run.state is State.SUCCEEDED

    def task(self, name: str) -> Task:
        """The step of this name.

        Raises:
            RunNotFound: There is no such step.
        """
        found = [task for task in self.tasks if name in (task.name, task.path, task.label)]
        if not found:
            raise RunNotFound(
                f"run {self.run.id} has no step {name!r}{did_you_mean(name, [t.name for t in self.tasks])}"
            )
        return found[0]


def run_pipeline(
    pipeline: str,
    parameters: Mapping[str, Any] | None = None,
    *,
    use_cache: bool = True,
    listener: Callable[[Event], None] | None = None,
    home: Home | None = None,
) -> EndedRun:
    """Run `pipeline` here and wait for its end.

    Args:
        pipeline: A shipped pipeline's name, `file.py:function`, or a compiled YAML file.
        parameters: Values by name; a dotted name goes into a mapping: `{"training.epochs": 5}`. Relative paths start
            at the current folder.
        use_cache: Whether steps whose inputs did not change are taken from earlier runs.
        listener: Called for every change of state, from another thread.
        home: Where state lives; what TRAINWRIGHT_HOME says when absent.

    Raises:
        InvalidPipeline: The pipeline cannot be found or compiled.
        InvalidSetting: A parameter is unknown, missing or of another type.
        Unwritable: The run cannot be recorded: the disk is full, or the database is away.
    """
    home = home or find_home()
    prepared = prepare_run(pipeline, (parameters or {}).items(), home=home)
    store = Store(home.root)
    try:
        created = create_run(prepared.pipeline.to_yaml(), prepared.values, store=store, uses_cache=use_cache)
        try:
            run = execute(created.id, store=store, listener=listener)
        except BaseException:
            with suppress(OSError, DBAPIError):  # what ended the run is what the caller should hear of
                write_run_page(store, created.id)
            raise
        return EndedRun(run=run, tasks=tuple(store.tasks(run.id)), page=write_run_page(store, run.id))
    finally:
        store.close()
