"""The durable record of runs, in SQLite or any other database that SQLAlchemy speaks."""

import itertools
import shutil
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

from sqlalchemy import ColumnElement, RowMapping, Select, delete, func, insert, or_, select, update
from sqlalchemy.engine import Connection

from trainwright_components.errors import RunNotFound
from trainwright_components.files import STORE_NAME
from trainwright_components.home import is_read_only
from trainwright_pipelines.engine.migrations import migrate
from trainwright_pipelines.engine.records import Artifact, Event, Run, State, Task
from trainwright_pipelines.engine.rows import (
    artifact_of_row,
    returned_artifacts,
    row_of_run,
    run_of_row,
    task_of_row,
)
from trainwright_pipelines.engine.tables import (
    ARTIFACTS,
    CACHE,
    EVENTS,
    LEASES,
    RUNS,
    TASK_ARTIFACTS,
    TASKS,
    open_database,
)
from trainwright_pipelines.engine.task_writes import add_tasks, write_tasks
from trainwright_pipelines.engine.unwritable import Unwritable, why_unwritable

_LATEST = "latest"
_MOST_CANDIDATES = 5
_MOST_AT_ONCE = 500  # databases limit the values of one query
_ADD_EVENT = insert(EVENTS)  # made once, as those of `task_writes`
_NO_PARTS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, kw_only=True)
class Remembered:
    """A finished step whose results may stand for another's, with the digests that tell it from others."""

    task_id: str
    path: str
    pipeline: str
    parts: Mapping[str, str]


