"""Numbers in JSON: what NumPy reads in one step is what the exact way reads; what is written reads back the same."""

import json
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from trainwright_components.model_server.rest.json_array import Column, plain_array, read_array
from trainwright_components.model_server.rest.json_document import parse_object
from trainwright_components.model_server.rest.json_response import write_predict
from trainwright_components.model_server.rest.json_values import decimal_text
from trainwright_components.model_server.status import StatusError

DTYPES = [tf.float32, tf.float64, tf.int32, tf.int64, tf.uint32, tf.uint64, tf.int8, tf.uint8]


def read_exactly(value: list[Any], dtype: tf.DType) -> Any:
    column = Column(dtype)
    for row in value:
        column.add(row)
    return column.array()


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.name)
@pytest.mark.parametrize("shape", [(1,), (5,), (3, 4), (2, 3, 1, 2)], ids=str)
def test_the_fast_way_reads_what_the_exact_way_reads(dtype: tf.DType, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    numbers = rng.normal(size=shape) * 100 if dtype.is_floating else rng.integers(0, 100, shape)
    value = numbers.tolist()
    fast, exact = plain_array(value, dtype), read_exactly(value, dtype)
    assert fast is not None
    assert fast.dtype == exact.dtype == dtype.as_numpy_dtype
    np.testing.assert_array_equal(fast, exact)


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        ([1, True], tf.float32),
        ([1, None], tf.float32),
        ([[1], [1, 2]], tf.float32),
        ([[1], 2], tf.float32),
        ([1.0], tf.int32),
        ([1 << 31], tf.int32),
        ([1 << 63], tf.int64),
        ([-1], tf.uint32),
        ([1 << 64], tf.uint64),
        (["1"], tf.int32),
    ],
)
def test_what_the_exact_way_refuses_the_fast_way_leaves_to_it(value: list[Any], dtype: tf.DType) -> None:
    assert plain_array(value, dtype) is None
    with pytest.raises(StatusError):
        read_array(value, dtype)


@pytest.mark.parametrize(
    ("number", "single", "double"),
    [
        (16_777_217, 16_777_216.0, 16_777_217.0),
        (1_435_774_380, 1_435_774_336.0, 1_435_774_380.0),
        ((1 << 53) + 1, 9_007_199_254_740_992.0, 9_007_199_254_740_992.0),
        (-(1 << 63), -(2.0**63), -(2.0**63)),
        ((1 << 64) - 1, 2.0**64, 2.0**64),
        (10**25, 1e25, 1e25),
        (10**300, np.inf, 1e300),
        (3.4028235677973362e38, 3.4028234663852886e38, 3.4028235677973362e38),
        (3.4028235677973366e38, np.inf, 3.4028235677973366e38),
        (-1e39, -np.inf, -1e39),
        (1e-50, 0.0, 1e-50),
    ],
)
@pytest.mark.parametrize("beside", [[], [0.5]], ids=["alone", "beside a decimal"])
def test_a_number_that_a_decimal_type_cannot_hold_becomes_the_nearest(
    number: Any, single: float, double: float, beside: list[Any]
) -> None:
    value = [number, *beside]
    for dtype, expected in ((tf.float32, np.float32(single)), (tf.float64, np.float64(double))):
        for read in (plain_array, read_exactly, read_array):
            array = read(value, dtype)
            assert array is not None
            assert array.dtype == dtype.as_numpy_dtype
            assert array[0] == expected
    assert np.signbit(read_exactly([-0.0], tf.float32)).all()


def test_a_byte_order_mark_before_the_body_is_skipped_and_counts_in_offsets() -> None:
    assert parse_object(b'\xef\xbb\xbf{"instances": [1]}') == {"instances": [1]}
    for body in (b'\xef\xbb\xbf{"instances": [x]}', b'   {"instances": [x]}'):
        with pytest.raises(StatusError, match=r"Invalid value\. at offset: 18"):
            parse_object(body)
    with pytest.raises(StatusError, match=r"Invalid value\. at offset: 3"):
        parse_object(b'\xef\xbb\xbf\xef\xbb\xbf{"instances": [1]}')


