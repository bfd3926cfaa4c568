"""Text becomes values of the declared types."""

from typing import Any

import pytest

from trainwright_components.errors import InvalidSetting
from trainwright_pipelines.ir.parsing import parse_documents
from trainwright_pipelines.requests.parameters import (
    Parameter,
    check_complete,
    declared_parameters,
    split_setting,
    typed_values,
)

DECLARED = {
    "source": Parameter(name="source", type="STRING", is_optional=True, default="digits"),
    "epochs": Parameter(name="epochs", type="NUMBER_INTEGER"),
    "rate": Parameter(name="rate", type="NUMBER_DOUBLE", is_optional=True),
    "deploy": Parameter(name="deploy", type="BOOLEAN", is_optional=True),
    "modes": Parameter(name="modes", type="LIST", is_optional=True),
    "params": Parameter(name="params", type="STRUCT", is_optional=True, default={"units": 8, "deep": {"a": 1}}),
}


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("source", "007", "007"),
        ("source", "true", "true"),
        ("epochs", "3", 3),
        ("epochs", "3.0", 3),
        ("rate", "1e-3", 0.001),
        ("rate", "2", 2.0),
        ("deploy", "false", False),
        ("deploy", "yes", True),
        ("modes", '["float16", "int8"]', ["float16", "int8"]),
        ("modes", "[float16, int8]", ["float16", "int8"]),
        ("params", '{"units": 3}', {"units": 3}),
        ("params", "{units: 3}", {"units": 3}),
        ("params.units", "16", {"units": 16, "deep": {"a": 1}}),
        ("params.rate", "1e-3", {"units": 8, "deep": {"a": 1}, "rate": 0.001}),
        ("params.name", "adam", {"units": 8, "deep": {"a": 1}, "name": "adam"}),
        ("params.deep.b", "[1, 2]", {"units": 8, "deep": {"a": 1, "b": [1, 2]}}),
    ],
)
def test_text_is_read_as_the_declared_type(name: str, text: str, value: Any) -> None:
    values = typed_values([(name, text)], DECLARED)
    (read,) = values.values()
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("epochs", "three", "'epochs' must be a whole number, got 'three'"),
        ("epochs", "2.5", "'epochs' must be a whole number, got '2.5'"),
        ("epochs", "true", "whole number"),
        ("rate", "fast", "'rate' must be a number"),
        ("rate", "NaN", "'rate' must be a number"),
        ("rate", "1e999", "'rate' must be a number"),
        ("deploy", "maybe", "true or false"),
        ("modes", "float16", "'modes' must be a list"),
        ("params", "[1]", "'params' must be a mapping"),
        ("epoch", "3", "no parameter 'epoch'; did you mean 'epochs'?"),
        ("source.inner", "3", "'source' is text, not a mapping"),
        ("params..x", "3", "empty name"),
        (".x", "3", "'.x' has an empty name in it"),
        ("params", None, "'params' must be a mapping, got nothing: give a value or leave it out"),
        ("params.units.x", "3", "'units' is no mapping"),
    ],
)
def test_a_value_of_another_type_is_refused(name: str, text: str | None, message: str) -> None:
    with pytest.raises(InvalidSetting) as refusal:
        typed_values([(name, text)], DECLARED)
    assert message in str(refusal.value)


def test_later_settings_win_and_entries_add_up() -> None:
    values = typed_values([("params.units", "1"), ("params.units", "2"), ("params.layers", "3")], DECLARED)
    assert values == {"params": {"units": 2, "deep": {"a": 1}, "layers": 3}}


def test_hyphens_are_underscores() -> None:
    declared = {"model_name": Parameter(name="model_name", type="STRING")}
    assert typed_values([("model-name", "m")], declared) == {"model_name": "m"}


def test_a_missing_value_is_asked_for() -> None:
    with pytest.raises(InvalidSetting, match="--set epochs=<whole number>"):
        check_complete({}, DECLARED)


def test_a_setting_without_a_value_is_refused() -> None:
    assert split_setting("a=b=c") == ("a", "b=c")
    with pytest.raises(InvalidSetting, match="NAME=VALUE"):
        split_setting("epochs")


def test_whole_numbers_of_a_spec_are_whole_again() -> None:
    parameters = {
        "n": {"parameterType": "NUMBER_INTEGER", "defaultValue": 3.0},
        "x": {"parameterType": "NUMBER_DOUBLE", "defaultValue": 3.0},
        "d": {"parameterType": "STRUCT", "defaultValue": {"a": 1.0, "b": [2.0, 2.5]}},
        "needed": {"parameterType": "STRING"},
    }
    root = {"inputDefinitions": {"parameters": parameters}, "dag": {"tasks": {}}}
    declared = declared_parameters(parse_documents({"root": root}, {}))
    assert repr([each.default for each in declared.values()]) == "[3, 3.0, {'a': 1, 'b': [2, 2.5]}, None]"
    assert [each.is_optional for each in declared.values()] == [True, True, True, False]