class Store:
    """Runs, tasks, artifacts and events. Safe to use from threads, and from several processes at once.

    Args:
        home: The state folder (TRAINWRIGHT_HOME); runs lie in `home/runs`.
        url: A database instead of `home/store.db`.

    Raises:
        InvalidSetting: A newer release of trainwright wrote the store, a process of an older one is using it, or it
            has other tables than its version.
        Unwritable: The disk or the database cannot be used, or is damaged.
    """

    def __init__(self, home: Path, *, url: str | None = None) -> None:
        self.home = home.absolute()
        self.home.mkdir(parents=True, exist_ok=True)
        self.engine = open_database(url or f"sqlite:///{self.home / STORE_NAME}")
        try:
            migrate(self.engine, self.home)
        except BaseException as error:
            self.engine.dispose()
            if reason := why_unwritable(error, self.home):
                raise Unwritable(reason) from error
            raise
        self._writer = self.engine.execution_options(writes=True)

    @staticmethod
    @contextmanager
    def to_read(home: Path) -> "Iterator[Store]":
        """The store of a home, for a look: a copy where nothing can be written beside it, as on a full disk.

        Raises:
            InvalidSetting: As when a store is opened.
            Unwritable: Not even a copy can be read.
        """
        with ExitStack() as stack:
            try:
                store = stack.enter_context(Store.of_copy(home) if is_read_only(home) else Store(home))
            except Unwritable as error:
                try:
                    store = stack.enter_context(Store.of_copy(home))
                except Unwritable:
                    raise error from None
            yield store

    @staticmethod
    @contextmanager
    def of_copy(home: Path) -> "Iterator[Store]":
        """The store of a home that cannot be written, until the block ends: a copy, since SQLite writes to read.

        Raises:
            InvalidSetting: As when a store is opened.
            Unwritable: The record cannot be copied, or is damaged.
        """
        with tempfile.TemporaryDirectory(prefix="trainwright-record-") as folder:
            try:
                for name in (STORE_NAME, f"{STORE_NAME}-wal"):  # what is not in the database yet
                    if (home / name).exists():
                        shutil.copyfile(home / name, Path(folder, name))
            except OSError as error:
                raise Unwritable(f"the record of runs in {home} cannot be read: {error.strerror}") from error
            with Store(home, url=f"sqlite:///{folder}/{STORE_NAME}") as store:
                yield store

    def close(self) -> None:
        """Give the connections back."""
        self.engine.dispose()

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # runs

    def add_run(self, run: Run, spec_text: str, tasks: Sequence[Task] = ()) -> None:
        """Record a new run with the tasks that it begins with; all or nothing."""
        with self._writer.begin() as connection:
            row = row_of_run(run) | {"spec_text": spec_text, "cancel_requested": False}
            connection.execute(insert(RUNS).values(row))
            add_tasks(connection, tasks)

    def save_run(self, run: Run) -> None:
        """Record a run's present state; a request to cancel stays as it is."""
        with self._writer.begin() as connection:
            connection.execute(update(RUNS).where(RUNS.c.id == run.id).values(row_of_run(run)))

    def run(self, run_id: str, *, may_be_pipeline: bool = True) -> Run:
        """The run that a person means: by its id, `latest`, its name, the beginning of its id, or its pipeline.

        The first of these that fits; of several with one name, or of one pipeline, the newest. Hyphens and underscores
        are the same in the name of a pipeline, which `may_be_pipeline` allows.

        Raises:
            RunNotFound: None, or the ids of several begin so.
        """
        query = _select_runs().order_by(RUNS.c.created.desc())
        with self.engine.connect() as connection:
            exact = connection.execute(query.where(RUNS.c.id == run_id)).mappings().first()
            if exact is None and run_id == _LATEST:
                exact = connection.execute(query.limit(1)).mappings().first()
            if exact is None:
                exact = connection.execute(query.where(RUNS.c.name == run_id).limit(1)).mappings().first()
            if exact is not None:
                return _runs(connection, [exact])[0]
            beginning = query.where(RUNS.c.id.startswith(run_id, autoescape=True)).limit(_MOST_CANDIDATES + 1)
            found = connection.execute(beginning).mappings().all() if run_id else []
            if len(found) != 1 and may_be_pipeline:
                names = {run_id, run_id.replace("_", "-")}
                newest = connection.execute(query.where(RUNS.c.pipeline.in_(names)).limit(1)).mappings().all()
                found = newest or found
            matches = _runs(connection, found)
        if not matches:
            raise RunNotFound(f"there is no run {run_id!r}; `trainwright runs list` lists all runs")
        if len(matches) > 1:
            ids = [run.id for run in matches[:_MOST_CANDIDATES]]
            more = " and more" if len(matches) > _MOST_CANDIDATES else ""
            raise RunNotFound(f"{run_id!r} is the beginning of several run ids: {', '.join(ids)}{more}")
        return matches[0]

    def runs(
        self, *, limit: int = 100, offset: int = 0, pipeline: str | None = None, states: Collection[State] | None = None
    ) -> list[Run]:
        """Newest first; only those recorded in one of `states`, where these are given."""
        query = _select_runs().order_by(RUNS.c.created.desc(), RUNS.c.id).limit(limit).offset(offset)
        if pipeline is not None:
            query = query.where(RUNS.c.pipeline == pipeline)
        if states is not None:
            query = query.where(RUNS.c.state.in_(sorted(state.value for state in states)))
        with self.engine.connect() as connection:
            return _runs(connection, connection.execute(query).mappings().all())

    def spec_text(self, run_id: str) -> str:
        """The compiled YAML that the run executes."""
        with self.engine.connect() as connection:
            text = connection.execute(select(RUNS.c.spec_text).where(RUNS.c.id == run_id)).scalar()
        if text is None:
            raise RunNotFound(f"there is no run {run_id!r}")
        return str(text)

    def request_cancel(self, run_id: str, *, requested: bool = True) -> None:
        """Ask whichever process executes the run to stop it; or withdraw that."""
        with self._writer.begin() as connection:
            connection.execute(update(RUNS).where(RUNS.c.id == run_id).values(cancel_requested=requested))

    def is_cancel_requested(self, run_id: str) -> bool:
        """Whether someone asked to stop the run."""
        with self.engine.connect() as connection:
            return bool(connection.execute(select(RUNS.c.cancel_requested).where(RUNS.c.id == run_id)).scalar())

    def delete_run(self, run_id: str) -> list[str]:
        """Forget a run, its tasks and events; give the locations of artifacts that other runs use, which stay."""
        with self._writer.begin() as connection:
            tasks = select(TASKS.c.id).where(TASKS.c.run_id == run_id)
            connection.execute(delete(CACHE).where(CACHE.c.task_id.in_(tasks)))
            produced = select(ARTIFACTS.c.id).where(ARTIFACTS.c.producer_task_id.in_(tasks))
            mine = [row[0] for row in connection.execute(produced)]
            connection.execute(delete(TASK_ARTIFACTS).where(TASK_ARTIFACTS.c.task_id.in_(tasks)))
            connection.execute(delete(LEASES).where(LEASES.c.name == run_id))
            for table in (EVENTS, TASKS):
                connection.execute(delete(table).where(table.c.run_id == run_id))
            connection.execute(delete(RUNS).where(RUNS.c.id == run_id))
            used = select(TASK_ARTIFACTS.c.artifact_id)
            connection.execute(delete(ARTIFACTS).where(ARTIFACTS.c.id.in_(mine), ARTIFACTS.c.id.not_in(used)))
            kept = connection.execute(select(ARTIFACTS.c.uri).where(ARTIFACTS.c.id.in_(mine)))
            return [row[0] for row in kept]

    def run_ids(self) -> set[str]:
        """The ids of all runs."""
        with self.engine.connect() as connection:
            return set(connection.execute(select(RUNS.c.id)).scalars())

    def used_locations(self) -> list[str]:
        """Where the artifacts lie that a task on record takes or gives."""
        used = select(ARTIFACTS.c.uri).where(ARTIFACTS.c.id.in_(select(TASK_ARTIFACTS.c.artifact_id)))
        with self.engine.connect() as connection:
            return list(connection.execute(used).scalars())

    # tasks

    def save_task(self, task: Task) -> None:
        """Record a task and the artifacts it takes and gives."""
        self.save_tasks([task])

    def save_tasks(
        self,
        tasks: Sequence[Task],
        *,
        added: Sequence[Task] = (),
        recorded: Mapping[str, Task] = MappingProxyType({}),
        events: Sequence[Event] = (),
    ) -> None:
        """Record tasks with the artifacts that they take and give, and events; all or nothing.

        Args:
            tasks: Those that may be on record.
            added: Those that surely are not.
            recorded: What is on record, by id, where the caller knows: only what differs is written.
            events: What to append to the history.
        """
        with self._writer.begin() as connection:
            write_tasks(connection, tasks, added=added, recorded=recorded)
            if events:
                connection.execute(_ADD_EVENT, [_row_of_event(event) for event in events])

    def tasks(self, run_id: str, *, inside: str = "") -> list[Task]:
        """All tasks of a run, or a group of it with all that it holds, in the order of their creation.

        Groups come before what they hold.
        """
        query = select(TASKS).where(TASKS.c.run_id == run_id)
        return self._tasks(query.where(_is_inside(inside)) if inside else query)

    def remove_tasks(self, tasks: Sequence[Task], *, heir: Task) -> list[str]:
        """Forget tasks; give the locations of artifacts of theirs that others use, which are the heir's from now on."""
        made_by = [ARTIFACTS.c.producer_task_id == task.id for task in tasks]
        kept: list[str] = []
        with self._writer.begin() as connection:
            for task in tasks:
                connection.execute(delete(CACHE).where(CACHE.c.task_id == task.id))
                connection.execute(delete(TASK_ARTIFACTS).where(TASK_ARTIFACTS.c.task_id == task.id))
                connection.execute(delete(TASKS).where(TASKS.c.id == task.id))
            used = select(TASK_ARTIFACTS.c.artifact_id)
            for mine in made_by:
                connection.execute(delete(ARTIFACTS).where(mine, ARTIFACTS.c.id.not_in(used)))
                kept += connection.execute(select(ARTIFACTS.c.uri).where(mine)).scalars()
                connection.execute(update(ARTIFACTS).where(mine).values(producer_task_id=heir.id))
        return kept

    def task_by_id(self, task_id: str) -> Task | None:
        """The task with this id, None if it was deleted."""
        return next(iter(self._tasks(select(TASKS).where(TASKS.c.id == task_id))), None)

    def task(self, run_id: str, step: str) -> Task:
        """The task with this path, or the only one with this name or label.

        Raises:
            RunNotFound: None, or more than one; the message lists what there is.
        """
        tasks = self.tasks(run_id)
        wanted = step.replace("_", "-")
        for matches in (
            [task for task in tasks if task.path == step],
            [task for task in tasks if wanted in {task.path.replace("_", "-"), task.name.replace("_", "-")}],
            [task for task in tasks if step == task.label],
            [task for task in tasks if step == task.display_name],
        ):
            if len(matches) == 1:
                return matches[0]
            if matches:
                raise RunNotFound(f"{step!r} is several steps: {', '.join(task.path for task in matches)}")
        steps = ", ".join(task.label for task in tasks if not task.is_group)
        raise RunNotFound(f"run {run_id} has no step {step!r}; it has {steps or 'none yet'}")

    def _tasks(self, query: Select[Any]) -> list[Task]:
        with self.engine.connect() as connection:
            rows = connection.execute(query.order_by(TASKS.c.sequence)).mappings().all()
            links = _links(connection, query)
        return [task_of_row(row, links.get(row["id"], {})) for row in rows]

    # artifacts

    def artifact(self, artifact_id: str) -> Artifact:
        """One artifact."""
        with self.engine.connect() as connection:
            row = connection.execute(select(ARTIFACTS).where(ARTIFACTS.c.id == artifact_id)).mappings().first()
        if row is None:
            raise RunNotFound(f"there is no artifact {artifact_id!r}")
        return artifact_of_row(row)

    # events

    def add_events(self, events: Iterable[Event]) -> None:
        """Append to the run's history."""
        with self._writer.begin() as connection:
            connection.execute(_ADD_EVENT, [_row_of_event(event) for event in events])

    def events(self, run_id: str, *, since: datetime | None = None) -> list[Event]:
        """History of a run, oldest first."""
        query = select(EVENTS).where(EVENTS.c.run_id == run_id).order_by(EVENTS.c.sequence)
        if since is not None:
            query = query.where(EVENTS.c.time > since)
        with self.engine.connect() as connection:
            return [
                Event(
                    run_id=row["run_id"],
                    time=row["time"],
                    state=State(row["state"]),
                    task_path=row["task_path"],
                    message=row["message"],
                    is_warning=row["is_warning"],
                )
                for row in connection.execute(query).mappings()
            ]

    # cache

    def cached_task(self, key: str) -> Task | None:
        """The finished task that was remembered under `key`."""
        with self.engine.connect() as connection:
            task_id = connection.execute(select(CACHE.c.task_id).where(CACHE.c.key == key)).scalar()
        return None if task_id is None else self.task_by_id(task_id)

    def forget(self, task: Task) -> None:
        """Let the results of a task, or of the one that it has them from, stand for nothing any more."""
        with self._writer.begin() as connection:
            connection.execute(delete(CACHE).where(CACHE.c.task_id.in_([task.id, task.cached_from])))

    def remember(self, key: str, task_id: str, *, component: str = "", parts: Mapping[str, str] = _NO_PARTS) -> None:
        """Let `key` stand for the results of a finished task; `component` and `parts` tell it from others later."""
        row = {"key": key, "task_id": task_id, "component": component, "parts": dict(parts)}
        with self._writer.begin() as connection:
            connection.execute(delete(CACHE).where(CACHE.c.key == key))
            connection.execute(insert(CACHE).values(**row, created=datetime.now(UTC)))

    def remembered(self, component: str, *, before: datetime, limit: int = 100) -> list[Remembered]:
        """What stands for results of steps of a component since before a moment, newest first."""
        query = (
            select(CACHE.c.task_id, CACHE.c.parts, TASKS.c.path, RUNS.c.pipeline)
            .join(TASKS, TASKS.c.id == CACHE.c.task_id)
            .join(RUNS, RUNS.c.id == TASKS.c.run_id)
            .where(CACHE.c.component == component, CACHE.c.created < before)
            .order_by(CACHE.c.created.desc())
            .limit(limit)
        )
        with self.engine.connect() as connection:
            return [Remembered(**row) for row in connection.execute(query).mappings()]


