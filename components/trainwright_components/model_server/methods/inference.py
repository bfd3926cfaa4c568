"""Predict on protocol messages: check a request against its signature, run it, answer."""

from collections.abc import Iterable, Mapping
from typing import Any

from tensorflow_serving.apis import predict_pb2

from trainwright_components.model_server.methods.tensor_codec import array_of, proto_of
from trainwright_components.model_server.servable import Servable
from trainwright_components.model_server.status import Code, StatusError, invalid_argument

DEFAULT_SIGNATURE = "serving_default"
_METHODS = ("tensorflow/serving/predict", "tensorflow/serving/classify", "tensorflow/serving/regress")


def run_predict(
    model: Servable,
    request: predict_pb2.PredictRequest,
    *,
    as_tensor_content: bool = False,
    is_method_checked: bool = False,
) -> predict_pb2.PredictResponse:
    """Answer a PredictRequest; the caller fills in name and version of the response's ModelSpec.

    Args:
        model: The version that was asked.
        request: The question.
        as_tensor_content: Tensors of the answer hold raw bytes instead of typed values.
        is_method_checked: Refuse signatures of an unknown method.

    Raises:
        StatusError: The request does not fit its signature, or the computation failed.
    """
    name = request.model_spec.signature_name or DEFAULT_SIGNATURE
    signature = model.signatures.get(name)
    if signature is None:
        raise StatusError(Code.FAILED_PRECONDITION, f'Serving signature key "{name}" not found.')
    if is_method_checked:
        check_predict_method(signature)
    inputs = _input_arrays(signature, request.inputs)
    outputs = _output_aliases(signature, request.output_filter)
    values = model.run(name, inputs, outputs)
    response = predict_pb2.PredictResponse()
    response.model_spec.signature_name = name
    for alias, value in values.items():
        response.outputs[alias].CopyFrom(proto_of(value, as_tensor_content=as_tensor_content))
    return response


def check_predict_method(signature: Any) -> None:
    """Refuse a signature of a method that TensorFlow Serving does not know.

    Raises:
        StatusError: It is of such a method.
    """
    if signature.method_name not in _METHODS:
        raise StatusError(
            Code.INTERNAL,
            f"Expected prediction signature method_name to be one of {{{', '.join(_METHODS)}}}. "
            f"Was: {signature.method_name}",
        )


def _input_arrays(signature: Any, sent: Mapping[str, Any]) -> dict[str, Any]:
    expected = set(signature.inputs)
    if len(sent) > len(expected) or (len(sent) < len(expected) and not signature.defaults):
        raise invalid_argument(_size_message(set(sent), expected))
    arrays = {}
    for alias, info in signature.inputs.items():
        if alias not in sent and alias not in signature.defaults:
            raise invalid_argument(
                f"Signature input alias: {alias}(feed name: {info.name}) not found in request and no default value "
                f"provided. Inputs expected to be in the request {{{_joined(sent)}}}, or default input alias set: "
                f"{_joined(signature.defaults)}"
            )
        arrays[alias] = _array(alias, sent[alias] if alias in sent else signature.defaults[alias])
    if sent.keys() - expected:
        raise invalid_argument(
            f"Inputs contains invalid name. Used request inputs: {_joined(expected & sent.keys())}, "
            f"request input: {_joined(sent)}"
        )
    return arrays


def _array(alias: str, proto: Any) -> Any:
    try:
        return array_of(proto)
    except (KeyError, OverflowError, TypeError, ValueError) as error:
        raise invalid_argument(f"tensor parsing error: {alias}") from error


def _joined(aliases: Iterable[str]) -> str:
    return ",".join(sorted(aliases))


def _size_message(sent: set[str], expected: set[str]) -> str:
    return (
        f"input size does not match signature: {len(sent)}!={len(expected)} len({{{_joined(sent)}}}) != "
        f"len({{{_joined(expected)}}}). Sent extra: {{{_joined(sent - expected)}}}. "
        f"Missing but required: {{{_joined(expected - sent)}}}."
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
    return sorted(chosen or signature.outputs)  # one order, since each order asked for would be prepared for itself
