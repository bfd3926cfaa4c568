"""How values flow through a DAG: inputs of a task, items of a loop, outputs of a group. Pure functions."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from trainwright_components.errors import InvalidPipeline
from trainwright_pipelines.engine.records import Artifact, State, Values
from trainwright_pipelines.ir.expressions import evaluate, is_true
from trainwright_pipelines.ir.parsing import parse_source
from trainwright_pipelines.ir.placeholders import Placeholders
from trainwright_pipelines.ir.spec import (
    Component,
    Dag,
    ItemIterator,
    ParameterSlot,
    Source,
    TaskSpec,
    split_loop_item,
)
from trainwright_pipelines.ir.values import check_literal, coerce, to_text

_CHANNEL = "pipelinechannel--"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a task ended, and what it gave."""

    state: State
    outputs: Values = field(default_factory=Values)
    error: str = ""
    failed: tuple[str, ...] = ()
    """Of a group: the paths inside it of the steps that failed."""
    cause: str = ""
    """Of a group: the error of the first of them."""


def why_not(task: TaskSpec, upstream: Mapping[str, Outcome]) -> str:
    """Why a task does not start, although all tasks before it have ended; empty when it does."""
    if task.runs_after_failures:
        return ""
    for state, verb in ((State.FAILED, "failed"), (State.CANCELED, "was canceled"), (State.SKIPPED, "was skipped")):
        names = [name for name, outcome in upstream.items() if outcome.state == state]
        if names:
            return f"not run because {', '.join(names)} {verb}"
    return ""


def resolve_inputs(
    task: TaskSpec,
    component: Component,
    *,
    scope: Values,
    upstream: Mapping[str, Outcome],
    constants: Mapping[str, str],
    job: str,
) -> Values:
    """The inputs of a task: values of the DAG around it, outputs of siblings, constants, defaults.

    Raises:
        InvalidPipeline: A selector fails, or something that a step needs is missing.
        InvalidSetting: A value is not of the type that the step takes.
    """
    candidates = {name: _artifacts(source, scope, upstream) for name, source in task.artifacts.items()}
    artifacts = {name: found for name, found in candidates.items() if found is not None}
    parameters = {name: _parameter(source, scope, upstream, job) for name, source in task.parameters.items()}
    executor_input = {"inputs": {"parameterValues": parameters, "artifacts": runtime_artifacts(artifacts)}}
    filler = Placeholders(
        executor_input | {"outputs": {"parameters": {}, "artifacts": {}, "outputFile": ""}}, constants
    )
    for name, source in task.parameters.items():
        if source.constant is not None:
            parameters[name] = filler.anywhere(source.constant)
    values = Values(
        parameters={name: value for name, value in parameters.items() if value is not None}, artifacts=artifacts
    )
    return fill_defaults(values, component, task.name)


def fill_defaults(values: Values, component: Component, task: str) -> Values:
    """Values of the right types with defaults where there are none.

    What a step does not declare stays, as with KFP: its image and its resources may be parameters of the pipeline.

    Raises:
        InvalidPipeline: A step's input has neither a value nor a default.
        InvalidSetting: A value is of another type, or none of those that the input allows.
    """
    parameters = dict(values.parameters)
    for name, slot in component.input_parameters.items():
        value = values.parameters.get(name, slot.default)
        if value is None:
            if component.dag is None and _is_needed(slot):
                raise InvalidPipeline(f"{task} needs a value for {name!r}, and nothing before it gave one")
            continue
        parameters[name] = value if component.dag else coerce(value, slot.type, name=name)
        check_literal(parameters[name], slot.literals, name=name)
    for name, each in component.input_artifacts.items():
        if component.dag is None and not each.is_optional and not each.is_list and not values.artifacts.get(name):
            raise InvalidPipeline(f"{task} needs the artifact {name!r}, and nothing before it gave one")
    return Values(parameters=parameters, artifacts=values.artifacts)


def _is_needed(slot: ParameterSlot) -> bool:
    """Whether a step cannot do without: kfp's executor fails without a final status, optional as it is in the spec."""
    return slot.type == "TASK_FINAL_STATUS" or not (slot.is_optional or slot.type == "TASK_CONFIG")


def runtime_artifacts(artifacts: Mapping[str, Sequence[Artifact]]) -> dict[str, Any]:
    """Artifacts as KFP's JSON has them."""
    return {
        name: {"artifacts": [{"name": each.name, "uri": each.uri, "metadata": dict(each.metadata)} for each in found]}
        for name, found in artifacts.items()
    }


def _parameter(source: Source, scope: Values, upstream: Mapping[str, Outcome], job: str) -> Any:
    if source.status_of is not None:
        return final_status(source.status_of, upstream[source.status_of], job)
    if source.task is not None:
        value = upstream[source.task].outputs.parameters.get(source.key)
    elif source.input is not None:
        value = _from_scope(source.input, scope)
    else:
        value = source.constant
    return value if value is None or not source.selector else select_part(source.selector, value)


def _from_scope(name: str, scope: Values) -> Any:
    """An input of the DAG around a task; `x-subvar-y` is y of the loop's item x even where the compiler forgot it."""
    base, key = split_loop_item(name)
    if name in scope.parameters or scope.parameters.get(base) is None:
        return scope.parameters.get(name)
    return select_part(f"parseJson(string_value)[{json.dumps(key)}]", scope.parameters[base])


