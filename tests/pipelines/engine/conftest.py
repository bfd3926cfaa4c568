"""Compiled pipelines, a store, and runs to look at."""

import functools
import os
import select
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from trainwright_pipelines.engine import runs
from trainwright_pipelines.engine.records import Event, Run, RunSettings, State, Task
from trainwright_pipelines.engine.store import Store

ROOT = Path(__file__).parents[3]

AS_PROCESSES = RunSettings(isolation={"": "process"})
"""Also container components, whose images no machine has."""


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A run that has ended."""

    run: Run
    tasks: dict[str, Task]
    events: list[Event]

    def state(self, path: str) -> State:
        return self.tasks[path].state

    def output(self, path: str, name: str = "Output") -> Any:
        return self.tasks[path].outputs.parameters[name]


Execute = Callable[..., Finished]
Executed = Callable[[str], Finished]


@pytest.fixture(scope="session")
def specs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled tiny pipelines, one YAML each."""
    folder = tmp_path_factory.mktemp("specs")
    subprocess.run([sys.executable, "-m", "tests.pipelines.engine.tiny_pipelines", folder], check=True, cwd=ROOT)
    return folder


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "home") as store:
        yield store


@pytest.fixture
def execute(specs: Path, store: Store) -> Execute:
    """Create and execute a tiny pipeline, or resume a run of one."""

    def execute(
        pipeline: str,
        *,
        resume: str = "",
        uses_cache: bool = True,
        settings: RunSettings = AS_PROCESSES,
        **parameters: Any,
    ) -> Finished:
        events: list[Event] = []
        if resume:
            run = runs.resume(resume, store=store, listener=events.append)
        else:
            text = (specs / f"{pipeline}.yaml").read_text()
            created = runs.create_run(text, parameters, store=store, uses_cache=uses_cache, settings=settings)
            run = runs.execute(created.id, store=store, listener=events.append)
        return Finished(run=run, tasks={task.path: task for task in store.tasks(run.id)}, events=events)

    return execute


@pytest.fixture(scope="session")
def executed(specs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Finished]]:
    """Tiny pipelines executed once a session with their defaults; for tests that only look."""
    with Store(tmp_path_factory.mktemp("home")) as store:

        @functools.cache
        def executed(pipeline: str) -> Finished:
            events: list[Event] = []
            text = (specs / f"{pipeline}.yaml").read_text()
            created = runs.create_run(text, {}, store=store, uses_cache=False, settings=AS_PROCESSES)
            run = runs.execute(created.id, store=store, listener=events.append)
            return Finished(run=run, tasks={task.path: task for task in store.tasks(run.id)}, events=events)

        yield executed


@dataclass(frozen=True)
class Fifo:
    """A named pipe on which a step says that it runs; it goes on when told, or dies."""

    path: Path

    def wait(self) -> str:
        """Block until a step has said its process id."""
        with os.fdopen(os.open(self.path, os.O_RDONLY | os.O_NONBLOCK)) as file:
            assert select.select([file], [], [], 60)[0], "no step started"
            os.set_blocking(file.fileno(), True)
            return file.read()

    def let_go(self) -> None:
        """Let the step end."""
        self.path.with_name(self.path.name + ".go").open("w").close()


@pytest.fixture
def fifo(tmp_path: Path) -> Fifo:
    os.mkfifo(tmp_path / "fifo")
    os.mkfifo(tmp_path / "fifo.go")
    return Fifo(tmp_path / "fifo")
