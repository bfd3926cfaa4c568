"""gRPC against TensorFlow itself; the API's rules are in `conformance`."""

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2


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
