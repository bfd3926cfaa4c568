"""Show a run while it goes: a live table in a terminal, plain lines elsewhere."""

import heapq
import re
import sys
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self, TextIO

from trainwright_pipelines.cli.output import STATE_COLOURS
from trainwright_pipelines.engine.records import Event, State, Task
from trainwright_pipelines.engine.step_logs import read_warnings
from trainwright_pipelines.views.headlines import in_time_order
from trainwright_pipelines.views.logs import last_lines
from trainwright_pipelines.views.wording import short_line, short_seconds, shown_state

if TYPE_CHECKING:
    from rich.table import Table

_REFRESHES_PER_S = 4
_MOST_ROWS = 40
_POLL_S = 0.5
_WELL = (State.SUCCEEDED, State.SKIPPED)
_TIME = re.compile(r"^\d\d:\d\d:\d\d ")  # the table shows how long a step has been running


class Progress(Protocol):
    """Listens to a run's events between `with` and the end of its block."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
    def __call__(self, event: Event) -> None:
        """Take in one change; called from the engine's threads."""
        ...


class PlainProgress:
    """One line per change of a step's state, and one per warning, those in the logs of running steps included."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._states: dict[str, str] = {}
        self._running: dict[str, Task] = {}
        self._places: dict[Path, int] = {}
        self._warned: set[str] = set()
        self._is_over = threading.Event()
        self._watcher = threading.Thread(target=self._watch_logs, daemon=True, name="logs of steps")

    def __enter__(self) -> Self:
        """Start looking for warnings."""
        self._watcher.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop looking for warnings."""
        self._is_over.set()
        self._watcher.join()

    def __call__(self, event: Event) -> None:
        """Write the change, after what was warned of before it; of a mere group of steps, only warnings."""
        task = event.task
        if event.is_warning:
            with self._lock:
                self._warn(task, event.message)
            return
        if task is None or task.is_group:
            return
        shown = shown_state(task)
        with self._lock:
            self._tell_warnings(task)
            self._running[task.path] = task
            if task.state.is_final:
                del self._running[task.path]
                self._places.pop(task.log or Path(), None)
            if self._states.get(task.path) == shown or task.state == State.PENDING:
                if event.message:
                    print(f"{task.label}: {event.message}", file=self._stream, flush=True)
                return
            self._states[task.path] = shown
            duration = short_seconds(task.duration_s) if task.state.is_final and not task.is_cached else ""
            message = short_line(task.error) if task.state == State.FAILED else ""
            line = "  ".join(part for part in (f"{task.label}: {shown.lower()}", duration, message) if part)
            print(line, file=self._stream, flush=True)

    def _watch_logs(self) -> None:
        while not self._is_over.wait(_POLL_S):
            with self._lock, suppress(OSError):  # a closed terminal, or the log of a run that is deleted
                for task in self._running.values():
                    self._tell_warnings(task)

    def _tell_warnings(self, task: Task) -> None:
        """Print what the task's log newly warns of."""
        if task.log is None:
            return
        warnings, self._places[task.log] = read_warnings(task.log, self._places.get(task.log, 0))
        for warning in warnings:
            self._warn(task, warning)

    def _warn(self, task: Task | None, message: str) -> None:
        """Print a warning, which other steps may share, once."""
        if message not in self._warned:
            self._warned.add(message)
            print(_warning(task, message), file=self._stream, flush=True)


