"""What was deployed under a base path and what became of it; kept beside the versions, hidden from servers."""

import json
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path

from trainwright_components.deployments import HISTORY_NAME
from trainwright_components.files import write_whole

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
    """The attempts under `base_path`, oldest first."""
    try:
        entries = json.loads((base_path / HISTORY_NAME).read_text())
    except (FileNotFoundError, ValueError):
        return []
    known = {item.name for item in fields(HistoryEntry)}
    return [HistoryEntry(**{name: value for name, value in entry.items() if name in known}) for entry in entries]


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
