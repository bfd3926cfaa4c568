"""The expressions of conditions and selectors. Expected values follow the CEL specification."""

from typing import Any

import pytest

from trainwright_components.errors import InvalidPipeline
from trainwright_pipelines.ir.expressions import evaluate, is_true

NAMES = {
    "inputs": {
        "parameter_values": {"n": 3, "x": 2.5, "s": "it's", "flag": True, "nothing": None, "items": [1, 2]},
        "artifacts": {"model": [{"properties": {"accuracy": 0.95}}]},
    }
}


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("inputs.parameter_values['n'] == 3", True),
        ("int(inputs.parameter_values['n']) > 2 && inputs.parameter_values['x'] < 3", True),
        ("inputs.parameter_values['x'] >= double(2)", True),
        ("inputs.parameter_values['s'] == 'it\\'s'", True),
        ('inputs.parameter_values["s"] == "it\'s"', True),
        ("inputs.parameter_values['flag'] == true", True),
        ("!(inputs.parameter_values['flag'] == true)", False),
        ("inputs.parameter_values['nothing'] == 'a'", False),
        ("inputs.parameter_values['nothing'] == null", True),
        ("inputs.artifacts['model'][0].properties['accuracy']*100 > 90", True),
        ("false || true && false", False),
        ("(false || true) && true", True),
        ("true ? 'a' : 'b'", "a"),
        ("1 + 2 * 3 - 4", 3),
        ("7 / 2", 3),
        ("-7 / 2", -3),
        ("-7 % 2", -1),
        ("7.0 / 2", 3.5),
        ("2 in inputs.parameter_values['items']", True),
        ("'a' in ['b', 'c']", False),
        ("size('abc') == 3", True),
        ("'abc'.startsWith('a') && 'abc'.endsWith('c') && 'abc'.contains('b')", True),
        ("'abc'.matches('^a.c$')", True),
        ("'a' < 'b'", True),
        ("1 == 1.0", True),
        ("true == 1", False),
        ("'1' == 1", False),
        ("int('3') + int('4.0')", 7),
        ("string(true)", "true"),
        ("bool('False')", False),
        ('parseJson(\'{"a": [1, {"b": "x"}]}\')[\'a\'][1].b', "x"),
        ("'tab\\tquote\\'\\u0041'", "tab\tquote'A"),
        ("r'a\\d'", "a\\d"),
        ("0x10", 16),
        ("inputs.parameter_values['s'].string_value == 'it\\'s'", True),
        ("inputs.parameter_values['n'].int_value > 2", True),
        ("1e3", 1000.0),
    ],
)
def test_expressions_have_their_values(expression: str, value: Any) -> None:
    assert evaluate(expression, NAMES) == value


def test_a_side_that_decides_stands_although_the_other_fails() -> None:
    assert is_true("missing > 1 || true", {})
    assert not is_true("!(missing == 1) && false", {})


def test_the_second_side_is_not_computed_when_the_first_decides() -> None:
    assert is_true("true || missing > 1", {})
    assert not is_true("false && missing > 1", {})


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("1 +", "its end"),
        ("1 2", "cannot be read at 2"),
        ("a == 'x' or 'a'", "cannot be read at or"),
        ("'unclosed", "cannot be read at"),
        ("__import__('os')", "no function '__import__'"),
        ("a.b", "'a' is missing"),
        ("[1][5]", "index out of range"),
        ("1 / 0", "cannot be computed"),
        ("'a' > 1", "'a' is not a number"),
        ("1 && true", "neither true nor false"),
        ("int('x')", "cannot be computed"),
        ("", "its end"),
    ],
)
def test_bad_expressions_say_what_is_wrong(expression: str, message: str) -> None:
    with pytest.raises(InvalidPipeline, match=message):
        evaluate(expression, {})


def test_a_condition_is_true_or_false_and_nothing_else() -> None:
    with pytest.raises(InvalidPipeline, match="neither true nor false but 1"):
        is_true("1", {})
