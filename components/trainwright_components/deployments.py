"""What evaluate and deploy_serving agree on about a deployment folder, whose numeric folders are a model's versions."""

import json

HISTORY_NAME = ".deployments.json"
NO_VERSION = "none"
"""What a model was compared with where no version was served."""


def last_published(history: str) -> int | None:
    """The highest version that the text of a history says was published and not withdrawn.

    Raises:
        ValueError: It is not a history.
    """
    try:
        events = {int(entry["version"]): entry["event"] for entry in json.loads(history)}
    except (KeyError, TypeError) as error:
        raise ValueError(f"not a history of deployments: {error!r}") from error
    return max((version for version, event in events.items() if event != "withdrawn"), default=None)