def test_the_limits_of_types_are_read() -> None:
    for dtype in (tf.int32, tf.int64, tf.uint32, tf.uint64):
        assert read_array([dtype.min, dtype.max], dtype).tolist() == [dtype.min, dtype.max]
    assert read_array([float(tf.float32.max)], tf.float32).tolist() == [float(tf.float32.max)]
    assert np.isinf(read_array([float("inf")], tf.float32)).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_numbers_written_read_back_bit_by_bit(dtype: Any) -> None:
    rng = np.random.default_rng(0)
    numbers = (rng.normal(size=500) * 10.0 ** rng.integers(-30, 30, 500)).astype(dtype)
    for part in (numbers, numbers[np.abs(numbers) < 1e6]):
        written = json.loads(write_predict({"y": part}, is_row=True))["predictions"]
        np.testing.assert_array_equal(np.array(written, dtype), part)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (3.0, "3.0"),
        (0.1, "0.1"),
        (9_000_000.0, "9e+06"),
        (0.00003, "3e-05"),
        (1_500_002.0, "1500002.0"),
        (123_456_789.0, "123456792.0"),
        (-16_777_218.0, "-16777218.0"),
        (1_435_774_380.0, "1.43577434e+09"),
        (1e25, "1e+25"),
        (float("nan"), "NaN"),
        (float("-inf"), "-Infinity"),
        (-0.0, "-0.0"),
    ],
)
def test_numbers_are_written_as_tensorflow_serving_writes_them(number: float, text: str) -> None:
    assert decimal_text(np.float32(number), np.float32) == text


def test_shapes_are_written_as_nested_lists() -> None:
    cube = np.arange(12, dtype=np.int64).reshape(2, 3, 2)
    assert json.loads(write_predict({"y": cube}, is_row=True)) == {"predictions": cube.tolist()}
    assert json.loads(write_predict({"y": np.int64(3)}, is_row=False)) == {"outputs": 3}
    empty = np.zeros((0, 4), np.float32)
    assert json.loads(write_predict({"y": empty}, is_row=False)) == {"outputs": []}
    hollow = np.zeros((2, 0), np.float32)
    assert json.loads(write_predict({"y": hollow}, is_row=False)) == {"outputs": [[], []]}
    assert json.loads(write_predict({"y": np.zeros((2, 3, 0)), "z": np.zeros(2)}, is_row=True)) == {
        "predictions": [{"y": [[], [], []], "z": 0.0}] * 2
    }


def test_rows_need_one_number_of_rows() -> None:
    with pytest.raises(StatusError, match="Tensor name: z has inconsistent batch size: 2 expecting: 3"):
        write_predict({"y": np.zeros(3), "z": np.zeros(2)}, is_row=True)


def test_types_without_a_json_form_are_refused() -> None:
    with pytest.raises(StatusError, match="Failed to write JSON value for tensor type: complex64"):
        write_predict({"y": np.zeros(3, np.complex64)}, is_row=True)


@pytest.mark.parametrize("number", [b"9" * 5000, b"9" * 310, b"1" + b"0" * 210 + b".5e99", b"1E+0309", b"-1e309"])
def test_numbers_that_no_double_holds_are_refused_as_json(number: bytes) -> None:
    with pytest.raises(StatusError, match=r"JSON Parse error: Number too big to be stored in double. at offset: 14"):
        parse_object(b'{"instances": ' + number + b"}")


def test_a_body_that_needs_care_is_read_as_any_other() -> None:
    document = {"a": ["1e400", 'Inf "Inf" \\', 1e308, -5, 10**300, {"Inf": None}], "Inf\u00e9": [True, 1e-320]}
    body = json.dumps(document)
    assert parse_object(body.encode()) == document
    assert parse_object(body[:-1].encode() + b', "more": [Inf, -Inf]} Inf') == {**document, "more": [np.inf, -np.inf]}
