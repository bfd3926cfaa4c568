"""A run as one document for scripts, which `--json` prints. pipelines/README.md lists its fields, a test holds the two
together.

Every field of the records is in it: one that is added there is here by itself, under its own name or the one below.
"""

from collections.abc import Mapping, Sequence
from dataclasses import Field, fields
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar, Protocol

from trainwright_pipelines.engine.records import Artifact, Attempt, Run, Task, TaskKind, Values
from trainwright_pipelines.views.headlines import find_headlines, in_time_order
from trainwright_pipelines.views.warnings import gather_warnings
from trainwright_pipelines.views.wording import shown_state

RENAMED: dict[type, dict[str, str]] = {
    Run: {},
    Task: {"path": "step", "parent_path": "parent", "attempts": "tries", "title": "label"},
    Attempt: {},
    Artifact: {},
    Values: {},
}
"""Fields of the records that the document knows by another name."""


class _Record(Protocol):
    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]


def run_document(run: Run, tasks: Sequence[Task], *, page: Path | None, live_state: str) -> dict[str, Any]:
    """The run with all that is known of it; times are moments, which a printer makes text of."""
    ordered = in_time_order(tasks)
    loops = {task.path for task in tasks if task.kind == TaskKind.LOOP}
    shown = [_task_document(task, loops) for task in ordered]
    return {
        **_document(run),
        "live_state": live_state,
        "duration_s": run.duration_s,
        "page": str(page) if page else None,
        "headlines": find_headlines(tasks),
        "warnings": [each.text for each in gather_warnings(run, ordered)],
        "steps": [each for each, task in zip(shown, ordered, strict=True) if not task.is_group],
        "groups": [each for each, task in zip(shown, ordered, strict=True) if task.is_group],
    }


def _task_document(task: Task, loops: set[str]) -> dict[str, Any]:
    return {
        **_document(task),
        "label": task.label,
        "state": shown_state(task),
        "iterations": _iterations(task.path, loops),
        "duration_s": task.duration_s,
        "attempts": len(task.attempts),
    }


def _iterations(path: str, loops: set[str]) -> list[int]:
    parts = path.split("/")
    return [int(part) for place, part in enumerate(parts) if "/".join(parts[:place]) in loops]


def _document(record: _Record) -> dict[str, Any]:
    names = RENAMED[type(record)]
    document = {names.get(each.name, each.name): _plain(getattr(record, each.name)) for each in fields(record)}
    return document | ({"path": _plain(record.path)} if isinstance(record, Artifact) else {})


def _plain(value: Any) -> Any:
    if type(value) in RENAMED:
        return _document(value)
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, StrEnum | Path):
        return str(value)
    if value is None or isinstance(value, str | bool | int | float | datetime):
        return value
    raise TypeError(f"a record holds a {type(value).__name__}")
