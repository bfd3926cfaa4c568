"""What evaluate and deploy_serving agree on about a deployment folder, whose numeric folders are a model's versions."""

import json
from typing import Any

HISTORY_NAME = ".deployments.json"
NO_VERSION = "none"
"""What a model was compared with where no version was served."""
_MOST_SHOWN = 200


def parse_history(text: str) -> list[dict[str, Any]]:
    """The entries of a history, oldest first; each has at least a version and an event.

    Raises:
        ValueError: It is not a history.
    """
    try:
        entries = json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not isinstance(entries, list):
        raise ValueError("it is not a list of entries")
    for entry in entries:
        if (
            not isinstance(entry, dict)
            or type(entry.get("version")) is not int
            or not isinstance(entry.get("event"), str)
        ):
            raise ValueError(f"not an entry with a version and an event: {json.dumps(entry)[:_MOST_SHOWN]}")
    return entries


def last_published(history: str) -> int | None:
    """The highest version that the text of a history says was published and not withdrawn.

    Raises:
        ValueError: It is not a history.
    """
    events = {entry["version"]: entry["event"] for entry in parse_history(history)}
    return max((version for version, event in events.items() if event != "withdrawn"), default=None)
