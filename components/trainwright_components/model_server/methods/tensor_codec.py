"""TensorProtos to arrays and back, without a Python object per number.

A packed field of floats is the numbers' own bytes on the wire. A message with the same field numbers that calls it
`bytes` gives and takes them whole; what is not of that kind goes through TensorFlow's own conversions.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from tensorflow.core.framework import tensor_pb2, types_pb2

MAX_REPEATED_BYTES = 256 << 20
"""How large a tensor of fewer values than its shape has places may grow; they are repeated to fill it."""

_PACKED = {types_pb2.DT_FLOAT: ("float_val", "<f4"), types_pb2.DT_DOUBLE: ("double_val", "<f8")}
_FIELD_NUMBERS = {"float_val": 5, "double_val": 6}
_CONTENT_FIELD = 4
_WORTH_IT = 4  # numbers from which the detour through bytes is the shorter way


def _raw_tensor() -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="trainwright/RawTensor.proto", syntax="proto3")
    message = file.message_type.add(name="RawTensor")
    field = descriptor_pb2.FieldDescriptorProto
    for name, number in _FIELD_NUMBERS.items():
        message.field.add(name=name, number=number, type=field.TYPE_BYTES, label=field.LABEL_REPEATED)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("RawTensor"))


_RawTensor = _raw_tensor()


def array_of(proto: Any) -> Any:
    """The array of a TensorProto; strings as an object array of bytes.

    Raises:
        ValueError: Values and shape do not go together.
        TypeError: The type has no arrays.
    """
    if proto.tensor_shape.unknown_rank:
        raise ValueError("a tensor needs a shape")
    shape = tuple(dim.size for dim in proto.tensor_shape.dim)
    if any(size < 0 for size in shape):
        raise ValueError(f"shape {shape} has a negative size")
    count = math.prod(shape)
    packed = _PACKED.get(proto.dtype)
    if packed is not None and not proto.tensor_content and len(getattr(proto, packed[0])) == count >= _WORTH_IT:
        name, kind = packed
        chunks = getattr(_RawTensor.FromString(proto.SerializeToString()), name)
        return np.frombuffer(chunks[0] if len(chunks) == 1 else b"".join(chunks), kind).reshape(shape)
    dtype = tf.as_dtype(proto.dtype)
    if proto.tensor_content and dtype != tf.string:
        return np.frombuffer(proto.tensor_content, dtype.as_numpy_dtype).reshape(shape)
    if count > _values(proto) and count * max(1, dtype.size or 1) > MAX_REPEATED_BYTES:
        raise ValueError(f"{_values(proto)} values do not fill shape {shape}")
    return tf.make_ndarray(proto)


def proto_of(value: Any, *, as_tensor_content: bool = False) -> Any:
    """A TensorProto of an array; values go into the typed field as TensorFlow Serving sends them by default.

    Args:
        value: What `numpy.asarray` takes; strings as an object array of bytes.
        as_tensor_content: Raw bytes instead, but for strings: TensorFlow's Python clients read those from their field.
    """
    array = np.asarray(value)
    packed = _PACKED_BY_KIND.get(array.dtype.str)
    if as_tensor_content and array.dtype.kind not in "OSU":
        dtype = tf.as_dtype(array.dtype).as_datatype_enum if packed is None else packed[0]
        return _proto_of_bytes(dtype, _CONTENT_FIELD, array)
    if packed is not None and array.size:
        dtype, name = packed
        return _proto_of_bytes(dtype, _FIELD_NUMBERS[name], array)
    return _proto_by_tensorflow(value)


_PACKED_BY_KIND = {kind: (dtype, name) for dtype, (name, kind) in _PACKED.items()}


def _proto_of_bytes(dtype: int, field_number: int, array: Any) -> Any:
    proto = tensor_pb2.TensorProto(dtype=dtype)
    proto.tensor_shape.SetInParent()  # a scalar's shape is there and empty
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    if array.size:
        proto.MergeFromString(_length_delimited(field_number, array.tobytes()))
    return proto


def _length_delimited(number: int, content: bytes) -> bytes:
    """A field of bytes, or of packed numbers, as the wire has it."""
    head, size = bytearray([number << 3 | 2]), len(content)
    while size > 0x7F:
        head.append(size & 0x7F | 0x80)
        size >>= 7
    head.append(size)
    return bytes(head) + content


def _proto_by_tensorflow(value: Any) -> Any:
    proto = tf.make_tensor_proto(value)
    if not proto.tensor_content:
        return proto
    field, convert = _VALUE_FIELDS.get(proto.dtype, ("", None))
    if not field:
        return proto
    proto.ClearField("tensor_content")
    getattr(proto, field).extend(convert(value).ravel().tolist() if convert else value.ravel().tolist())
    return proto


def _values(proto: Any) -> int:
    return sum(len(values) for field, values in proto.ListFields() if field.name.endswith("_val"))


def _bits_of_half(value: Any) -> Any:
    return value.view("uint16")


_VALUE_FIELDS: Mapping[int, tuple[str, Any]] = {
    tf.float32.as_datatype_enum: ("float_val", None),
    tf.float64.as_datatype_enum: ("double_val", None),
    tf.int64.as_datatype_enum: ("int64_val", None),
    tf.uint32.as_datatype_enum: ("uint32_val", None),
    tf.uint64.as_datatype_enum: ("uint64_val", None),
    tf.bool.as_datatype_enum: ("bool_val", None),
    tf.float16.as_datatype_enum: ("half_val", _bits_of_half),
    tf.bfloat16.as_datatype_enum: ("half_val", _bits_of_half),
    **{dtype.as_datatype_enum: ("int_val", None) for dtype in (tf.int8, tf.int16, tf.int32, tf.uint8, tf.uint16)},
}
