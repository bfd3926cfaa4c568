"""gRPC against TensorFlow itself; the API's rules are in `conformance`."""

import time
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2

from trainwright_components.model_server.models.saved_model import SavedModel
from trainwright_components.model_server.request_context import computing
from trainwright_components.model_server.status import Code, StatusError


def make_request(inputs: dict[str, Any], signature: str = "", model: str = "linear") -> Any:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    request.model_spec.signature_name = signature
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return request


def test_predict_answers_what_the_saved_model_answers(server: Any, half: Path) -> None:
    values = np.random.default_rng(0).normal(size=(3, 2, 2))
    expected = tf.saved_model.load(str(half)).signatures["matrix"](m=tf.constant(values))["squared"].numpy()
    answer = server.prediction.Predict(make_request({"m": values}, "matrix"), timeout=20)
    np.testing.assert_array_equal(tf.make_ndarray(answer.outputs["squared"]), expected)


def test_a_run_ends_with_its_deadline(server: Any, half: Path) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        server.prediction.Predict(make_request({"seconds": np.array([30.0])}, "slow"), timeout=1)
    assert refused.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    model = SavedModel(half)
    started = time.monotonic()
    with computing("Predict", 0.1), pytest.raises(StatusError, match="Timed out waiting for notification") as over:
        model.run("slow", {"seconds": np.array([30.0])}, ["turns"])
    assert time.monotonic() - started < 25
    assert over.value.code is Code.DEADLINE_EXCEEDED
    with computing("Predict", 0.0), pytest.raises(StatusError, match="Timed out waiting"):
        model.run("slow", {"seconds": np.array([0.0])}, ["turns"])
    model.close()
