"""What of an earlier execution of the same run still holds."""

import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from trainwright_pipelines.engine.cache import is_unchanged
from trainwright_pipelines.engine.records import Artifact, State, Task, TaskKind, Values
from trainwright_pipelines.ir.spec import Dag, Pipeline

CONDITION_IS_FALSE = "its condition is false"
"""Begins why a task was skipped that is skipped again, unless the steps before it give something else."""


def again(task: Task) -> Task:
    """A task that is to be done anew; its attempts stay on record."""
    return replace(
        task,
        state=State.PENDING,
        is_cached=False,
        cache={},
        cached_from=None,
        item_count=None,
        outputs=Values(),
        error="",
        error_detail="",
        started=None,
        finished=None,
    )


def is_done(task: Task, inputs: Values) -> bool:
    """Whether a task succeeded with these very inputs, or its results were taken over as they are, and are still there.

    What an importer refers to is not the run's own: if it has changed since, it is imported again.
    """
    is_same = bool(task.cache.get("is_taken_over")) or _signature(task.inputs) == _signature(inputs)
    if task.state != State.SUCCEEDED or not is_same or not is_intact(task.outputs):
        return False
    return task.kind != TaskKind.IMPORTER or all(is_unchanged(artifact) for artifact in _artifacts(task.outputs))


def unfinished(tasks: Mapping[str, Task]) -> Callable[[str], bool]:
    """Whether the step at a path, without the numbers of iterations, is still to run after these tasks."""
    below: dict[str, list[str]] = {}
    for path, task in tasks.items():
        below.setdefault(task.parent_path, []).append(path)

    def is_left(path: str, parts: Sequence[str]) -> bool:
        task = tasks.get(path)
        if task is None:
            return True
        if task.state == State.SUCCEEDED or (task.state == State.SKIPPED and CONDITION_IS_FALSE in task.error):
            return False
        if task.kind == TaskKind.LOOP:
            iterations = below.get(path, [])
            return not iterations or any(is_left(each, parts) for each in iterations)
        return not parts or is_left(f"{path}/{parts[0]}", parts[1:])

    def is_left_at(path: str) -> bool:
        first, *parts = path.split("/")
        return is_left(first, parts)

    return is_left_at


def stale_paths(tasks: Iterable[Task]) -> set[str]:
    """Steps whose results a later step found to hold no longer, and that have not run since."""
    known = {task.path: task for task in tasks}
    named = [each for task in known.values() for attempt in task.attempts for each in attempt.stale.items()]
    return {path for path, attempts in named if path in known and len(known[path].attempts) == attempts}


def givers_of(pipeline: Pipeline, path: str, name: str) -> list[str]:
    """Paths of the steps that may have given the input `name` of the step at `path`; none for a value of the run."""
    component, place, is_loop = pipeline.root, "", False
    around: list[tuple[str, Dag, str]] = []
    for part in path.split("/"):
        if is_loop:  # the number of an iteration
            is_loop = False
        elif component.dag is not None:
            around.append((place, component.dag, part))
            spec = component.dag.tasks[part]
            component, is_loop = pipeline.component_of(spec), spec.iterator is not None
        place = f"{place}/{part}" if place else part
    for place, dag, task in reversed(around):
        spec = dag.tasks[task]
        source = spec.parameters.get(name) or spec.artifacts.get(name)
        if source is not None and source.task is not None:
            return _leaves(pipeline, place, dag, source.task, source.key)
        if source is None or source.input is None:
            break
        name = source.input
    return []


def _leaves(pipeline: Pipeline, place: str, dag: Dag, task: str, key: str) -> list[str]:
    """The step at `task` of `dag`, or those inside it that its output `key` may come from."""
    path, inner = f"{place}/{task}" if place else task, pipeline.component_of(dag.tasks[task]).dag
    if inner is None:
        return [path]
    selectors = inner.parameters.get(key) or inner.artifacts.get(key) or ()
    return [leaf for each in selectors for leaf in _leaves(pipeline, path, inner, each.task, each.key)]


def is_intact(values: Values) -> bool:
    """Whether every artifact that had a file still has one."""
    return all(
        artifact.digest is None or artifact.path is None or artifact.path.exists() for artifact in _artifacts(values)
    )


def _artifacts(values: Values) -> Iterator[Artifact]:
    return itertools.chain.from_iterable(values.artifacts.values())


def _signature(values: Values) -> str:
    """As text, in which NaN is equal to itself, and 1 is neither 1.0 nor true."""
    artifacts = {slot: [_content(artifact) for artifact in found] for slot, found in values.artifacts.items()}
    return json.dumps([dict(values.parameters), artifacts], sort_keys=True)


def _content(artifact: Artifact) -> Any:
    return artifact.uri, artifact.digest, dict(artifact.metadata)
