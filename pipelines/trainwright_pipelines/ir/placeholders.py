"""KFP's placeholders in commands, arguments, variables and constants.

Filled in one pass: what a value holds is never read as a placeholder.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from trainwright_components.errors import InvalidPipeline
from trainwright_pipelines.ir.values import placeholder_text, to_text

_PLACEHOLDER = re.compile(r"\{\{\$(?P<path>.*?)\}\}", re.DOTALL)
_STEP = re.compile(r"\.(?P<name>\w+)|\[(?:'(?P<single>[^']*)'|\"(?P<double>[^\"]*)\"|(?P<number>\d+))\]")
_ARTIFACT_FIELDS = {"properties": "metadata", "custom_properties": "metadata", "customProperties": "metadata"}
_REMOTE_MOUNTS = {"gs://": "/gcs/", "s3://": "/s3/", "minio://": "/minio/"}
STRUCTURES = ('{"Concat":', '{"IfPresent":')
"""How an element of a command begins that is a structure of KFP's."""
WORKSPACE_MOUNT = "/kfp-workspace"


def local_path(uri: str) -> str:
    """The path that KFP's task side uses for `uri`."""
    for scheme, mount in _REMOTE_MOUNTS.items():
        if uri.startswith(scheme):
            return mount + uri.removeprefix(scheme)
    return uri


def inputs_named(value: Any) -> Iterator[tuple[str, str]]:
    """The inputs that placeholders in all texts inside `value` name: `parameters` or `artifacts`, and the name."""
    if isinstance(value, str):
        for match in _PLACEHOLDER.finditer(value):
            match _steps(match["path"]):
                case ["inputs", "parameters" | "artifacts" as side, name, *_]:
                    yield side, name
    elif isinstance(value, Mapping | list):
        for each in [*value.keys(), *value.values()] if isinstance(value, Mapping) else value:
            yield from inputs_named(each)


class Placeholders:
    """Fills placeholders from one task's ExecutorInput.

    Args:
        executor_input: As KFP's JSON has it.
        constants: What does not depend on inputs, by name: `pipeline_job_name`, `pipeline_root`, ...
    """

    def __init__(self, executor_input: Mapping[str, Any], constants: Mapping[str, str]) -> None:
        self._input = executor_input
        self._constants = constants

    def text(self, text: str) -> str:
        """`text` with every placeholder filled; what is not a placeholder of KFP stays."""
        filled = _PLACEHOLDER.sub(self._fill, text)
        workspace = self._constants.get("workspace_path")
        return filled.replace(WORKSPACE_MOUNT, workspace) if workspace else filled

    def anywhere(self, value: Any) -> Any:
        """`value` with the placeholders filled in all texts inside."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {self.text(key): self.anywhere(each) for key, each in value.items()}
        if isinstance(value, list):
            return [self.anywhere(each) for each in value]
        return value

    def arguments(self, elements: list[Any]) -> list[str]:
        """Command or arguments, with Concat and IfPresent resolved as well."""
        return [text for element in elements for text in self._flatten(self._element(element))]

    def _element(self, element: Any) -> Any:
        if isinstance(element, str) and element.startswith(STRUCTURES):
            try:
                return self._struct(json.loads(element))
            except ValueError:
                return self.text(element)
        return self.text(str(element))

    def _struct(self, element: Any) -> Any:
        if isinstance(element, str):
            return self.text(element)
        if isinstance(element, list):
            return [self._struct(each) for each in element]
        if "Concat" in element:
            return "".join(self._flatten([self._struct(each) for each in element["Concat"]]))
        if "IfPresent" not in element:
            raise InvalidPipeline(f"{json.dumps(element)[:200]} is neither Concat nor IfPresent")
        choice = element["IfPresent"]
        return self._struct(choice["Then"] if self._is_present(choice["InputName"]) else choice.get("Else") or [])

    def _flatten(self, value: Any) -> list[str]:
        return [text for each in value for text in self._flatten(each)] if isinstance(value, list) else [value]

    def _is_present(self, name: str) -> bool:
        inputs = self._input["inputs"]
        return inputs["parameterValues"].get(name) is not None or bool(inputs["artifacts"].get(name))

    def _fill(self, match: re.Match[str]) -> str:
        path = match["path"]
        escapes = 0
        if (escape := re.search(r"\.json_escape\[(\d+)\]", path)) is not None:
            escapes, path = int(escape[1]), path[: escape.start()] + path[escape.end() :]
        steps = _steps(path)
        value = None if steps is None else self._look_up(steps)
        if value is None:
            return match[0]
        for _ in range(escapes):
            value = json.dumps(value)[1:-1]
        return value

    def _look_up(self, steps: list[str]) -> str | None:
        match steps:
            case []:
                return json.dumps(self._input)
            case [name] if name in self._constants:
                return self._constants[name]
            case ["outputs", "output_file"] | ["outputMetadataUri"]:
                return str(self._input["outputs"]["outputFile"])
            case ["inputs", "parameters", name]:
                return placeholder_text(self._input["inputs"]["parameterValues"].get(name))
            case ["outputs", "parameters", name, "output_file"] if name in self._input["outputs"]["parameters"]:
                return str(self._input["outputs"]["parameters"][name]["outputFile"])
            case ["inputs" | "outputs" as side, "artifacts", name, *rest]:
                return _artifact_text(self._input[side]["artifacts"].get(name, {}).get("artifacts", []), rest)
        return None


def _steps(path: str) -> list[str] | None:
    steps, start = [], 0
    while start < len(path):
        match = _STEP.match(path, start)
        if match is None:
            return None
        steps.append(next(group for group in match.groups() if group is not None))
        start = match.end()
    return steps


def _artifact_text(artifacts: list[dict[str, Any]], steps: list[str]) -> str:
    if not steps:
        return json.dumps(artifacts)
    if steps[0].isdigit():
        index, *steps = steps
        artifacts = artifacts[int(index) : int(index) + 1]
    if not artifacts:
        return ""
    artifact = artifacts[0]
    match steps:
        case ["path"]:
            return str(artifact.get("customPath") or local_path(str(artifact["uri"])))
        case [field]:
            return to_text(artifact.get(_ARTIFACT_FIELDS.get(field, field)))
        case [field, key]:
            return to_text((artifact.get(_ARTIFACT_FIELDS.get(field, field)) or {}).get(key))
    return to_text(artifact)
