"""What is read and written fast is what the exact ways read and write, number by number and text by text."""

import json
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow.core.protobuf import meta_graph_pb2

from trainwright_components.model_server.methods.tensor_codec import MAX_REPEATED_BYTES, array_of, proto_of
from trainwright_components.model_server.rest.json_numbers import decimal_texts, nested_text
from trainwright_components.model_server.rest.json_plain import read_plain
from trainwright_components.model_server.rest.json_request import read_exactly
from trainwright_components.model_server.rest.json_values import decimal_text
from trainwright_components.model_server.status import StatusError

TYPES = [
    *(tf.float32, tf.float64, tf.int8, tf.int16, tf.int32, tf.int64, tf.uint8, tf.uint16, tf.uint32, tf.uint64),
    *(tf.bool, tf.string),
]
LEFT_TO_THE_EXACT_WAY = (tf.uint16, tf.uint64, tf.bool, tf.string)


def make_signatures(dtype: tf.DType) -> dict[str, Any]:
    signature = meta_graph_pb2.SignatureDef()
    signature.inputs["x"].dtype = dtype.as_datatype_enum
    return {"serving_default": signature, "other": signature}


def exactly(body: bytes, signatures: dict[str, Any]) -> Any:
    try:
        return read_exactly(body, signatures)
    except StatusError as error:
        return error


def assert_same(body: bytes, dtype: tf.DType) -> bool:
    """Hold both ways of reading against each other; True if the fast one gave an answer."""
    fast = read_plain(body, make_signatures(dtype))
    if fast is None:
        return False
    slow = exactly(body, make_signatures(dtype))
    assert not isinstance(slow, StatusError), (body, slow)
    assert (fast.signature_name, fast.is_row) == (slow.signature_name, slow.is_row)
    assert fast.inputs["x"].dtype == slow.inputs["x"].dtype
    np.testing.assert_array_equal(fast.inputs["x"], slow.inputs["x"])
    np.testing.assert_array_equal(np.signbit(fast.inputs["x"]), np.signbit(slow.inputs["x"]))
    assert fast.inputs["x"].shape == slow.inputs["x"].shape, body
    return True


def random_body(rng: random.Random) -> bytes:
    kinds: list[Callable[[], Any]] = [
        lambda: rng.randint(-5, 5),
        lambda: rng.uniform(-1e3, 1e3),
        lambda: rng.choice([0, -0.0, 1e-40, 1 << 24, 16_777_217, 1 << 53, -(1 << 63), (1 << 64) - 1, 1e300]),
    ]
    numbers = rng.choice(kinds)

    def nest(shape: list[int]) -> Any:
        return [nest(shape[1:]) for _ in range(shape[0])] if shape else numbers()

    value = nest([rng.randint(1, 3) for _ in range(rng.randint(0, 4))])
    document: Any = {rng.choice(["instances", "inputs", "rows"]): rng.choice([value, {"x": value}])}
    if rng.random() < 0.3:
        document["signature_name"] = rng.choice(["other", "", "none", 3, "[1,2]"])
    text = json.dumps(document, indent=rng.choice([None, 1]), separators=rng.choice([None, (",", ":")]))
    for _ in range(rng.choice([0, 0, 1, 3])):
        at = rng.randrange(len(text))
        text = text[:at] + rng.choice(["", "[", "]", ",", "1", " ", '"', "e", "-", "true", "\ufeff"]) + text[at + 1 :]
    return text.encode()


@pytest.mark.parametrize("dtype", TYPES, ids=lambda dtype: str(dtype.name))
def test_both_ways_read_the_same_requests(dtype: tf.DType) -> None:
    rng = random.Random(dtype.as_datatype_enum)
    answered = sum(assert_same(random_body(rng), dtype) for _ in range(1_500))
    assert (answered > 10) == (dtype not in LEFT_TO_THE_EXACT_WAY)


@pytest.mark.parametrize("dtype", [tf.float32, tf.float64], ids=lambda dtype: str(dtype.name))
def test_both_ways_take_numbers_that_a_decimal_type_cannot_hold(dtype: tf.DType) -> None:
    integers = b"-0, 16777217, -16777217, 9007199254740993, -9223372036854775808, 18446744073709551615"
    decimals = b"-0.0, 1e39, -1e39, 1e300, 3.4028235677973362e38, 3.4028235677973366e38, 1e-50, 1e-400"
    for numbers in (integers, decimals, integers + b", " + decimals):
        assert assert_same(b'{"instances": [[' + numbers + b"]]}", dtype)
        assert assert_same(b'{"inputs": {"x": [' + numbers + b"]}}", dtype)


@pytest.mark.parametrize("dtype", [tf.int8, tf.int16, tf.uint8], ids=lambda dtype: str(dtype.name))
def test_both_ways_wrap_what_small_types_do_not_hold(dtype: tf.DType) -> None:
    for number in (127, 128, 255, 256, 32_768, 65_536, -1, -129, (1 << 31) - 1, -(1 << 31)):
        assert assert_same(b'{"instances": [1, %d]}' % number, dtype)
    for number in (1 << 31, -(1 << 31) - 1):
        assert not assert_same(b'{"instances": [1, %d]}' % number, dtype)


