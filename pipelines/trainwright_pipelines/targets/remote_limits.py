"""Find steps that a remote target would report as successful although they are not: serving, or a cluster, in one pod.

A step there is a pod: the server that deploy-serving starts ends with it, and members of a cluster share it.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from trainwright_components.cluster.spec import ClusterSpec
from trainwright_components.errors import InvalidPipeline, InvalidSetting
from trainwright_components.settings import is_enabled
from trainwright_pipelines.engine.isolation.python_source import PythonSource, python_source, serves_here
from trainwright_pipelines.ir.expressions import is_true
from trainwright_pipelines.ir.spec import Component, Pipeline, TaskSpec
from trainwright_pipelines.ir.values import coerce
from trainwright_pipelines.requests.parameters import declared_parameters
from trainwright_pipelines.targets.known_values import (
    Known,
    Scope,
    each_inputs,
    known_inputs,
    known_parameters,
    output_name,
)


@dataclass(frozen=True, kw_only=True)
class _Step:
    """A Python step that nothing known keeps from running.

    Args:
        unknown: The inputs that it is given and that only the run can tell.
        switches: The parameters that its conditions ask.
    """

    name: str
    source: str
    inputs: Scope
    unknown: frozenset[str]
    switches: tuple[Known, ...]


def refuse_remote_limits(pipeline: Pipeline, values: Mapping[str, Any]) -> None:
    """Raise `InvalidSetting` for a run with `values` whose success on a remote target would be false."""
    if found := find_remote_limits(pipeline, values):
        raise InvalidSetting("\n".join(found))


def find_remote_limits(pipeline: Pipeline, values: Mapping[str, Any]) -> list[str]:
    """One message for each step that cannot do on a remote target what it is asked for, with what to set instead.

    Args:
        pipeline: The pipeline.
        values: The run's parameters; what is absent is left at its default.
    """
    scope = known_parameters(pipeline, values)
    is_complete = all(each.is_optional or name in scope for name, each in declared_parameters(pipeline).items())
    messages = [
        _serves_in_a_pod(step) or _trains_in_a_pod(step) or (is_complete and _may_train_in_a_pod(step)) or ""
        for step in _steps(pipeline, pipeline.root, scope, ())
    ]
    return list(dict.fromkeys(filter(None, messages)))


def _serves_in_a_pod(step: _Step) -> str:
    if not serves_here(step.source):
        return ""
    names = [each.turned_off_by or f"{each.parameter}={_opposite(each.value)}" for each in step.switches]
    remedy = (
        f"set {' or '.join(names)}"
        if names
        else "leave the step out for this target, or put it under dsl.If on a pipeline parameter and switch that off"
    )
    return (
        f"{step.name} would serve the model from inside its own pod, where nobody reaches it and which ends with the "
        f"step: {remedy}, and serve what export-savedmodel gives with a server of your own"
    )


def _trains_in_a_pod(step: _Step) -> str:
    cluster = step.inputs.get("cluster")
    if "trainwright_components.train_distributed" not in step.source or cluster is None or not cluster.value:
        return ""
    try:
        members = ClusterSpec.from_mapping(coerce(cluster.value, "STRUCT", name="cluster")).members
    except InvalidSetting as error:
        return f"{step.name}: {error}"
    if len(members) < 2:
        return ""
    remedy = f"take it out of {cluster.within}" if cluster.within else f"set {cluster.parameter or 'cluster'}={{}}"
    return (
        f"{step.name} would start the {len(members)} members of its cluster {json.dumps(cluster.value)} as processes "
        f"of one pod; there are no remote members yet: {remedy}, and "
        "training.strategy=mirrored for several GPUs of one machine"
    )


def _may_train_in_a_pod(step: _Step) -> str:
    if "trainwright_components.train_distributed" not in step.source or "cluster" not in step.unknown:
        return ""
    return (
        f"{step.name} gets a cluster that is known only while the pipeline runs, and would start its members as "
        "processes of one pod; there are no remote members yet: give the step cluster={} or a pipeline parameter of "
        "its own, and training.strategy=mirrored for several GPUs of one machine"
    )


def _opposite(value: Any) -> str:
    return json.dumps(not value) if isinstance(value, bool) else f"(another value than {value!r})"


def _steps(pipeline: Pipeline, around: Component, scope: Scope, switches: tuple[Known, ...]) -> Iterator[_Step]:
    """The Python steps below a component that no condition on known values switches off."""
    scope = {**scope, **_verdicts(pipeline, around, scope)}
    for task in _tasks(around):
        component = pipeline.component_of(task)
        source = _python_source(pipeline, component)
        for inputs in each_inputs(task, component, scope):
            if task.condition and _is_false(task.condition, inputs):
                continue
            own = tuple(each for key, each in inputs.items() if each.parameter and f"['{key}']" in task.condition)
            if source is not None:
                yield _Step(
                    name=task.name,
                    source=source.source,
                    inputs=inputs,
                    unknown=frozenset(task.parameters) - inputs.keys(),
                    switches=(*switches, *own),
                )
            yield from _steps(pipeline, component, inputs, (*switches, *own))


def _verdicts(pipeline: Pipeline, around: Component, scope: Scope) -> dict[str, Known]:
    """What is known of the output `deploy` of evaluate: it is false where the step's group `serving` says so."""
    found = {}
    for task in _tasks(around):
        component = pipeline.component_of(task)
        source = _python_source(pipeline, component)
        serving = known_inputs(task, component, scope).get("serving")
        if source is None or "trainwright_components.evaluate" not in source.source or serving is None:
            continue
        switch = f"{serving.parameter}.enabled" if serving.parameter else ""
        off = f"{switch}=false" if switch else ""
        value = None if _serves(serving.value) else False
        found[output_name(task.name, "deploy")] = Known(value=value, parameter=switch, turned_off_by=off)
    return found


def _tasks(around: Component) -> Iterable[TaskSpec]:
    return around.dag.tasks.values() if around.dag is not None else ()


def _python_source(pipeline: Pipeline, component: Component) -> PythonSource | None:
    executor = pipeline.executor_of(component)
    return python_source(executor.container or {}) if executor is not None else None


def _serves(serving: Any) -> bool:
    try:
        return is_enabled(coerce(serving, "STRUCT", name="serving") or {}, where="serving")
    except InvalidSetting:
        return True  # evaluate refuses it


def _is_false(condition: str, inputs: Scope) -> bool:
    values = {key: each.value for key, each in inputs.items() if each.value is not None}
    try:
        return not is_true(condition, {"inputs": {"parameter_values": values}})
    except InvalidPipeline:
        return False  # it asks for what only the run can tell
