"""The space that a study searches: parameters, their scales, and when each of them counts."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from trainwright_components.errors import InvalidSetting

Value = str | int | float | bool


class ScaleType(StrEnum):
    """How a range is spread over the unit interval; names and meaning as in Vizier's ParameterSpec."""

    UNIT_LINEAR_SCALE = "UNIT_LINEAR_SCALE"
    UNIT_LOG_SCALE = "UNIT_LOG_SCALE"
    UNIT_REVERSE_LOG_SCALE = "UNIT_REVERSE_LOG_SCALE"


@dataclass(frozen=True, kw_only=True)
class Condition:
    """A parameter counts only while its parent has one of these values."""

    parent: str
    values: tuple[Value, ...]

    def is_met(self, chosen: Mapping[str, Value]) -> bool:
        """Whether the parent counts in `chosen` and has one of the values."""
        return self.parent in chosen and chosen[self.parent] in self.values


@dataclass(frozen=True, kw_only=True)
class ParameterSpec:
    """What all kinds of parameters share."""

    name: str
    when: Condition | None = None
    default_value: Value | None = None

    def contains(self, value: Value) -> bool:
        """Whether `value` is one that this parameter can take."""
        raise NotImplementedError

    def points(self) -> tuple[Value, ...]:
        """All values, in order.

        Raises:
            InvalidSetting: There are too many to name.
        """
        raise NotImplementedError

    def position(self, value: Value) -> float:
        """Where `value` lies between 0 and 1, on the parameter's scale."""
        points = self.points()
        return points.index(value) / max(1, len(points) - 1)

    def share(self, value: Value) -> float:
        """The middle of the part of the unit interval that `value` has; all parts are equal on the scale."""
        points = self.points()
        return (points.index(value) + 0.5) / len(points)

    def at(self, share: float) -> Value:
        """The value whose part of the unit interval holds `share`."""
        points = self.points()
        return points[min(int(share * len(points)), len(points) - 1)]

    def marks(self) -> tuple[Value, ...]:
        """Values to write beside an axis."""
        return self.points()


@dataclass(frozen=True, kw_only=True)
class DoubleSpec(ParameterSpec):
    """A real number between two bounds, both included."""

    min_value: float
    max_value: float
    scale_type: ScaleType = ScaleType.UNIT_LINEAR_SCALE

    def contains(self, value: Value) -> bool:
        """Whether `value` is a number within the bounds."""
        return is_number(value) and self.min_value <= float(value) <= self.max_value

    def points(self) -> tuple[Value, ...]:
        """Never: a grid needs values."""
        raise InvalidSetting(
            f"search_space.{self.name} is a double, which GRID_SEARCH cannot enumerate: "
            'give it values ("type": "discrete"), or use TPE or RANDOM_SEARCH'
        )

    def position(self, value: Value) -> float:
        """Where `value` lies between 0 and 1, on the parameter's scale."""
        return _share(float(value), self.min_value, self.max_value, self.scale_type)

    def share(self, value: Value) -> float:
        """The same as its position: the parts have no width."""
        return self.position(value)

    def at(self, share: float) -> Value:
        """The value at this position."""
        value = _value_at(share, self.min_value, self.max_value, self.scale_type)
        return min(max(value, self.min_value), self.max_value)  # rounding must not leave the range

    def marks(self) -> tuple[Value, ...]:
        """The bounds."""
        return (self.min_value, self.max_value)


@dataclass(frozen=True, kw_only=True)
class IntegerSpec(ParameterSpec):
    """An integer between two bounds, both included."""

    min_value: int
    max_value: int
    scale_type: ScaleType = ScaleType.UNIT_LINEAR_SCALE

    def contains(self, value: Value) -> bool:
        """Whether `value` is an integer within the bounds."""
        return is_number(value) and float(value).is_integer() and self.min_value <= float(value) <= self.max_value

    def points(self) -> tuple[Value, ...]:
        """Each integer of the range."""
        return tuple(range(self.min_value, self.max_value + 1))

    def position(self, value: Value) -> float:
        """Where `value` lies between 0 and 1, on the parameter's scale."""
        return _share(float(value), self.min_value, self.max_value, self.scale_type)

    def share(self, value: Value) -> float:
        """The middle of the part that `value` has."""
        return _share(float(value), self.min_value - 0.5, self.max_value + 0.5, self.scale_type)

    def at(self, share: float) -> Value:
        """The value whose part holds `share`."""
        value = round(_value_at(share, self.min_value - 0.5, self.max_value + 0.5, self.scale_type))
        return min(max(value, self.min_value), self.max_value)

    def marks(self) -> tuple[Value, ...]:
        """The bounds."""
        return (self.min_value, self.max_value)


