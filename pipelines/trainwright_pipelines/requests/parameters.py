"""A pipeline's declared parameters, and values given as text turned into their types."""

import json
import math
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from trainwright_components.errors import InvalidSetting
from trainwright_components.hints import did_you_mean
from trainwright_components.settings import check_mapping
from trainwright_pipelines.ir.spec import Pipeline
from trainwright_pipelines.ir.values import as_json
from trainwright_pipelines.requests.groups import GROUPS, is_group, places_in_groups
from trainwright_pipelines.requests.written_values import InvalidText, read_text

TYPE_NAMES = {
    "STRING": "string",
    "NUMBER_INTEGER": "integer",
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
        """The type as it stands in a sentence: `an integer`."""
        article = {"BOOLEAN": "", "NUMBER_INTEGER": "an "}.get(self.type, "a ")
        return f"{article}{self.type_name}"


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


def split_setting(setting: str, form: str = "--set NAME=VALUE") -> tuple[str, str]:
    """Split `NAME=VALUE`; `form` is the option that takes it."""
    name, separator, value = setting.partition("=")
    if not separator or not name.strip():
        raise InvalidSetting(f"{' takes '.join(form.split())}, got {setting!r}")
    return name.strip(), value


def typed_texts(
    settings: Iterable[tuple[str, str]],
    parameters: Mapping[str, Parameter],
    *,
    start: Mapping[str, Any] | None = None,
    texts: Collection[str] = (),
) -> dict[str, Any]:
    """Values for `parameters` of what was written on a command line; a later setting wins.

    Args:
        settings: Names and texts. A dotted name goes into a mapping (`params.units`), on top of its default.
            A text is read as the parameter's type; entries of mappings, lists and mappings as JSON or YAML.
        parameters: What is declared, by name.
        start: Values to begin with; nothing when absent.
        texts: Dotted names whose value stays the text that it is.

    Raises:
        InvalidSetting: An unknown name, or a value of another type.
    """
    values = dict(start or {})
    for name, text in settings:
        _place(name, text if name in texts or "." not in name else _read_scalar(text), parameters, values)
    return values


def typed_mapping(
    settings: Mapping[str, Any], parameters: Mapping[str, Parameter], *, start: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """As `typed_texts`, of values that have their types: text in a mapping stays text.

    Raises:
        InvalidSetting: An unknown name, a name that stands for a part of another one, or a value of another type.
    """
    check_mapping(settings, where="parameters")
    named = {str(name): value for name, value in settings.items()}
    for one, other in combinations(named, 2):
        short, long = sorted((one.replace("-", "_"), other.replace("-", "_")), key=len)
        if f"{long}.".startswith(f"{short}."):
            raise InvalidSetting(f"{one!r} and {other!r} are both given, and one would replace the other; join them")
    values = dict(start or {})
    for name, value in named.items():
        _place(name, value, parameters, values)
    return values


def check_complete(values: Mapping[str, Any], parameters: Mapping[str, Parameter]) -> None:
    """Raise `InvalidSetting` when a parameter without a default has no value."""
    missing = [name for name, parameter in parameters.items() if not parameter.is_optional and name not in values]
    if missing:
        lines = ", ".join(f"--set {name}=<{parameters[name].type_name}>" for name in missing)
        raise InvalidSetting(f"no value for {', '.join(missing)}; give {lines}")


def _place(full_name: str, value: Any, parameters: Mapping[str, Parameter], values: dict[str, Any]) -> None:
    name, *inner = full_name.split(".")
    if not name:
        raise InvalidSetting(_EMPTY_NAME.format(full_name))
    parameter = _find_parameter(name, parameters)
    value = as_json(value, name=full_name)
    if not inner:
        values[parameter.name] = _convert(parameter, value)
        return
    if parameter.type != "STRUCT":
        raise InvalidSetting(f"{full_name!r}: parameter {name!r} is {parameter.type_with_article}, not a mapping")
    base = values.get(parameter.name, parameter.default or {})
    values[parameter.name] = _with_entry(base, inner, value, full_name)


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
        raise InvalidSetting(f"{full_name!r}: {key!r} is not a mapping")
    return {**base, key: _with_entry(inner, rest, value, full_name)}


def _convert(parameter: Parameter, value: Any) -> Any:
    if parameter.type == "STRING":
        if isinstance(value, bool | float):  # in YAML that may be a name such as `no` or `1.50`, whose text is lost
            raise InvalidSetting(f"parameter {parameter.name!r} must be a string, got {value!r}; put it in quotes")
        return value if isinstance(value, str) else _text(value)
    read = as_json(_read_scalar(value), name=parameter.name) if isinstance(value, str) else value
    converters: dict[str, Callable[[Any], Any]] = {
        "NUMBER_INTEGER": _whole_number,
        "NUMBER_DOUBLE": _number,
        "BOOLEAN": _boolean,
        "LIST": lambda each: each if isinstance(each, list) else None,
        "STRUCT": lambda each: each if isinstance(each, dict) else None,
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
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _boolean(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _read_scalar(text: str) -> Any:
    try:
        return read_text(text)
    except InvalidText:
        return text


def _text(value: Any) -> str:
    return "" if value is None else json.dumps(value)
