"""Untyped values become settings; what cannot is told by its whole name, with the value and what was meant."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar

import pytest

from trainwright_components.errors import InvalidSetting
from trainwright_components.metrics.settings import EvaluationSettings
from trainwright_components.prepare_data.settings import PrepareSettings
from trainwright_components.settings import (
    check_choice,
    check_enabled,
    check_minimum,
    is_enabled,
    list_settings,
    read_settings,
)
from trainwright_components.training.configuration.settings import TrainingSettings


class Colour(StrEnum):
    RED = "RED"
    BLUE = "BLUE"


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits.

    Args:
        max_bytes: The largest size.
        max_s: The longest time,
            in seconds.
    """

    max_bytes: int | None = None
    max_s: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Role:
    """How many.

    Args:
        replicas: Members.
    """

    SHORTHAND: ClassVar[str] = "replicas"

    replicas: int = 0
    machine: str = ""


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job.

    Args:
        name: What it is called.
        colours: Tried in turn.
    """

    source: str = field(default="", metadata={"given_by": "source"})
    name: str = ""
    tries: int = 3
    colour: Colour = Colour.RED
    colours: tuple[str, ...] = ()
    weights: Mapping[str, float] = field(default_factory=dict)
    anything: Mapping[str, Any] = field(default_factory=dict)
    limits: Limits = field(default_factory=lambda: Limits(max_s=60.0))
    worker: Role = field(default_factory=Role)

    def __post_init__(self) -> None:
        check_minimum(self, where="job", minimum={"tries": 1})
        check_choice(self.name, ("", "alpha", "beta"), where="job.name")


def read(values: Any) -> Job:
    return read_settings(Job, values, where="job", given={"source": "data.csv"})


REST = "colour, colours, weights, anything, limits, worker"


def test_values_take_their_types() -> None:
    job = read({"tries": 4.0, "colour": "BLUE", "colours": "a", "weights": {1: 2}, "worker": 2, "anything": {"x": 1.0}})
    assert job == Job(
        source="data.csv", tries=4, colour=Colour.BLUE, colours=("a",), weights={"1": 2.0}, anything={"x": 1.0},
        worker=Role(replicas=2),
    )  # fmt: skip
    assert isinstance(job.tries, int)


def test_nested_settings_keep_the_default_of_what_they_do_not_name() -> None:
    assert read({"limits": {"max_bytes": 5}}).limits == Limits(max_bytes=5, max_s=60.0)
    assert read({"worker": {"machine": "large"}}).worker == Role(machine="large")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1], "job must be a mapping, got [1]"),
        ({"trys": 1}, "there is no job setting 'trys'; did you mean 'tries'?"),
        ({"zzz": 1}, "there is no job setting 'zzz'; there is: name, tries, " + REST),
        ({"max_bytes": 1}, "there is no job setting 'max_bytes'; did you mean 'limits.max_bytes'?"),
        ({"limits": {"max_byte": 1}}, "there is no job.limits setting 'max_byte'; did you mean 'max_bytes'?"),
        ({"limits": 3}, "job.limits must be a mapping, got 3"),
        ({"source": "x"}, "there is no job setting 'source'; it is the parameter 'source'"),
        ({"tries": 2.5}, "job.tries must be an integer, got 2.5"),
        ({"tries": True}, "job.tries must be an integer, got True"),
        ({"tries": None}, "job.tries must be an integer, got None"),
        ({"tries": 10**400}, f"job.tries must be an integer, got {10**400}"),
        ({"weights": {"a": 10**400}}, f"job.weights.a must be a number, got {10**400}"),
        ({"tries": 0}, "job.tries must be at least 1, got 0"),
        ({"name": 2020}, "job.name must be a string, got 2020; put it in quotes"),
        ({"name": ["a"]}, "job.name must be a string, got ['a']"),
        ({"name": "alpah"}, "job.name must be one of \"\", alpha, beta; got 'alpah'; did you mean 'alpha'?"),
        ({"colour": "GREEN"}, "job.colour must be one of RED, BLUE; got 'GREEN'"),
        ({"weights": {"a": "b"}}, "job.weights.a must be a number, got 'b'"),
        ({"weights": {"a": float("nan")}}, "job.weights.a must be a number, got nan"),
        ({"worker": "two"}, "job.worker must be an integer, got 'two'"),
        ({"worker": {"replicas": "two"}}, "job.worker.replicas must be an integer, got 'two'"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_told_in_full(values: Any, message: str) -> None:
    with pytest.raises(InvalidSetting) as refusal:
        read(values)
    assert str(refusal.value) == message


def test_everything_about_a_setting_is_read_from_its_class() -> None:
    found = {each.name: each for each in list_settings(Job)}
    assert list(found)[-4:] == ["anything", "limits.max_bytes", "limits.max_s", "worker"]
    assert "source" not in found
    assert (found["name"].type, found["name"].default, found["name"].description) == (
        "string",
        '""',
        "What it is called.",
    )
    assert (found["limits.max_bytes"].type, found["limits.max_bytes"].default) == ("integer or null", "null")
    assert (found["limits.max_s"].default, found["limits.max_s"].description) == (
        "60.0",
        "The longest time, in seconds.",
    )
    assert found["worker"].type == "integer, or a mapping of replicas, machine"


def test_a_switch_is_read_without_the_rest_of_its_group() -> None:
    assert is_enabled({"anything": 1}, where="serving")
    assert not is_enabled({"enabled": False}, where="serving")
    with pytest.raises(InvalidSetting, match=r"serving\.enabled must be true or false, got 'no'"):
        is_enabled({"enabled": "no"}, where="serving")
    with pytest.raises(InvalidSetting, match="serving must be a mapping, got 3"):
        is_enabled(3, where="serving")


def test_a_step_does_not_do_what_its_group_switches_off() -> None:
    check_enabled(True, where="serving", output="deploy")
    with pytest.raises(
        InvalidSetting, match=r"put it under dsl.If on evaluate's output 'deploy', or set serving.enabled"
    ):
        check_enabled(False, where="serving", output="deploy")


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        (PrepareSettings, {"test_fraction": "a"}, r"data\.test_fraction must be a number, got 'a'"),
        (PrepareSettings, {"validation_fraction": None}, r"data\.validation_fraction must be a number, got None"),
        (PrepareSettings, {"seed": True}, r"data\.seed must be an integer, got True"),
        (TrainingSettings, {"roll_back_factor": "a"}, r"training\.roll_back_factor must be a number, got 'a'"),
        (EvaluationSettings, {"folds": "5"}, r"evaluation\.folds must be an integer, got '5'"),
    ],
)
def test_numbers_are_looked_at_when_settings_are_made(kind: Any, values: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidSetting, match=message):
        kind(**values)