@dataclass(frozen=True, kw_only=True)
class DiscreteSpec(ParameterSpec):
    """One of several numbers, which have an order."""

    values: tuple[int | float, ...]
    scale_type: ScaleType = ScaleType.UNIT_LINEAR_SCALE

    def contains(self, value: Value) -> bool:
        """Whether `value` is one of the numbers."""
        return is_number(value) and value in self.values

    def points(self) -> tuple[Value, ...]:
        """The numbers, ascending."""
        return self.values


@dataclass(frozen=True, kw_only=True)
class CategoricalSpec(ParameterSpec):
    """One of several names (or true and false), which have no order."""

    values: tuple[str | bool, ...]

    def contains(self, value: Value) -> bool:
        """Whether `value` is one of the names; 1 is not true."""
        return any(value == mine and type(value) is type(mine) for mine in self.values)

    def points(self) -> tuple[Value, ...]:
        """The names as given."""
        return self.values


@dataclass(frozen=True, kw_only=True)
class SearchSpace:
    """Parameters, each after its parent."""

    parameters: tuple[ParameterSpec, ...]
    _by_name: Mapping[str, ParameterSpec] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_name", {parameter.name: parameter for parameter in self.parameters})

    def __getitem__(self, name: str) -> ParameterSpec:
        return self._by_name[name]

    @property
    def names(self) -> tuple[str, ...]:
        """All names, each after its parent's."""
        return tuple(self._by_name)

    def choose(self, choice: Callable[[ParameterSpec], Value]) -> dict[str, Value]:
        """One point: `choice` is asked for each parameter whose condition the earlier choices meet."""
        values: dict[str, Value] = {}
        for parameter in self.parameters:
            if _counts(parameter, values):
                values[parameter.name] = choice(parameter)
        return values

    def grid(self) -> Iterator[dict[str, Value]]:
        """All points; the last parameter changes fastest.

        Raises:
            InvalidSetting: A parameter has no finite list of values.
        """
        for parameter in self.parameters:
            parameter.points()
        return self._grid({}, 0)

    def _grid(self, chosen: dict[str, Value], index: int) -> Iterator[dict[str, Value]]:
        if index == len(self.parameters):
            yield dict(chosen)
            return
        parameter = self.parameters[index]
        if not _counts(parameter, chosen):
            yield from self._grid(chosen, index + 1)
            return
        for value in parameter.points():
            yield from self._grid({**chosen, parameter.name: value}, index + 1)

    def starting_point(self, params: Mapping[str, Value]) -> dict[str, Value] | None:
        """The point that the parameters' own defaults, else `params`, name; None when one is missing or outside."""
        try:
            return self.choose(lambda parameter: _start(parameter, params))
        except LookupError:
            return None


def _share(value: float, low: float, high: float, scale: ScaleType) -> float:
    if low == high:
        return 0.5
    if scale is ScaleType.UNIT_LINEAR_SCALE:
        return (value / 2 - low / 2) / (high / 2 - low / 2)  # the whole difference may be too large for a float
    if scale is ScaleType.UNIT_LOG_SCALE:
        return (math.log(value) - math.log(low)) / (math.log(high) - math.log(low))  # likewise the ratio
    return 1 - _share(low + (high - value), low, high, ScaleType.UNIT_LOG_SCALE)


def _value_at(share: float, low: float, high: float, scale: ScaleType) -> float:
    if scale is ScaleType.UNIT_LINEAR_SCALE:
        return float(2 * (low / 2 + share * (high / 2 - low / 2)))
    if scale is ScaleType.UNIT_LOG_SCALE:
        return min(math.exp(math.log(low) + share * (math.log(high) - math.log(low))), float(high))
    return low + (high - _value_at(1 - share, low, high, ScaleType.UNIT_LOG_SCALE))


def _start(parameter: ParameterSpec, params: Mapping[str, Value]) -> Value:
    value = params[parameter.name] if parameter.default_value is None else parameter.default_value
    if not parameter.contains(value):
        raise LookupError(parameter.name)
    return value


def _counts(parameter: ParameterSpec, chosen: Mapping[str, Value]) -> bool:
    return parameter.when is None or parameter.when.is_met(chosen)


def is_number(value: object) -> bool:
    """Whether `value` is a number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)
