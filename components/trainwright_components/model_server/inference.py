"""Predict on protocol messages: check a request against its signature, run it, answer."""

from collections.abc import Iterable, Mapping
from typing import Any

import tensorflow as tf
from tensorflow_serving.apis import predict_pb2

from trainwright_components.model_server.servable import Servable
from trainwright_components.model_server.status import Code, StatusError, invalid_argument

DEFAULT_SIGNATURE = "serving_default"


def run_predict(
    model: Servable, request: predict_pb2.PredictRequest, *, as_tensor_content: bool = False
) -> predict_pb2.PredictResponse:
    """Answer a PredictRequest; the caller fills in name and version of the response's ModelSpec.

    Raises:
        StatusError: The request does not fit its signature, or the computation failed.
    """
    name = request.model_spec.signature_name or DEFAULT_SIGNATURE
    signature = model.signatures.get(name)
    if signature is None:
        raise StatusError(Code.FAILED_PRECONDITION, f'Serving signature key "{name}" not found.')
    inputs = _input_arrays(signature, request.inputs)
    outputs = _output_aliases(signature, request.output_filter)
    values = model.run(name, inputs, outputs)
    response = predict_pb2.PredictResponse()
    response.model_spec.signature_name = name
    for alias, value in values.items():
        response.outputs[alias].CopyFrom(to_tensor_proto(value, as_tensor_content=as_tensor_content))
    return response


def to_tensor_proto(value: Any, *, as_tensor_content: bool = False) -> Any:
    """A TensorProto of an array; values go into the typed field as TensorFlow Serving sends them by default."""
    proto = tf.make_tensor_proto(value)
    if as_tensor_content or not proto.tensor_content:
        return proto
    field, convert = _VALUE_FIELDS.get(proto.dtype, ("", None))
    if not field:
        return proto
    proto.ClearField("tensor_content")
    getattr(proto, field).extend(convert(value).ravel().tolist() if convert else value.ravel().tolist())
    return proto


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


def _input_arrays(signature: Any, sent: Mapping[str, Any]) -> dict[str, Any]:
    expected = set(signature.inputs)
    filled = dict(sent)
    for alias, default in signature.defaults.items():
        filled.setdefault(alias, default)
    if set(filled) != expected:
        raise invalid_argument(_size_message(set(sent), expected))
    arrays = {}
    for alias, proto in filled.items():
        try:
            arrays[alias] = tf.make_ndarray(proto)
        except (TypeError, ValueError) as error:
            raise invalid_argument(f"tensor parsing error: {alias}") from error
    return arrays


def _size_message(sent: set[str], expected: set[str]) -> str:
    def joined(aliases: Iterable[str]) -> str:
        return "{" + ",".join(sorted(aliases)) + "}"

    return (
        f"input size does not match signature: {len(sent)}!={len(expected)} len({joined(sent)}) != "
        f"len({joined(expected)}). Sent extra: {joined(sent - expected)}. "
        f"Missing but required: {joined(expected - sent)}."
    )


def _output_aliases(signature: Any, wanted: Iterable[str]) -> list[str]:
    chosen: list[str] = []
    for alias in wanted:
        if alias not in signature.outputs:
            known = ",".join(sorted(signature.outputs))
            raise invalid_argument(
                f"output tensor alias not found in signature: {alias} Outputs expected to be in the set {{{known}}}."
            )
        if alias in chosen:
            raise invalid_argument(f"duplicate output tensor alias: {alias}")
        chosen.append(alias)
    return chosen or sorted(signature.outputs)
