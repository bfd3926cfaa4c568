"""Golden requests: how answers are compared, and how much is too much."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainwright_components.saved_models.golden import GoldenRequest, _compared, read_golden_requests


def difference(expected: dict[str, Any], answer: dict[str, Any], tolerance: float = 1e-5) -> tuple[float, str]:
    request = GoldenRequest(index=1, signature_name="serving_default", inputs={}, outputs=expected, tolerance=tolerance)
    comparison = _compared(request, "REST", lambda _: answer)
    return comparison.difference, comparison.problem


@pytest.mark.parametrize(
    ("expected", "answer"),
    [
        ({"y": [1.0, 2.0]}, {"y": [1.0, 2.0]}),
        ({"y": [float("nan"), float("inf")]}, {"y": [float("nan"), float("inf")]}),
        ({"y": [1e6]}, {"y": [1e6 + 1]}),
        ({"y": []}, {"y": []}),
        ({"y": ["a", {"b64": "Yg=="}]}, {"y": [b"a", "b"]}),
        ({"y": [True]}, {"y": [True], "more": [1]}),
    ],
)
def test_answers_within_tolerance_pass(expected: dict[str, Any], answer: dict[str, Any]) -> None:
    assert difference(expected, answer)[1] == ""


@pytest.mark.parametrize(
    ("expected", "answer", "largest", "problem"),
    [
        ({"y": [1.0, 2.0]}, {"y": [1.0, 2.5]}, 0.5, "output 'y' differs by 0.5"),
        ({"y": [1.0]}, {"y": [float("nan")]}, math.inf, "output 'y' differs by inf"),
        ({"y": [float("inf")]}, {"y": [1.0]}, math.inf, "output 'y' differs by inf"),
        ({"y": [1.0]}, {"z": [1.0]}, math.inf, "output 'y' is missing; the answer has ['z']"),
        ({"y": [1.0]}, {"y": [[1.0]]}, math.inf, "output 'y' has shape (1, 1), not (1,)"),
        ({"y": ["a"]}, {"y": ["b"]}, math.inf, "output 'y' is 'b', not 'a'"),
        ({"a": [1.0], "b": [0.0]}, {"a": [2.0], "b": [5.0]}, 5.0, "output 'b' differs by 5"),
    ],
)
def test_answers_out_of_tolerance_are_described(
    expected: dict[str, Any], answer: dict[str, Any], largest: float, problem: str
) -> None:
    assert difference(expected, answer)[0] == largest
    assert problem in difference(expected, answer)[1]


def test_an_absolute_tolerance_does_not_grow_with_the_numbers(tmp_path: Path) -> None:
    line = {"inputs": {"x": [1]}, "outputs": {"y": [1e6, 0.0]}, "tolerance": 0.5}
    (tmp_path / "golden").write_text("".join(json.dumps(line | more) + "\n" for more in ({}, {"is_absolute": True})))
    proportional, absolute = read_golden_requests(tmp_path / "golden")
    answer = {"y": np.array([1e6 + 1, 0.0])}
    assert _compared(proportional, "REST", lambda _: answer).problem == ""
    assert "differs by 1, more than the tolerance 0.5" in _compared(absolute, "REST", lambda _: answer).problem
    assert _compared(absolute, "REST", lambda _: {"y": [1e6 - 0.4, 0.4]}).problem == ""


def test_a_wider_tolerance_lets_more_pass() -> None:
    assert difference({"y": [1.0]}, {"y": [1.05]}, tolerance=0.1) == (pytest.approx(0.05), "")
