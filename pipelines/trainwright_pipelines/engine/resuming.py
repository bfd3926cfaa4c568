"""What of an earlier execution of the same run still holds."""

from dataclasses import replace
from typing import Any

from trainwright_pipelines.engine.records import Artifact, State, Task, Values


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
    """Whether a task succeeded with these very inputs, and its results are still there."""
    return task.state == State.SUCCEEDED and _signature(task.inputs) == _signature(inputs) and is_intact(task.outputs)


def is_intact(values: Values) -> bool:
    """Whether every artifact that had a file still has one."""
    return all(
        artifact.digest is None or artifact.path is None or artifact.path.exists()
        for artifacts in values.artifacts.values()
        for artifact in artifacts
    )


def _signature(values: Values) -> Any:
    return dict(values.parameters), {
        slot: [_content(artifact) for artifact in artifacts] for slot, artifacts in values.artifacts.items()
    }


def _content(artifact: Artifact) -> Any:
    return artifact.uri, artifact.digest, dict(artifact.metadata)
