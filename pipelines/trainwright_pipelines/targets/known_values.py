"""What is known of a step's inputs before a run: constants, defaults, and the pipeline's own parameters."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trainwright_components.errors import InvalidPipeline, InvalidSetting
from trainwright_pipelines.engine.resolve import select_part
from trainwright_pipelines.ir.spec import Component, Pipeline, Source, TaskSpec, split_loop_item
from trainwright_pipelines.ir.values import coerce
from trainwright_pipelines.requests.parameters import declared_parameters

_PLACEHOLDER = "{{$"


@dataclass(frozen=True, kw_only=True)
class Known:
    """A value that is known before the run.

    Args:
        parameter: The pipeline parameter that it is, if any.
        within: The pipeline parameter that it is a part of, such as an item of a list, if any.
        turned_off_by: What to set to make it false, where only the run can tell whether it is true.
    """

    value: Any
    parameter: str = ""
    within: str = ""
    turned_off_by: str = ""


Scope = Mapping[str, Known]


def known_parameters(pipeline: Pipeline, values: Mapping[str, Any]) -> dict[str, Known]:
    """The pipeline's parameters, in their types: `values`, and the defaults of what is absent there.

    Raises:
        InvalidSetting: A value is not of its parameter's type.
    """
    declared = declared_parameters(pipeline)
    given = {name: each.default for name, each in declared.items() if each.is_optional} | dict(values)
    types = {name: each.type for name, each in declared.items()}
    return {
        name: Known(value=coerce(value, types.get(name, ""), name=name), parameter=name)
        for name, value in given.items()
    }


def each_inputs(task: TaskSpec, component: Component, scope: Scope) -> list[dict[str, Known]]:
    """What is known of a task's input parameters: once for each item of a loop over known items, else once."""
    inputs = known_inputs(task, component, scope)
    loop = task.iterator
    if loop is None or loop.is_artifact:
        return [inputs]
    found = Known(value=loop.raw) if loop.raw is not None else inputs.get(loop.input or "")
    if found is None:
        return [inputs]
    try:
        values = coerce(found.value, "LIST", name=loop.item_input) or []
    except InvalidSetting:
        return [inputs]  # not a list: the run fails before the first item
    distinct = {json.dumps(value): value for value in values}
    return [inputs | {loop.item_input: _part(found, value)} for value in distinct.values()]


def known_inputs(task: TaskSpec, component: Component, scope: Scope) -> dict[str, Known]:
    """Those of a task's input parameters that are known where `scope` is known of the DAG around it."""
    known = {
        key: Known(value=slot.default)
        for key, slot in component.input_parameters.items()
        if slot.has_default or slot.is_optional
    }
    for key, source in task.parameters.items():
        known.pop(key, None)
        if source.status_of:
            continue
        name = output_name(source.task, source.key) if source.task else source.input
        if name is None:
            if not source.selector and _PLACEHOLDER not in json.dumps(source.constant):
                known[key] = Known(value=source.constant)
        elif (found := _from_scope(source, name, scope)) is not None:
            known[key] = found
    return known


def output_name(task: str, key: str) -> str:
    """Under which a scope holds what is known of another task's output; no parameter has a dot in its name."""
    return f"{task}.{key}"


def _from_scope(source: Source, name: str, scope: Scope) -> Known | None:
    item, key = split_loop_item(name)
    if name not in scope and item in scope:
        return _selected(_selected(scope[item], f"parseJson(string_value)[{json.dumps(key)}]"), source.selector)
    return _selected(scope.get(name), source.selector)


def _selected(found: Known | None, selector: str) -> Known | None:
    if found is None or not selector:
        return found
    try:
        return _part(found, select_part(selector, found.value))
    except InvalidPipeline:
        return None  # the run fails before the step


def _part(whole: Known, value: Any) -> Known:
    return Known(value=value, within=whole.parameter or whole.within)
