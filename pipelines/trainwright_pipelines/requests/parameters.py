"""A pipeline's declared parameters, and values given as text turned into their types."""

import json
import math
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from trainwright_components.errors import InvalidSetting
from trainwright_components.hints import did_you_mean
from trainwright_pipelines.ir.spec import Pipeline
from trainwright_pipelines.requests.groups import GROUPS, is_group, places_in_groups

TYPE_NAMES = {
    "STRING": "text",
    "NUMBER_INTEGER": "whole number",
    "NUMBER_DOUBLE": "number",
    "BOOLEAN": "true or false",
    "LIST": "list",
    "STRUCT": "mapping",
}
_EMPTY_NAME = "{!r} has an empty name in it"


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """A declared parameter; `type` is KFP's name of it."""

    name: str
    type: str
    is_optional: bool = False
    default: Any = None
    description: str = ""

    @property
    def type_name(self) -> str:
        """The type in words."""
        return TYPE_NAMES.get(self.type, self.type.lower())

    @property
    def type_with_article(self) -> str:
        """The type as it stands in a sentence: `a whole number`."""
        return self.type_name if self.type in {"BOOLEAN", "STRING"} else f"a {self.type_name}"


def declared_parameters(pipeline: Pipeline) -> dict[str, Parameter]:
    """The parameters that a compiled pipeline takes, by name."""
    return {
        name: Parameter(
            name=name,
            type=slot.type or "STRING",
            is_optional=slot.is_optional or slot.has_default,
            default=float(slot.default) if slot.type == "NUMBER_DOUBLE" and slot.has_default else slot.default,
            description=slot.description,
        )
        for name, slot in pipeline.root.input_parameters.items()
    }


def split_setting(setting: str) -> tuple[str, str]:
    """Split `NAME=VALUE`."""
    name, separator, value = setting.partition("=")
    if not separator or not name.strip():
        raise InvalidSetting(f"--set takes NAME=VALUE, got {setting!r}")
    return name.strip(), value


def typed_values(
    settings: Iterable[tuple[str, Any]],
    parameters: Mapping[str, Parameter],
    *,
    start: Mapping[str, Any] | None = None,
    texts: Collection[str] = (),
) -> dict[str, Any]:
    """Values for `parameters`, in their types; a later setting wins.

    Args:
        settings: Names and values. A dotted name goes into a mapping (`params.units`), on top of its default.
            A text value is read as the parameter's type; lists and mappings as JSON or YAML.
        parameters: What is declared, by name.
        start: Values to begin with; nothing when absent.
        texts: Dotted names whose value stays the text that it is.

    Raises:
        InvalidSetting: An unknown name, or a value of another type.
    """
    values = dict(start or {})
    for full_name, value in settings:
        name, *inner = full_name.split(".")
        if not name:
            raise InvalidSetting(_EMPTY_NAME.format(full_name))
        parameter = _find_parameter(name, parameters)
        if not inner:
            values[parameter.name] = _convert(parameter, value)
            continue
        if parameter.type != "STRUCT":
            raise InvalidSetting(f"{full_name!r}: parameter {name!r} is {parameter.type_with_article}, not a mapping")
        base = values.get(parameter.name, parameter.default or {})
        read = value if full_name in texts else _read_scalar(value)
        values[parameter.name] = _with_entry(base, inner, read, full_name)
    return values


def check_complete(values: Mapping[str, Any], parameters: Mapping[str, Parameter]) -> None:
    """Raise `InvalidSetting` when a parameter without a default has no value."""
    missing = [name for name, parameter in parameters.items() if not parameter.is_optional and name not in values]
    if missing:
        lines = ", ".join(f"--set {name}=<{parameters[name].type_name}>" for name in missing)
        raise InvalidSetting(f"no value for {', '.join(missing)}; give {lines}")


def _find_parameter(name: str, parameters: Mapping[str, Parameter]) -> Parameter:
    parameter = parameters.get(name) or parameters.get(name.replace("-", "_"))
    if parameter is None:
        types = {each.name: each.type for each in parameters.values()}
        if places := places_in_groups(name.replace("-", "_"), types):
            raise InvalidSetting(f"no parameter {name!r}: it is {' or '.join(places)}, such as --set {places[0]}=VALUE")
        if name in GROUPS and (groups := [each for each, kind in types.items() if is_group(each, kind)]):
            raise InvalidSetting(f"this pipeline has no group {name!r}; it has: {', '.join(groups)}")
        mappings = [
            f"{each.name}.{name}"
            for each in parameters.values()
            if each.type == "STRUCT" and not is_group(each.name, each.type)
        ]
        entries = f"; an entry of a mapping is named with it: {' or '.join(mappings)}" if mappings else ""
        hint = did_you_mean(name, parameters, list_at_most=0) or entries or did_you_mean(name, parameters)
        raise InvalidSetting(f"no parameter {name!r}{hint}")
    return parameter


def _with_entry(base: Mapping[str, Any], path: list[str], value: Any, full_name: str) -> dict[str, Any]:
    key, *rest = path
    if not key:
        raise InvalidSetting(_EMPTY_NAME.format(full_name))
    if not rest:
        return {**base, key: value}
    inner = base.get(key, {})
    if not isinstance(inner, Mapping):
        raise InvalidSetting(f"{full_name!r}: {key!r} is no mapping")
    return {**base, key: _with_entry(inner, rest, value, full_name)}


def _convert(parameter: Parameter, value: Any) -> Any:
    if parameter.type == "STRING":
        return value if isinstance(value, str) else _text(value)
    read = _read_scalar(value)
    converters: dict[str, Callable[[Any], Any]] = {
        "NUMBER_INTEGER": _whole_number,
        "NUMBER_DOUBLE": _number,
        "BOOLEAN": _boolean,
        "LIST": lambda each: each if isinstance(each, list) else None,
        "STRUCT": lambda each: dict(each) if isinstance(each, Mapping) else None,
    }
    converted = converters.get(parameter.type, lambda each: each)(read)
    if converted is None:
        given = "nothing: give a value or leave it out" if value is None else repr(value)
        raise InvalidSetting(f"parameter {parameter.name!r} must be {parameter.type_with_article}, got {given}")
    return converted


def _whole_number(value: Any) -> int | None:
    number = _number(value)
    return int(value) if number is not None and number.is_integer() else None


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def _boolean(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _read_scalar(value: Any) -> Any:
    """Read text as JSON, else as YAML: YAML 1.1 alone takes `1e-3` for text."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value, parse_constant=_refuse_constant)
    except ValueError:
        pass
    try:
        return yaml.safe_load(value)
    except yaml.YAMLError:
        return value


def _refuse_constant(name: str) -> None:
    raise ValueError(name)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else json.dumps(value, default=str) if isinstance(value, dict | list) else str(value)
