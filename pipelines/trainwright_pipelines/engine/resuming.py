"""What of an earlier execution of the same run still holds."""

import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from trainwright_pipelines.engine.cache import is_unchanged
from trainwright_pipelines.engine.records import Artifact, State, Task, TaskKind, Values


def again(task: Task) -> Task:
    """A task that is to be done anew; its attempts stay on record."""
    return replace(
        task,
        state=State.PENDING,
        is_cached=False,
        cached_from=None,
        outputs=Values(),
        error="",
        error_detail="",
        started=None,
        finished=None,
    )


def is_done(task: Task, inputs: Values) -> bool:
    """Whether a task succeeded with these very inputs, and its results are still there.

    What an importer refers to is not the run's own: if it has changed since, it is imported again.
    """
    if task.state != State.SUCCEEDED or _signature(task.inputs) != _signature(inputs) or not is_intact(task.outputs):
        return False
    return task.kind != TaskKind.IMPORTER or all(is_unchanged(artifact) for artifact in _artifacts(task.outputs))


def is_intact(values: Values) -> bool:
    """Whether every artifact that had a file still has one."""
    return all(
        artifact.digest is None or artifact.path is None or artifact.path.exists() for artifact in _artifacts(values)
    )


def _artifacts(values: Values) -> Iterator[Artifact]:
    return itertools.chain.from_iterable(values.artifacts.values())


def _signature(values: Values) -> Any:
    return dict(values.parameters), {
        slot: [_content(artifact) for artifact in artifacts] for slot, artifacts in values.artifacts.items()
    }


def _content(artifact: Artifact) -> Any:
    return artifact.uri, artifact.digest, dict(artifact.metadata)
