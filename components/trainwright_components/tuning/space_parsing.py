"""Read a search space as users write it, and say by name what is wrong with it."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from trainwright_components.errors import InvalidSetting
from trainwright_components.hints import did_you_mean
from trainwright_components.tuning.space import (
    CategoricalSpec,
    Condition,
    DiscreteSpec,
    DoubleSpec,
    IntegerSpec,
    ParameterSpec,
    ScaleType,
    SearchSpace,
    is_number,
)


def parse_space(space: Mapping[str, Any]) -> SearchSpace:
    """Read `{"name": {"type": "double", "min_value": 1e-4, "max_value": 0.1, "scale_type": "UNIT_LOG_SCALE"}, ...}`.

    Types are double and integer (`min_value`, `max_value`), discrete and categorical (`values`). `default_value` is
    where the search starts; `"when": {"optimizer": ["sgd"]}` makes a parameter count only while another has one of
    those values.

    Raises:
        InvalidSetting: Names the parameter and what is wrong with it.
    """
    if not space:
        raise InvalidSetting(
            "the search space is empty: name at least one parameter in the module's SEARCH_SPACE "
            "or in tuning.search_space"
        )
    parameters = {name: _parse_parameter(name, spec) for name, spec in space.items()}
    for parameter in parameters.values():
        _check_condition(parameter, parameters)
    return SearchSpace(parameters=tuple(_parents_first(parameters)))


def check_names(space: SearchSpace, defaults: Mapping[str, Any]) -> None:
    """Raise `InvalidSetting` for a parameter that a module with the `DEFAULT_PARAMS` `defaults` does not take."""
    for name in space.names:
        if name not in defaults:
            hint = did_you_mean(name, defaults)
            raise InvalidSetting(f"search_space.{name} is not in DEFAULT_PARAMS of the module{hint}")


def _parse_parameter(name: str, spec: object) -> ParameterSpec:
    if not isinstance(spec, Mapping):
        raise _invalid(name, f'must be a mapping such as {{"type": "double", ...}}, got {spec!r}')
    kind = spec.get("type")
    if kind not in _KINDS:
        hint = did_you_mean(str(kind), _KINDS, list_at_most=0)
        raise _invalid(name, f"has type {kind!r}: use one of {', '.join(_KINDS)}{hint}")
    reader, fields = _KINDS[kind]
    for given in spec:
        if given not in fields:
            hint = did_you_mean(given, fields, list_at_most=0)
            raise _invalid(name, f"has no setting {given!r} ({kind} takes {', '.join(fields)}){hint}")
    parameter = reader(name, spec)
    default = parameter.default_value
    if default is not None and not parameter.contains(default):
        raise _invalid(name, f"default_value {default!r} is not one of its values")
    return parameter


def _double(name: str, spec: Mapping[str, Any]) -> DoubleSpec:
    low, high = _bounds(name, spec)
    return DoubleSpec(
        name=name, **_common(name, spec), min_value=low, max_value=high, scale_type=_scale(name, spec, low)
    )


def _integer(name: str, spec: Mapping[str, Any]) -> IntegerSpec:
    low, high = _bounds(name, spec)
    for key, bound in (("min_value", low), ("max_value", high)):
        if not float(bound).is_integer():
            raise _invalid(name, f"{key} must be an integer, got {bound!r}")
    scale = _scale(name, spec, low)
    return IntegerSpec(name=name, **_common(name, spec), min_value=int(low), max_value=int(high), scale_type=scale)


def _discrete(name: str, spec: Mapping[str, Any]) -> DiscreteSpec:
    values = _values(name, spec)
    for value in values:
        if not is_number(value) or not math.isfinite(value):
            raise _invalid(name, f'discrete values are numbers, got {value!r}: use "type": "categorical" for names')
    ordered = tuple(sorted(values))
    return DiscreteSpec(name=name, **_common(name, spec), values=ordered, scale_type=_scale(name, spec, ordered[0]))


def _categorical(name: str, spec: Mapping[str, Any]) -> CategoricalSpec:
    values = _values(name, spec)
    for value in values:
        if not isinstance(value, str | bool):
            raise _invalid(name, f'categorical values are strings, got {value!r}: use "type": "discrete" for numbers')
    return CategoricalSpec(name=name, **_common(name, spec), values=values)


_RANGE = ("type", "min_value", "max_value", "scale_type", "default_value", "when")
_KINDS: dict[str, tuple[Callable[[str, Mapping[str, Any]], ParameterSpec], tuple[str, ...]]] = {
    "double": (_double, _RANGE),
    "integer": (_integer, _RANGE),
    "discrete": (_discrete, ("type", "values", "scale_type", "default_value", "when")),
    "categorical": (_categorical, ("type", "values", "default_value", "when")),
}


def _common(name: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    return {"when": _condition(name, spec.get("when")), "default_value": spec.get("default_value")}


def _condition(name: str, when: object) -> Condition | None:
    if when is None:
        return None
    if not isinstance(when, Mapping) or len(when) != 1:
        raise _invalid(name, f'"when" names one parent and its values, such as {{"optimizer": ["sgd"]}}, got {when!r}')
    [(parent, values)] = when.items()
    if not isinstance(values, Sequence) or isinstance(values, str) or not values:
        raise _invalid(name, f'"when" needs a list of values of {parent!r}, got {values!r}')
    return Condition(parent=parent, values=tuple(values))


def _check_condition(parameter: ParameterSpec, parameters: Mapping[str, ParameterSpec]) -> None:
    if parameter.when is None:
        return
    parent = parameters.get(parameter.when.parent)
    if parent is None:
        hint = did_you_mean(parameter.when.parent, parameters, list_at_most=0)
        raise _invalid(parameter.name, f'"when" names {parameter.when.parent!r}, which is not in the space{hint}')
    if isinstance(parent, DoubleSpec):
        raise _invalid(parameter.name, f"cannot depend on {parent.name!r}: a parent has values, not a range of doubles")
    for value in parameter.when.values:
        if not parent.contains(value):
            raise _invalid(parameter.name, f'"when" names {value!r}, which is not a value of {parent.name!r}')


def _parents_first(parameters: Mapping[str, ParameterSpec]) -> Iterator[ParameterSpec]:
    placed: set[str] = set()
    while len(placed) < len(parameters):
        ready = [
            parameter
            for parameter in parameters.values()
            if parameter.name not in placed and (parameter.when is None or parameter.when.parent in placed)
        ]
        if not ready:
            circle = ", ".join(repr(name) for name in parameters if name not in placed)
            raise InvalidSetting(
                f'search_space: {circle} depend on each other through "when"; one of them must stand alone'
            )
        placed.update(parameter.name for parameter in ready)
        yield from ready


def _bounds(name: str, spec: Mapping[str, Any]) -> tuple[Any, Any]:
    for key in ("min_value", "max_value"):
        bound = spec.get(key)
        if bound is None:
            raise _invalid(name, f"needs {key}")
        if not is_number(bound) or not math.isfinite(bound):
            raise _invalid(name, f"{key} must be a finite number, got {bound!r}")
    low, high = spec["min_value"], spec["max_value"]
    if low > high:
        raise _invalid(name, f"min_value {low!r} is greater than max_value {high!r}")
    return low, high


def _scale(name: str, spec: Mapping[str, Any], low: float) -> ScaleType:
    given = spec.get("scale_type", ScaleType.UNIT_LINEAR_SCALE)
    if given not in list(ScaleType):
        hint = did_you_mean(given, ScaleType, list_at_most=0)
        raise _invalid(name, f"has scale_type {given!r}: use one of {', '.join(ScaleType)}{hint}")
    if given != ScaleType.UNIT_LINEAR_SCALE and low <= 0:
        raise _invalid(name, f"{given} needs values above 0, got {low!r}")
    return ScaleType(given)


def _values(name: str, spec: Mapping[str, Any]) -> tuple[Any, ...]:
    values = spec.get("values")
    if not isinstance(values, Sequence) or isinstance(values, str) or not values:
        raise _invalid(name, f"needs a list of values, got {values!r}")
    if len(set(values)) < len(values):
        raise _invalid(name, f"names a value twice: {list(values)!r}")
    return tuple(values)


def _invalid(name: str, problem: str) -> InvalidSetting:
    return InvalidSetting(f"search_space.{name} {problem}")
