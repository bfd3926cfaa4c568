"""The history of deployments under a base path; kept next to the versions, hidden from servers."""

import json
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_type_hints

from trainwright_components.errors import InvalidData
from trainwright_components.files import write_whole
from trainwright_components.saved_models.history import HISTORY_NAME, parse_history

GOLDEN_FOLDER = ".golden"


@dataclass(frozen=True, kw_only=True)
class HistoryEntry:
    """One attempt to deploy.

    Args:
        event: "published", "verified again" or "withdrawn".
        time: ISO 8601, UTC.
        reason: Why a version was withdrawn.
        golden_requests: How many were replayed.
        largest_difference: Between the answers and the golden ones.
        run: The run that deployed it; empty where none did.
    """

    version: int
    event: str
    time: str
    content_digest: str
    reason: str = ""
    golden_requests: int = 0
    largest_difference: float = 0.0
    run: str = ""


def read_history(base_path: Path) -> list[HistoryEntry]:
    """The attempts under `base_path`, oldest first.

    Raises:
        InvalidData: The file is there and is not a list of complete entries.
    """
    file = base_path / HISTORY_NAME
    try:
        return [_entry(values) for values in parse_history(file.read_text(encoding="utf-8"))]
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise InvalidData(
            f"{file}, the history of deployments, cannot be read: {error}; restore it from a copy, or move it away to "
            "begin a new one, which numbers versions above those whose folders are there"
        ) from error


def _entry(values: Mapping[str, Any]) -> HistoryEntry:
    given = {item.name: values[item.name] for item in fields(HistoryEntry) if item.name in values}
    for name, kind in get_type_hints(HistoryEntry).items():
        if name in given and type(given[name]) not in ((int, float) if kind is float else (kind,)):
            raise ValueError(f"{name} of version {values['version']} is {given[name]!r}, which is not {kind.__name__}")
    if missing := [item.name for item in fields(HistoryEntry) if item.default is MISSING and item.name not in given]:
        raise ValueError(f"an entry of version {values['version']} lacks {', '.join(missing)}")
    return HistoryEntry(**given)


def append_history(base_path: Path, entry: HistoryEntry) -> list[HistoryEntry]:
    """Add an attempt; call it with the deploy lock held."""
    history = [*read_history(base_path), entry]
    write_whole(base_path / HISTORY_NAME, json.dumps([asdict(item) for item in history], indent=2) + "\n")
    return history


def now_text() -> str:
    """The present moment as history writes it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def golden_requests_file(base_path: Path, version: int) -> Path:
    """Where the golden requests of a version are kept; a version that another program put there has none."""
    return base_path / GOLDEN_FOLDER / f"{version}.jsonl"
