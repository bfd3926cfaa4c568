"""gRPC as clients see it: the published stubs, messages, error texts and codes of TensorFlow Serving."""

from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2, predict_pb2


def make_request(inputs: dict[str, Any], signature: str = "", model: str = "linear") -> Any:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    request.model_spec.signature_name = signature
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return request


def refusal(call: Any, request: Any) -> tuple[Any, str]:
    with pytest.raises(grpc.RpcError) as refused:
        call(request, timeout=20)
    return refused.value.code(), refused.value.details()


def test_predict_answers_what_the_saved_model_answers(server: Any, half: Path) -> None:
    values = np.random.default_rng(0).normal(size=(3, 2, 2))
    expected = tf.saved_model.load(str(half)).signatures["matrix"](m=tf.constant(values))["squared"].numpy()
    answer = server.prediction.Predict(make_request({"m": values}, "matrix"), timeout=20)
    np.testing.assert_array_equal(tf.make_ndarray(answer.outputs["squared"]), expected)


def test_predict_says_which_version_and_signature_answered(server: Any) -> None:
    spec = server.prediction.Predict(make_request({"x": [1.0]}), timeout=20).model_spec
    assert (spec.name, spec.version.value, spec.signature_name) == ("linear", 123, "serving_default")


def test_values_come_in_typed_fields(server: Any) -> None:
    answer = server.prediction.Predict(make_request({"x": [1.0, 2.0]}), timeout=20)
    assert list(answer.outputs["y"].float_val) == [2.5, 3.0]
    assert not answer.outputs["y"].tensor_content


def test_every_type_comes_back_as_itself(server: Any) -> None:
    inputs = {
        "i32": np.array([-2, 5], np.int32),
        "i64": np.array([1 << 60, 0], np.int64),
        "u8": np.array([1, 254], np.uint8),
        "flag": np.array([True, False]),
    }
    outputs = server.prediction.Predict(make_request(inputs, "integers"), timeout=20).outputs
    for name, expected in {"i32": [-1, 6], "i64": [(1 << 60) + 1, 1], "u8": [2, 255], "flag": [False, True]}.items():
        array = tf.make_ndarray(outputs[name])
        assert array.tolist() == expected
        assert array.dtype == inputs[name].dtype


def test_one_value_stands_for_a_whole_shape(server: Any) -> None:
    request = make_request({"x": [4.0]})
    request.inputs["x"].tensor_shape.dim[0].size = 3
    answer = server.prediction.Predict(request, timeout=20)
    assert list(answer.outputs["y"].float_val) == [4.0, 4.0, 4.0]


def test_output_filter_chooses_outputs(server: Any) -> None:
    request = make_request({"a": [[1.0, 2.0]], "text": [b"ab"]}, "named")
    request.output_filter.append("upper")
    outputs = server.prediction.Predict(request, timeout=20).outputs
    assert set(outputs) == {"upper"}
    assert list(outputs["upper"].string_val) == [b"AB"]


def test_a_request_that_does_not_fit_is_told_what_is_wrong(server: Any) -> None:
    predict = server.prediction.Predict
    assert refusal(predict, make_request({"x": [1.0], "q": [1.0]})) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "input size does not match signature: 2!=1 len({q,x}) != len({x}). Sent extra: {q}. Missing but required: {}.",
    )
    code, text = refusal(predict, make_request({"x": [1]}))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert "int32" in text
    assert refusal(predict, make_request({"x": [1.0]}, "nope")) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        'Serving signature key "nope" not found.',
    )
    broken = make_request({"x": [1.0]})
    broken.inputs["x"].tensor_content = b"abc"
    assert refusal(predict, broken) == (grpc.StatusCode.INVALID_ARGUMENT, "tensor parsing error: x")


def test_a_filter_that_does_not_fit_is_told_what_is_wrong(server: Any) -> None:
    request = make_request({"x": [1.0]})
    request.output_filter.extend(["y", "y"])
    assert refusal(server.prediction.Predict, request)[1] == "duplicate output tensor alias: y"
    request.output_filter[1] = "z"
    assert refusal(server.prediction.Predict, request)[1] == (
        "output tensor alias not found in signature: z Outputs expected to be in the set {y}."
    )


def test_what_is_not_there_is_named(server: Any) -> None:
    predict = server.prediction.Predict
    assert refusal(predict, predict_pb2.PredictRequest()) == (grpc.StatusCode.INVALID_ARGUMENT, "Missing ModelSpec")
    assert refusal(predict, make_request({}, model="none")) == (
        grpc.StatusCode.NOT_FOUND,
        "Servable not found for request: Latest(none)",
    )
    other_version = make_request({})
    other_version.model_spec.version.value = 5
    assert refusal(predict, other_version)[1] == "Servable not found for request: Specific(linear, 5)"
    nameless = make_request({}, "serving_default", model="")
    assert refusal(predict, nameless)[1] == "ModelSpec has no name specified."


def test_a_long_error_is_cut(server: Any) -> None:
    text = refusal(server.prediction.Predict, make_request({"x" * 5000: [1.0], "y": [1.0]}))[1]
    assert text.endswith("...TRUNCATED")
    assert len(text) <= 1024 + len("...TRUNCATED")


def test_status_and_metadata_come_over_grpc(server: Any) -> None:
    status = get_model_status_pb2.GetModelStatusRequest()
    status.model_spec.name = "linear"
    (version,) = server.models.GetModelStatus(status, timeout=20).model_version_status
    assert (version.version, version.state) == (123, get_model_status_pb2.ModelVersionStatus.AVAILABLE)
    metadata = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    metadata.model_spec.name = "linear"
    answer = server.prediction.GetModelMetadata(metadata, timeout=20)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert answer.metadata["signature_def"].Unpack(signatures)
    assert {"serving_default", "named"} <= set(signatures.signature_def)
    metadata.metadata_field[0] = "other"
    assert refusal(server.prediction.GetModelMetadata, metadata)[0] == grpc.StatusCode.INVALID_ARGUMENT