def platform_value(raw: Mapping[str, Any], scope: Values, upstream: Mapping[str, Outcome]) -> Any:
    """The value that an input of the platform document stands for."""
    source = parse_source(raw)
    if source.task is not None:
        return upstream[source.task].outputs.parameters.get(source.key) if source.task in upstream else None
    if source.input is None:
        return source.constant
    short = source.input.removeprefix(_CHANNEL)  # the compiler writes it or leaves it out, whatever the group calls it
    found = (_from_scope(name, scope) for name in (source.input, short, f"{_CHANNEL}{short}"))
    return next((value for value in found if value is not None), None)


def select_part(selector: str, value: Any) -> Any:
    """Apply a parameter selector, such as `parseJson(string_value)["a"]`."""
    views = {"string_value": to_text(value), "struct_value": value, "list_value": value}
    return evaluate(selector, views | {"number_value": value, "bool_value": value})


def final_status(task: str, outcome: Outcome, job: str) -> dict[str, Any]:
    """KFP's PipelineTaskFinalStatus."""
    status: dict[str, Any] = {
        "state": outcome.state.value,
        "pipelineTaskName": task,
        "pipelineJobResourceName": job,
    }
    return status | ({"error": {"code": 2, "message": outcome.error}} if outcome.error else {"error": {}})


def _artifacts(source: Source, scope: Values, upstream: Mapping[str, Outcome]) -> tuple[Artifact, ...] | None:
    if source.task is not None:
        return upstream[source.task].outputs.artifacts.get(source.key)
    return scope.artifacts.get(source.input or "")


def holds(condition: str, component: Component, inputs: Values) -> bool:
    """Whether a task's condition is true; a parameter that has no value is null."""
    parameters = dict.fromkeys(component.input_parameters) | dict(inputs.parameters)
    artifacts = {
        name: [
            {"name": each.name, "uri": each.uri, "metadata": each.metadata, "properties": each.metadata}
            for each in found
        ]
        for name, found in inputs.artifacts.items()
    }
    variables = {"parameters": parameters, "parameter_values": parameters, "artifacts": artifacts}
    return is_true(condition, {"inputs": variables})


def loop_items(iterator: ItemIterator, inputs: Values, *, constants: Mapping[str, str]) -> list[Values]:
    """The inputs of each iteration.

    Raises:
        InvalidPipeline: What is to be looped over is not a list.
    """
    if iterator.is_artifact:
        found = inputs.artifacts.get(iterator.input or "", ())
        return [
            Values(parameters=inputs.parameters, artifacts={**inputs.artifacts, iterator.item_input: (item,)})
            for item in found
        ]
    return [
        Values(parameters={**inputs.parameters, iterator.item_input: item}, artifacts=inputs.artifacts)
        for item in _items(iterator, inputs, constants)
    ]


def _items(iterator: ItemIterator, inputs: Values, constants: Mapping[str, str]) -> list[Any]:
    if iterator.raw is not None:
        executor_input = {
            "inputs": {"parameterValues": inputs.parameters, "artifacts": runtime_artifacts(inputs.artifacts)},
            "outputs": {"parameters": {}, "artifacts": {}, "outputFile": ""},
        }
        found: list[Any] = Placeholders(executor_input, constants).anywhere(iterator.raw)
        return found
    value = inputs.parameters.get(iterator.input or "")
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError as error:
            raise InvalidPipeline(f"cannot loop over {iterator.input!r}: {value[:200]!r} is not a JSON list") from error
    if not isinstance(value, list):
        raise InvalidPipeline(f"cannot loop over {iterator.input!r}: {to_text(value)[:200]!r} is not a list")
    return value


def collect(component: Component, outcomes: Sequence[Outcome]) -> Values:
    """The outputs of a loop: per output the list of what its iterations gave; a nested loop's lists stay nested."""
    given = [outcome.outputs for outcome in outcomes if outcome.state == State.SUCCEEDED]
    return Values(
        parameters={
            name: [values.parameters[name] for values in given if name in values.parameters]
            for name in component.output_parameters
        },
        artifacts={
            name: tuple(artifact for values in given for artifact in values.artifacts.get(name, ()))
            for name in component.output_artifacts
        },
    )


def dag_outputs(dag: Dag, outcomes: Mapping[str, Outcome]) -> Values:
    """The outputs of a group from those of its tasks; of several candidates, the one that ran.

    Raises:
        InvalidPipeline: More than one candidate of a parameter ran.
    """
    parameters = {}
    for name, selectors in dag.parameters.items():
        found = [
            outcomes[each.task].outputs.parameters[each.key]
            for each in selectors
            if each.key in outcomes[each.task].outputs.parameters
        ]
        if len(found) > 1:
            raise InvalidPipeline(f"{name} takes one of several results, but {len(found)} tasks gave one")
        if found:
            parameters[name] = found[0]
    artifacts = {}
    for name, selectors in dag.artifacts.items():
        given = [outcomes[each.task].outputs.artifacts.get(each.key) for each in selectors]
        if any(each is not None for each in given):
            artifacts[name] = tuple(artifact for each in given if each is not None for artifact in each)
    return Values(parameters=parameters, artifacts=artifacts)
