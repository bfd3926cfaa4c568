"""Float32 in the fewest digits, against NumPy's own shortest text."""

import numpy as np
import pytest

from trainwright_components.model_server.operation.client import jsonable
from trainwright_components.short_floats import plain_list


def test_numbers_are_those_that_were_meant() -> None:
    numbers = [125.4, 0.1, -3.3, 16777216, 0, 1e-6]
    assert plain_list(np.array(numbers, np.float32)) == numbers


def test_digits_are_those_of_numpys_shortest_text() -> None:
    random = np.random.default_rng(0)
    values = (random.standard_normal(20_000) * 10.0 ** random.integers(-7, 9, 20_000)).astype(np.float32)
    wanted = values.astype("U32").astype(np.float64).tolist()
    assert [repr(value) for value in plain_list(values)] == [repr(value) for value in wanted]


def test_nothing_changes_but_the_digits() -> None:
    extremes = np.array([1e-45, 1e-30, 3.4028235e38, np.inf, -np.inf, np.nan, -0.0], np.float32)
    assert np.array_equal(np.array(plain_list(extremes), np.float32), extremes, equal_nan=True)


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        (np.array([[0.1], [0.2]], np.float32), [[0.1], [0.2]]),
        (np.zeros((0, 3), np.float32), []),
        (np.float32(0.1), 0.1),
        (np.array([0.1, 1 / 3]), [0.1, 1 / 3]),
        (np.arange(2), [0, 1]),
        (np.array(["a"]), ["a"]),
    ],
)
def test_shapes_and_other_types_stay(values: np.ndarray, wanted: object) -> None:
    assert plain_list(values) == wanted


def test_requests_carry_short_numbers() -> None:
    assert jsonable({"x": np.array([0.1], np.float32), "y": np.float32(125.4), "z": [b"a"]}) == {
        "x": [0.1],
        "y": 125.4,
        "z": [{"b64": "YQ=="}],
    }