def _is_inside(path: str) -> ColumnElement[bool]:
    """Whether a task is the group at `path`, or in it; with no pattern, since databases differ in how these match."""
    return or_(TASKS.c.path == path, func.substr(TASKS.c.path, 1, len(path) + 1) == f"{path}/")


def _select_runs() -> Select[Any]:
    return select(*(column for column in RUNS.c if column.name != "spec_text"))


def _runs(connection: Connection, rows: Sequence[RowMapping]) -> list[Run]:
    """The runs of rows of `RUNS`, with the artifacts that they returned."""
    artifacts: dict[str, Artifact] = {}
    ids = iter({artifact_id for row in rows for artifact_id in returned_artifacts(row)})
    while some := list(itertools.islice(ids, _MOST_AT_ONCE)):
        found = connection.execute(select(ARTIFACTS).where(ARTIFACTS.c.id.in_(some))).mappings()
        artifacts |= {row["id"]: artifact_of_row(row) for row in found}
    return [run_of_row(row, artifacts) for row in rows]


def _row_of_event(event: Event) -> dict[str, Any]:
    row = {name: getattr(event, name) for name in ("run_id", "time", "message", "is_warning")}
    return row | {"state": event.state.value, "task_path": event.task.path if event.task else event.task_path}


def _links(connection: Connection, query: Select[Any]) -> dict[str, dict[tuple[str, str], list[Artifact]]]:
    chosen = query.with_only_columns(TASKS.c.id).order_by(None)
    joined = (
        select(TASK_ARTIFACTS.c.task_id, TASK_ARTIFACTS.c.side, TASK_ARTIFACTS.c.slot, *ARTIFACTS.c)
        .join(ARTIFACTS, ARTIFACTS.c.id == TASK_ARTIFACTS.c.artifact_id)
        .where(TASK_ARTIFACTS.c.task_id.in_(chosen))
        .order_by(TASK_ARTIFACTS.c.position)
    )
    links: dict[str, dict[tuple[str, str], list[Artifact]]] = {}
    for row in connection.execute(joined).mappings():
        links.setdefault(row["task_id"], {}).setdefault((row["side"], row["slot"]), []).append(artifact_of_row(row))
    return links
