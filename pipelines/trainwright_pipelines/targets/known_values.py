"""What is known of a step's inputs before a run: constants, defaults, and the pipeline's own parameters."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trainwright_pipelines.engine.parsing import parse_source
from trainwright_pipelines.targets.parameters import declared_parameters

_PLACEHOLDER = "{{$"


@dataclass(frozen=True, kw_only=True)
class Known:
    """A value that is known before the run, and the pipeline parameter that it comes from, if any."""

    value: Any
    parameter: str = ""


Scope = Mapping[str, Known]


def known_parameters(spec: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Known]:
    """The pipeline's parameters: `values`, and the defaults of what is absent there."""
    declared = declared_parameters(spec)
    given = {name: each.default for name, each in declared.items() if each.default is not None} | dict(values)
    return {name: Known(value=value, parameter=name) for name, value in given.items()}


def known_inputs(task: Mapping[str, Any], component: Mapping[str, Any], scope: Scope) -> dict[str, Known]:
    """Those of a task's input parameters that are known where `scope` is known of the DAG around it."""
    defaults = component.get("inputDefinitions", {}).get("parameters", {})
    known = {key: Known(value=slot["defaultValue"]) for key, slot in defaults.items() if "defaultValue" in slot}
    for key, raw in task.get("inputs", {}).get("parameters", {}).items():
        known.pop(key, None)
        source = parse_source(raw)
        if source.selector or source.task or source.status_of:
            continue
        if source.input is None:
            if _PLACEHOLDER not in json.dumps(source.constant):
                known[key] = Known(value=source.constant)
        elif source.input in scope:
            known[key] = scope[source.input]
    return known
