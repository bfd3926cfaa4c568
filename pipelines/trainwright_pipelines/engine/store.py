"""The durable record of runs, in SQLite or any other database that SQLAlchemy speaks."""

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from trainwright_pipelines.engine.records import Artifact, Event, Run, State, Task


class Store:
    """Runs, tasks, artifacts and events. Safe to use from threads, and from several processes at once."""

    def __init__(self, home: Path, *, url: str | None = None) -> None:
        """Open the store below `home` (TRAINWRIGHT_HOME), or the database at `url`; tables are made when missing."""
        raise NotImplementedError

    def close(self) -> None:
        """Give the connections back."""
        raise NotImplementedError

    # runs
    def add_run(self, run: Run, spec_text: str) -> None:
        """Record a new run."""
        raise NotImplementedError

    def save_run(self, run: Run) -> None:
        """Record a run's present state; `cancel_requested` is left as it is."""
        raise NotImplementedError

    def run(self, run_id: str) -> Run:
        """The run with this id, or the only one whose id starts so, or the newest with this name, or `latest`.

        Raises:
            RunNotFound: None, or more than one.
        """
        raise NotImplementedError

    def runs(
        self, *, limit: int = 100, offset: int = 0, pipeline: str | None = None, state: State | None = None
    ) -> list[Run]:
        """Newest first."""
        raise NotImplementedError

    def spec_text(self, run_id: str) -> str:
        """The compiled YAML that the run executes."""
        raise NotImplementedError

    def request_cancel(self, run_id: str) -> None:
        """Ask whichever process executes the run to stop it."""
        raise NotImplementedError

    def delete_run(self, run_id: str) -> None:
        """Forget a run, its tasks and events; artifacts that other runs use stay on record."""
        raise NotImplementedError

    # tasks
    def save_task(self, task: Task) -> None:
        """Record a task and the artifacts it takes and gives."""
        raise NotImplementedError

    def tasks(self, run_id: str) -> list[Task]:
        """All tasks of a run in the order of their creation, groups before what they hold."""
        raise NotImplementedError

    def task(self, run_id: str, step: str) -> Task:
        """The task with this path, or the only one with this name or display name.

        Raises:
            RunNotFound: None, or more than one; the message lists what there is.
        """
        raise NotImplementedError

    # artifacts
    def artifact(self, artifact_id: str) -> Artifact:
        """One artifact."""
        raise NotImplementedError

    def users_of(self, artifact_id: str) -> list[Task]:
        """Tasks that took the artifact as an input."""
        raise NotImplementedError

    # events
    def add_events(self, events: Iterable[Event]) -> None:
        """Append to the run's history."""
        raise NotImplementedError

    def events(self, run_id: str, *, since: datetime | None = None) -> list[Event]:
        """History of a run, oldest first."""
        raise NotImplementedError
