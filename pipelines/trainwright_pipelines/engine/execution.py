"""One process executing one run: what the walk through its DAG and its steps share."""

import asyncio
import contextlib
import logging
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from trainwright_components.files import legible
from trainwright_pipelines.engine.cache import components_code
from trainwright_pipelines.engine.isolation.of_a_run import Isolations
from trainwright_pipelines.engine.libraries import Libraries
from trainwright_pipelines.engine.platform_settings import LocalSecrets, PlatformSettings, Resolve, read_settings
from trainwright_pipelines.engine.records import Event, Run, State, Task
from trainwright_pipelines.engine.resuming import givers_of, stale_paths
from trainwright_pipelines.engine.slots import Slots, note_waiting
from trainwright_pipelines.engine.store import Store
from trainwright_pipelines.engine.unwritable import why_unwritable
from trainwright_pipelines.engine.volumes import folder_in_memory
from trainwright_pipelines.ir.spec import Pipeline

Listener = Callable[[Event], None]

_LOG = logging.getLogger(__name__)
_MAX_THREADS = 256
IN_EXIT_TASK: ContextVar[bool] = ContextVar("IN_EXIT_TASK", default=False)


def now() -> datetime:
    """The time, in UTC."""
    return datetime.now(UTC)


@dataclass(kw_only=True)
class Execution:
    """The run being executed. The worker's thread walks through it; steps record what they do from threads too."""

    store: Store
    run: Run
    pipeline: Pipeline
    listener: Listener | None
    max_parallel: int
    secrets: LocalSecrets
    isolations: Isolations = field(default_factory=Isolations)
    previous: dict[str, Task] = field(default_factory=dict)
    """Tasks of the run so far, by path: those of an earlier process, and then of this one.

    Of a loop, iterations that have succeeded are not among them: `bring_back` has them here again.
    """
    threads: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(_MAX_THREADS, thread_name_prefix="step")
    )
    has_lost_lease: threading.Event = field(default_factory=threading.Event)
    libraries: Libraries = field(default_factory=Libraries)

    def __post_init__(self) -> None:
        self.slots = Slots(self.max_parallel)
        self.constants = run_constants(self.run)
        self._is_late = asyncio.Event()
        self._subject: set[asyncio.Task[Any]] = set()
        self._looks = asyncio.Semaphore(_MAX_THREADS)
        self._stale = stale_paths(self.previous.values())
        self._held: dict[str, dict[str, None]] = {}
        """Paths of tasks by that of the group that holds them."""
        self._away: dict[str, set[str]] = {}
        """Paths of iterations that only the store remembers, by that of their loop."""
        self._note_places(self.previous.values())
        self._recording = threading.RLock()
        self._recorded: dict[str, Task] = {}
        """What this process has recorded of tasks, by id."""
        self._in_memory = contextlib.ExitStack()
        self._memory: Path | None = None
        self._code = ""
        self._code_lock = threading.Lock()

    @property
    def overdue(self) -> str:
        """Why nothing but exit tasks runs any more; empty while the pipeline's deadline is ahead."""
        return (
            f"took longer than the {self.pipeline.deadline_s:g} s that the pipeline allows"
            if self._is_late.is_set()
            else ""
        )

    def pass_deadline(self) -> None:
        """Stop all steps but those of exit tasks, and start no others; a run that is canceled stops by itself."""
        if self.run.state == State.CANCELING:
            return  # a second cancel would take from its steps the time that they have to save
        self._is_late.set()
        for task in list(self._subject):
            task.cancel(self.overdue)

    @contextlib.contextmanager
    def subject_to_deadline(self) -> Iterator[None]:
        """Have what runs in the block canceled when the pipeline's deadline passes, unless an exit task runs it.

        Argo spares the pods of exit handlers (workflow/controller/exec_control.go of argoproj/argo-workflows).
        """
        task = asyncio.current_task()
        if task is None or IN_EXIT_TASK.get():
            yield
            return
        if self.overdue:
            raise asyncio.CancelledError(self.overdue)
        self._subject.add(task)
        try:
            yield
        finally:
            self._subject.discard(task)

    async def wait(self, seconds: float) -> bool:
        """Wait, at most until the pipeline's deadline; whether that has passed."""
        note_waiting()
        if IN_EXIT_TASK.get():
            await asyncio.sleep(seconds)
            return False
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._is_late.wait(), seconds)
        return bool(self.overdue)

    def why_stopped(self, error: asyncio.CancelledError) -> tuple[State, str]:
        """What somebody's cancel, or the deadline, makes of a step: its state and the reason."""
        is_late = self.overdue and error.args == (self.overdue,)
        return (State.FAILED, self.overdue) if is_late else (State.CANCELED, "canceled")

    def folder_of(self, path: str) -> Path:
        """Where a task keeps its files."""
        return self.run.folder / "steps" / path

    def inside(self, path: str) -> Iterator[Task]:
        """The tasks so far that a group holds, each before those inside it."""
        for each in [each for loop, away in self._away.items() if _is_in(loop, path) for each in away]:
            self.bring_back(each)
        for each in tuple(self._held.get(path, ())):
            yield self.previous[each]
            yield from self.inside(each)

    def _note_places(self, tasks: Iterable[Task]) -> None:
        for task in tasks:
            self._held.setdefault(task.parent_path, {})[task.path] = None

    def put_away(self, iteration: str) -> None:
        """Leave an iteration that has ended, with all that it holds, to the store: a loop may be long."""
        with self._recording:
            held = [self.previous[iteration], *self.inside(iteration)]
            for task in held:
                del self.previous[task.path]
                self._recorded.pop(task.id, None)
                self._held.pop(task.path, None)
                self._away.pop(task.path, None)
            del self._held[held[0].parent_path][iteration]
            self._away.setdefault(held[0].parent_path, set()).add(iteration)

    def forget_beyond(self, loop: Task, count: int) -> None:
        """Take from the record what a loop had more of when it ran before: its items may be fewer now."""
        for iteration in list(self._away.get(loop.path, ())):
            if int(iteration.rpartition("/")[2]) >= count:
                self.bring_back(iteration)
        gone = [each for each in self._held.get(loop.path, ()) if int(each.rpartition("/")[2]) >= count]
        for iteration in gone:
            tasks = [self.previous[iteration], *self.inside(iteration)]
            self.put_away(iteration)
            self._away[loop.path].remove(iteration)
            if not self.has_lost_lease.is_set() and not self.store.remove_tasks(tasks, heir=loop):
                shutil.rmtree(self.folder_of(iteration), ignore_errors=True)

    def bring_back(self, iteration: str) -> None:
        """Have what was put away of an iteration in `previous` again."""
        loop = iteration.rpartition("/")[0]
        if iteration not in self._away.get(loop, ()):
            return
        with self._recording:
            self._away[loop].remove(iteration)
            tasks = self.store.tasks(self.run.id, inside=iteration)
            self.previous.update((task.path, task) for task in tasks)
            self._note_places(tasks)

    def is_stale(self, path: str) -> bool:
        """Whether a step, or one inside it, must run again although it succeeded."""
        return any(_is_in(each, path) for each in self._stale)

    def find_stale(self, path: str, name: str) -> dict[str, int]:
        """What gave the input `name` of a step, which no longer holds, and how many attempts it had; none is reused."""
        paths = givers_of(self.pipeline, path, name)
        for iteration in [each for away in self._away.values() for each in away]:
            if any(_is_in(giver, iteration) for giver in paths):
                self.bring_back(iteration)
        givers = [self.previous[each] for each in paths if each in self.previous]
        for giver in givers:
            self.store.forget(giver)
        return {giver.path: len(giver.attempts) for giver in givers}

    def settings_of(self, config: Mapping[str, Any], task: Task, resolve: Resolve) -> PlatformSettings:
        """What the platform document asks for a step; warns of what has no effect here."""
        settings = read_settings(
            config,
            step=task.name,
            run=self.run.name,
            local=self.secrets,
            resolve=resolve,
            run_id=self.run.id,
            task_id=task.id,
        )
        for warning in settings.warnings:
            self.warn(warning, task)
        if settings.secrets and (exposure := self.secrets.exposure):
            self.warn(exposure)
        return settings

    @property
    def memory(self) -> Path:
        """A folder that is on no disk, until the run ends. From any thread."""
        with self._recording:
            if self._memory is None:
                self._memory = self._in_memory.enter_context(folder_in_memory())
            return self._memory

    def components_code(self) -> str:
        """Digest of the code in our own images; read once a run."""
        with self._code_lock:
            self._code = self._code or components_code()
        return self._code

    def in_thread(self, function: Callable[[], Any]) -> "asyncio.Future[Any]":
        """Await a blocking call without holding up the other tasks.

        No coroutine: a task that nobody waits for when the run ends would be complained of.
        """
        return asyncio.get_running_loop().run_in_executor(self.threads, function)

    async def look(self, function: Callable[[], bool]) -> bool:
        """Await a look at results on record, which may lie elsewhere; as many go on at once as there are threads."""
        async with self._looks:
            note_waiting()
            return bool(await self.in_thread(function))

    def save(self, task: Task, message: str = "") -> Task:
        """Record a task; tell the listener of a new state, and of a new log. What it was warned of stays."""
        return self.save_all([task], message)[0]

    def save_all(self, tasks: Sequence[Task], message: str = "") -> Sequence[Task]:
        """Record tasks in one transaction, each with the event of its new state, as `save` does."""
        with self._recording:
            return self._save_all(tasks, message)

    def _save_all(self, tasks: Sequence[Task], message: str) -> Sequence[Task]:
        before = [self.previous.get(task.path) for task in tasks]
        tasks = [task if known is None else _warned(task, known) for task, known in zip(tasks, before, strict=True)]
        self.previous.update((task.path, task) for task in tasks)
        self._note_places(task for task, known in zip(tasks, before, strict=True) if known is None)
        if self.has_lost_lease.is_set():
            return tasks  # another process writes now
        events, shown = [], []
        for task, known in zip(tasks, before, strict=True):
            event = Event(run_id=self.run.id, time=now(), state=task.state, task=task, message=message)
            if known is None or known.state != task.state or message:
                events.append(event)
                shown.append(event)
            elif known.log != task.log:
                shown.append(event)
        self.store.save_tasks(
            [task for task, known in zip(tasks, before, strict=True) if known is not None],
            added=[task for task, known in zip(tasks, before, strict=True) if known is None],
            recorded=self._recorded,
            events=events,
        )
        self._recorded.update((task.id, task) for task in tasks)
        for event in shown:
            self.show(event)
        return tasks

    def save_run(self, **changes: Any) -> None:
        """Record the run's new state and tell the listener."""
        with self._recording:
            before = self.run.state
            self.run = replace(self.run, **changes)
            if self.has_lost_lease.is_set():
                return
            self.store.save_run(self.run)
            if self.run.state != before:
                self.tell(Event(run_id=self.run.id, time=now(), state=self.run.state, message=self.run.error))

    def warn(self, message: str, task: Task | None = None) -> None:
        """Keep on record what the run, or a task, goes on without, and tell it; the same once. From any thread."""
        message = legible(message)
        with self._recording:
            latest = None if task is None else self.previous.get(task.path, task)
            told = self.run.warnings if latest is None else latest.warnings
            if message in told:
                return
            if latest is None:
                self.save_run(warnings=(*told, message))
            else:
                latest = self.save(replace(latest, warnings=(*told, message)))
            state = self.run.state if latest is None else latest.state
            self.tell(Event(run_id=self.run.id, time=now(), state=state, task=latest, message=message, is_warning=True))

    def tell(self, event: Event) -> None:
        """Keep an event, and hand it to the listener."""
        with self._recording:
            if not self.has_lost_lease.is_set():
                self.store.add_events([event])
            self.show(event)

    def tell_of(self, task: Task, message: str) -> None:
        """Keep and show what a task is at; its record stays as it is. From any thread."""
        self.tell(Event(run_id=self.run.id, time=now(), state=task.state, task=task, message=message))

    def show(self, event: Event) -> None:
        """Hand an event to the listener."""
        if self.listener is None:
            return
        try:
            self.listener(event)
        except Exception:  # what shows the run must not end it; a closed terminal is the usual case
            _LOG.exception("the listener of run %s failed and is not called again", self.run.id)
            self.listener = None

    def finish(self, task: Task, state: State, **changes: Any) -> Task:
        """Record the end of a task."""
        return self.save(replace(task, state=state, finished=now(), **changes))

    def why_unwritable(self, error: BaseException) -> str:
        """What keeps the run from being recorded; empty when `error` is about something else."""
        return why_unwritable(error, self.store.home)

    def close(self) -> None:
        """End all processes, containers and threads."""
        with contextlib.ExitStack() as ending:  # all of it is done, whichever part fails
            ending.callback(self._in_memory.close)
            ending.callback(lambda: self.threads.shutdown(cancel_futures=True))
            ending.callback(self.isolations.close)


def _is_in(path: str, group: str) -> bool:
    """Whether `path` is that of a group, or of something that it holds."""
    return path == group or path.startswith(f"{group}/")


def _warned(task: Task, before: Task) -> Task:
    warnings = tuple(dict.fromkeys((*before.warnings, *task.warnings)))
    return task if warnings == task.warnings else replace(task, warnings=warnings)


def run_constants(run: Run) -> dict[str, str]:
    """Values of KFP's placeholders for the job, by name."""
    return {
        "pipeline_job_name": run.name,
        "pipeline_job_resource_name": run.id,  # KFP: the name is the display name, this the workflow's own
        "pipeline_job_uuid": run.id,
        "pipeline_job_create_time_utc": _utc(run.created),
        "pipeline_job_schedule_time_utc": _utc(run.scheduled or run.created),
        "pipeline_root": str(run.folder / "steps"),
        "workspace_path": str(run.folder / "workspace"),
    }


def _utc(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")
