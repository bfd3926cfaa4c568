"""Text becomes values of the declared types."""

import math
import re
from pathlib import Path
from typing import Any

import pytest

from trainwright_components.errors import InvalidSetting
from trainwright_pipelines.ir.parsing import parse_documents
from trainwright_pipelines.requests.parameters import (
    Parameter,
    check_complete,
    declared_parameters,
    split_setting,
    typed_mapping,
    typed_texts,
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
        ("params", "{day: 2001-02-03}", {"day": "2001-02-03"}),
        ("params", "{on: 1, 007: 2}", {"on": 1, "007": 2}),
        ("params", "{a: &a {x: 1, y: 2}, b: {<<: *a, y: 3}}", {"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 3}}),
        (
            "params.deep",
            "{rate: 1e-3, at: 1:30, id: 010}",
            {"units": 8, "deep": {"rate": 1e-3, "at": "1:30", "id": "010"}},
        ),
        ("params.name", "!!int many", {"units": 8, "deep": {"a": 1}, "name": "!!int many"}),
        ("params.name", "[" * 5000, {"units": 8, "deep": {"a": 1}, "name": "[" * 5000}),
        ("epochs", "9007199254740993", 9_007_199_254_740_993),
    ],
)
def test_text_is_read_as_the_declared_type(name: str, text: str, value: Any) -> None:
    values = typed_texts([(name, text)], DECLARED)
    (read,) = values.values()
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("epochs", "three", "'epochs' must be an integer, got 'three'"),
        ("epochs", "2.5", "'epochs' must be an integer, got '2.5'"),
        ("epochs", "true", "integer"),
        ("rate", "fast", "'rate' must be a number"),
        ("rate", "NaN", "'rate' must be a number"),
        ("rate", "1e999", "'rate' must be a number"),
        ("deploy", "maybe", "true or false"),
        ("modes", "float16", "'modes' must be a list"),
        ("params", "[1]", "'params' must be a mapping"),
        ("epoch", "3", "no parameter 'epoch'; did you mean 'epochs'?"),
        ("source.inner", "3", "'source' is a string, not a mapping"),
        ("params..x", "3", "empty name"),
        (".x", "3", "'.x' has an empty name in it"),
        ("params.units.x", "3", "'units' is not a mapping"),
        ("epochs", "1" + "0" * 400, "'epochs' must be an integer"),
        ("epochs", "9" * 5000, "'epochs' must be an integer"),
        ("epochs", "010", "'epochs' must be an integer"),
        ("rate", "1" + "0" * 400, "'rate' must be a number"),
        ("params", "{a: 1, a: 2}", "the mapping in line 1 has 'a' twice"),
        ("params", '{"a": 1, "a": 2}', "the mapping has 'a' twice"),
        ("params", "{a: .nan}", "'params.a' must be a number, neither NaN nor infinite; got nan"),
        ("params.deep.a", "1e400", "'params.deep.a' must be a number, neither NaN nor infinite; got inf"),
        ("params.a", "&a {b: *a}", "'params.a.b' is a part of itself"),
    ],
)
def test_a_value_of_another_type_is_refused(name: str, text: str, message: str) -> None:
    with pytest.raises(InvalidSetting) as refusal:
        typed_texts([(name, text)], DECLARED)
    assert message in str(refusal.value)


@pytest.mark.parametrize(
    ("given", "values"),
    [
        (
            {"params.name": "no", "params.size": "5"},
            {"params": {"units": 8, "deep": {"a": 1}, "name": "no", "size": "5"}},
        ),
        (
            {"params": {"file": Path("x"), "shape": (1, 2), 3: None}},
            {"params": {"file": "x", "shape": [1, 2], "3": None}},
        ),
        ({"source": Path("data.csv"), "epochs": 3.0}, {"source": "data.csv", "epochs": 3}),
    ],
)
def test_values_that_have_types_keep_them(given: dict[str, Any], values: dict[str, Any]) -> None:
    assert typed_mapping(given, DECLARED) == values


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"params.units": 1, "params": {"x": 1}}, "'params.units' and 'params' are both given"),
        ({"params.deep": {}, "params.deep.a": 1}, "'params.deep' and 'params.deep.a' are both given"),
        ({"model_name": "a", "model-name": "b"}, "'model_name' and 'model-name' are both given"),
        ({5: 1}, "no parameter '5'"),
        ([1], "parameters must be a mapping, got [1]"),
        ({"params": None}, "'params' must be a mapping, got nothing: give a value or leave it out"),
        ({"source": True}, "'source' must be a string, got True; put it in quotes"),
        ({"source": 1.5}, "'source' must be a string, got 1.5; put it in quotes"),
        (
            {"params": {"a": {1, 2}}},
            "'params.a' must be a string, a number, true or false, a list or a mapping; got {1, 2}",
        ),
        ({"params": {None: 1}}, "the names in parameter 'params' must be strings, got None"),
        ({"params": {1: 1, "1": 2}}, "parameter 'params' has a name twice"),
        ({"params.a": math.inf}, "'params.a' must be a number, neither NaN nor infinite"),
    ],
)
def test_values_that_no_run_can_have_are_refused(given: Any, message: str) -> None:
    with pytest.raises(InvalidSetting, match=re.escape(message)):
        typed_mapping(given, DECLARED)


def test_later_settings_win_and_entries_add_up() -> None:
    values = typed_texts([("params.units", "1"), ("params.units", "2"), ("params.layers", "3")], DECLARED)
    assert values == {"params": {"units": 2, "deep": {"a": 1}, "layers": 3}}


def test_hyphens_are_underscores() -> None:
    declared = {"model_name": Parameter(name="model_name", type="STRING")}
    assert typed_texts([("model-name", "m")], declared) == {"model_name": "m"}


def test_a_missing_value_is_asked_for() -> None:
    with pytest.raises(InvalidSetting, match="--set epochs=<integer>"):
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