def test_pixels_of_many_images_are_read_fast() -> None:
    rows, width = 1_400_000, 2  # more lists than the exact way reads
    body = b'{"instances": [' + b",".join([b"[[200],[7]]"] * rows) + b"]}"
    assert isinstance(exactly(body, make_signatures(tf.uint8)), StatusError)
    request = read_plain(body, make_signatures(tf.uint8))
    assert request is not None
    assert request.inputs["x"].shape == (rows, width, 1)
    assert request.inputs["x"].dtype == np.uint8


@pytest.mark.parametrize(
    "body",
    [
        b'{"instances": [1], "instances": [2]}',
        b'{"instances": [1]} trailing',
        b'\xef\xbb\xbf{"instances": [1]}',
        b'{"instances": [[1], []]}',
        b'{"instances": [[], []]}',
        b'{"instances": [[1, 2], [3]]}',
        b'{"instances": [[[1, 2]], [[3], [4]]]}',
        b'{"instances": [NaN]}',
        b'{"instances": [Inf]}',
        b'{"instances": [1, "[2]"]}',
        b'{"instances": [true]}',
        b'{"instances": [null]}',
        b'{"instances": 1}',
        b'{"instances": [1], "more": [1, 2]}',
        b'{"inputs": {"x": [1], "y": [2]}}',
        b'{"instances": [1e400]}',
        b"[1]",
        b"",
    ],
)
def test_what_is_not_plain_is_left_to_the_exact_way(body: bytes) -> None:
    assert read_plain(body, make_signatures(tf.float32)) is None


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_both_ways_write_the_same_decimals(kind: Any) -> None:
    rng = np.random.default_rng(0)
    numbers = (rng.normal(size=2_000) * 10.0 ** rng.integers(-12, 12, 2_000)).astype(kind)
    edges = np.array([0, -0.0, 1e-4, 9.9999e-5, 999_999.94, 1e6, np.inf, -np.inf, np.nan, 1 / 3, 0.1, 3], kind)
    large = np.array([16_777_218, 123_456_789, 1_435_774_380], kind)
    flat = np.concatenate([numbers, edges, large, rng.integers(-1_000, 1_000, 100).astype(kind)])
    assert decimal_texts(flat) == [decimal_text(number, kind) for number in flat]


def test_both_ways_write_the_same_nests() -> None:
    array = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32) + 5
    rows = ["[" + ", ".join(decimal_texts(row)) + "]" for row in array.reshape(6, 4)]
    assert nested_text(array) == f"[[{', '.join(rows[:3])}], [{', '.join(rows[3:])}]]"
    assert nested_text(np.array([[1, -2]], np.int64)) == "[[1, -2]]"
    assert nested_text(np.array([np.nan])) is None
    assert nested_text(array.transpose()) is None


KINDS = [np.float32, np.float64, np.int32, np.int64, np.float16, np.bool_, np.uint8, np.complex64]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(), (1,), (3,), (40,), (5, 8), (0, 4)])
def test_tensors_go_both_ways_as_tensorflow_has_them(kind: Any, shape: tuple[int, ...]) -> None:
    array = (np.random.default_rng(1).normal(size=shape) * 3).astype(kind)
    for as_tensor_content in (False, True):
        proto = proto_of(array, as_tensor_content=as_tensor_content)
        assert proto.tensor_shape == tf.make_tensor_proto(array).tensor_shape
        assert proto.HasField("tensor_shape")
        np.testing.assert_array_equal(tf.make_ndarray(proto), array)
        np.testing.assert_array_equal(array_of(proto), array)
        assert array_of(proto).shape == array.shape
        assert array_of(proto).dtype == array.dtype
        assert proto.tensor_content == (array.tobytes() if as_tensor_content else proto.tensor_content)
    assert bool(proto_of(np.ones(40, np.float32)).float_val)
    assert bool(proto_of(np.ones(40, np.float32), as_tensor_content=True).tensor_content)


def test_strings_stay_in_their_field() -> None:
    proto = proto_of(np.array([b"a", b""], object), as_tensor_content=True)
    assert list(proto.string_val) == [b"a", b""]
    assert not proto.tensor_content


def test_one_value_fills_a_shape_but_not_the_memory() -> None:
    proto = tensor_pb2.TensorProto(dtype=types_pb2.DT_FLOAT, float_val=[7.0])
    proto.tensor_shape.dim.add(size=3)
    assert array_of(proto).tolist() == [7.0] * 3
    proto.tensor_shape.dim[0].size = MAX_REPEATED_BYTES
    with pytest.raises(ValueError, match="1 values do not fill shape"):
        array_of(proto)
    proto.tensor_shape.dim.add(size=1 << 62)
    with pytest.raises(ValueError, match="do not fill"):
        array_of(proto)


@pytest.mark.parametrize("sizes", [[-1], [2, -2], [5]])
def test_shapes_that_cannot_be_are_refused(sizes: list[int]) -> None:
    proto = tensor_pb2.TensorProto(dtype=types_pb2.DT_FLOAT, tensor_content=b"\0" * 16)
    for size in sizes:
        proto.tensor_shape.dim.add(size=size)
    with pytest.raises(ValueError, match=r"shape|size"):
        array_of(proto)