class LiveProgress:
    """A table of steps that is drawn again in place: state, time, the last line of each running step's log."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console
        from rich.live import Live
        from rich.spinner import Spinner

        self._spinner = Spinner("dots")
        self._tasks: dict[str, Task] = {}
        self._done: dict[str, str] = {}
        """States of steps that went well before the last ones, by path."""
        self._to_come: dict[str, tuple[int, int]] = {}
        """Of loops that go on: how many iterations they have, and have begun."""
        self._warned: set[str] = set()
        self._lock = threading.Lock()
        console = Console(file=stream)
        self._live = Live(
            console=console, get_renderable=self._table, refresh_per_second=_REFRESHES_PER_S, transient=True
        )

    def __enter__(self) -> Self:
        """Start drawing."""
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the table away; what stays on the screen is printed afterwards."""
        self._live.stop()

    def __call__(self, event: Event) -> None:
        """Keep the step's newest record; the table is drawn by its own clock, warnings stay above it."""
        if event.is_warning and event.message not in self._warned:
            self._warned.add(event.message)
            line = _warning(event.task, event.message)
            self._live.console.print(line, style="yellow", markup=False, highlight=False, soft_wrap=True)
        if event.task is not None and event.message and not event.is_warning:
            self._live.console.print(f"{event.task.label}: {event.message}", markup=False, highlight=False)
        if (task := event.task) is not None:
            with self._lock:
                self._count(task)
                if not task.is_group:
                    self._keep(task)

    def _count(self, task: Task) -> None:
        if task.parent_path in self._to_come and task.name.isdecimal():
            count, begun = self._to_come[task.parent_path]
            self._to_come[task.parent_path] = count, max(begun, int(task.name) + 1)  # they begin in this order
        if task.state.is_final:
            self._to_come.pop(task.path, None)
        elif task.item_count is not None:
            self._to_come.setdefault(task.path, (task.item_count, 0))

    def _keep(self, task: Task) -> None:
        """Keep what the table may show: of steps that went well, the last ones; a loop may be long."""
        self._tasks.pop(task.path, None)
        self._done.pop(task.path, None)
        self._tasks[task.path] = task
        if len(self._tasks) > 2 * _MOST_ROWS:
            well = [path for path, each in self._tasks.items() if each.state in _WELL]
            for path in well[:-_MOST_ROWS]:
                self._done[path] = shown_state(self._tasks.pop(path))

    def _table(self) -> "Table":
        from rich.table import Table
        from rich.text import Text

        with self._lock:
            tasks = in_time_order(self._tasks.values())
            others = Counter(self._done.values())
            to_come = sum(count - begun for count, begun in self._to_come.values())
        table = Table(box=None, pad_edge=False, show_header=False, expand=True)
        table.add_column(width=2)
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True, justify="right")
        table.add_column(overflow="fold", ratio=1, style="dim")
        shown = _most_telling(tasks)
        for task in shown:
            state = shown_state(task)
            is_running = task.state == State.RUNNING
            sign = self._spinner if is_running else Text(_SIGNS.get(state, "·"))
            note = Text(_TIME.sub("", "".join(last_lines(task.log, 1))) if is_running else task.error)
            table.add_row(sign, task.label, Text(state, STATE_COLOURS.get(state, "")), _elapsed(task), note)
        if others := others + Counter(map(shown_state, tasks)) - Counter(map(shown_state, shown)):
            counted = ", ".join(f"{count} {state.lower()}" for state, count in others.items())
            table.add_row("", "...", "", "", f"{others.total()} more steps: {counted}")
        if to_come:
            table.add_row("", "...", "", "", f"{to_come} more iterations have not begun")
        return table


def _most_telling(tasks: Sequence[Task]) -> Sequence[Task]:
    """Of more steps than a screen holds, those that run or failed and those that changed last, in their order."""
    if len(tasks) <= _MOST_ROWS:
        return tasks

    def rank(task: Task) -> tuple[bool, bool, float]:
        changed = task.finished or task.started
        return task.state == State.RUNNING, task.state == State.FAILED, changed.timestamp() if changed else 0.0

    chosen = {task.path for task in heapq.nlargest(_MOST_ROWS, tasks, key=rank)}
    return [task for task in tasks if task.path in chosen]


def _warning(task: Task | None, message: str) -> str:
    return f"warning: {task.label}: {message}" if task is not None else f"warning: {message}"


def make_progress(stream: TextIO | None = None) -> Progress:
    """Live when `stream` (standard error unless told) is a terminal."""
    stream = stream or sys.stderr
    return LiveProgress(stream) if stream.isatty() else PlainProgress(stream)


def _elapsed(task: Task) -> str:
    if task.is_cached or task.started is None:
        return ""
    end = task.finished or datetime.now(UTC)
    return short_seconds(max(0.0, (end - task.started).total_seconds()))


_SIGNS = {"SUCCEEDED": "✓", "CACHED": "✓", "FAILED": "✗", "CANCELED": "✗", "SKIPPED": "-"}

Listener = Callable[[Event], None]
