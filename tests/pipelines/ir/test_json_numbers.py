"""Numbers that JSON has not, in the record."""

import json
import math
from typing import Any

import pytest

from trainwright_pipelines.ir.json_numbers import dump_json, load_json, odd_numbers

NAN, INF = math.nan, math.inf


def refuse(name: str) -> None:
    pytest.fail(f"{name} is no JSON")


@pytest.mark.parametrize(
    "value",
    [
        {"a": [1, 1.0, True, None, "x", 2**53 + 1, -0.0, 1e300]},
        [INF, -INF, {"a": {"b": (-INF,)}}],
        {"$float": "nan"},
        {"$float": [NAN]},
        {"$float": [{"$float": "inf"}], "other": INF},
        {"$$float": NAN, "$float": [1], "x$float": 1},
        ["$float", "the text $float"],
        NAN,
    ],
)
def test_every_value_comes_back_and_is_json_meanwhile(value: Any) -> None:
    text = dump_json(value)
    json.loads(text, parse_constant=refuse)
    assert repr(load_json(text)) == repr(json.loads(json.dumps(value)))
    assert repr(load_json(text.encode())) == repr(load_json(text))


def test_a_record_of_an_older_release_is_read() -> None:
    assert load_json('[Infinity, {"a": -Infinity}]') == [INF, {"a": -INF}]


def test_what_json_cannot_hold_at_all_is_an_error() -> None:
    with pytest.raises(TypeError):
        dump_json({"a": object()})


def test_odd_numbers_are_named_by_their_place() -> None:
    assert list(odd_numbers({"a": [1, NAN], "b": {"c": -INF}, "d": 1e308, "e": "NaN"}, "x")) == [
        "x.a.1 (NaN)",
        "x.b.c (-Infinity)",
    ]
