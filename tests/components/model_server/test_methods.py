"""What cases over the wire cannot see: one run for many tasks, and the check of method names."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import classification_pb2, inference_pb2, predict_pb2, regression_pb2

from trainwright_components.model_server.methods.classification import run_classify
from trainwright_components.model_server.methods.inference import run_predict
from trainwright_components.model_server.methods.multi_inference import run_multi_inference
from trainwright_components.model_server.methods.regression import run_regress
from trainwright_components.model_server.servable import OutputOf, Servable, Tensors
from trainwright_components.model_server.status import Code, StatusError

EXAMPLES = "input { example_list { examples { } examples { } } }"


def make_signature(method: str, output: str) -> Any:
    text = f'inputs {{ key: "inputs" value {{ name: "in:0" }} }} outputs {{ key: "{output}" }} method_name: "{method}"'
    return text_format.Parse(text, meta_graph_pb2.SignatureDef())


class Constant:
    """A servable that gives one number for each example and keeps count of its runs."""

    def __init__(self) -> None:
        self.signatures: Mapping[str, Any] = {
            "score": make_signature("tensorflow/serving/predict", "scores"),
            "number": make_signature("tensorflow/serving/predict", "outputs"),
            "strange": make_signature("other", "outputs"),
        }
        self.runs = 0

    def run(self, signature_name: str, inputs: Tensors, outputs: Sequence[str]) -> dict[str, Any]:
        values = self.run_together(inputs, [OutputOf(signature=signature_name, alias=alias) for alias in outputs])
        return dict(zip(outputs, values, strict=True))

    def run_together(self, inputs: Tensors, outputs: Sequence[OutputOf]) -> list[Any]:
        self.runs += 1
        count = len(inputs["inputs"])
        return [np.full((count, 1), index, np.float32) for index, _ in enumerate(outputs)]

    def is_quick(self, signature_name: str) -> bool:
        return False

    def close(self) -> None:
        """Hold nothing."""


if TYPE_CHECKING:
    _: type[Servable] = Constant


def test_all_tasks_are_computed_in_one_run() -> None:
    model = Constant()
    request = text_format.Parse(
        """
        tasks { model_spec { name: "m" signature_name: "score" } method_name: "tensorflow/serving/classify" }
        tasks { model_spec { name: "m" signature_name: "number" } method_name: "tensorflow/serving/regress" }
        """
        + EXAMPLES,
        inference_pb2.MultiInferenceRequest(),
    )
    classified, regressed = run_multi_inference(model, request).results
    assert model.runs == 1
    assert [entry.classes[0].score for entry in classified.classification_result.classifications] == [0.0, 0.0]
    assert [entry.value for entry in regressed.regression_result.regressions] == [1.0, 1.0]


@pytest.mark.parametrize(
    ("run", "request_class", "signature", "code", "message"),
    [
        (
            run_classify,
            classification_pb2.ClassificationRequest,
            "score",
            Code.INVALID_ARGUMENT,
            "Expected classification signature method_name to be tensorflow/serving/classify. "
            "Was: tensorflow/serving/predict",
        ),
        (
            run_regress,
            regression_pb2.RegressionRequest,
            "number",
            Code.INVALID_ARGUMENT,
            "Expected regression signature method_name to be tensorflow/serving/regress. "
            "Was: tensorflow/serving/predict",
        ),
        (
            run_predict,
            predict_pb2.PredictRequest,
            "strange",
            Code.INTERNAL,
            "Expected prediction signature method_name to be one of {tensorflow/serving/predict, "
            "tensorflow/serving/classify, tensorflow/serving/regress}. Was: other",
        ),
    ],
)
def test_method_names_are_checked_where_that_is_asked_for(
    run: Any, request_class: Any, signature: str, code: Code, message: str
) -> None:
    request = request_class()
    request.model_spec.signature_name = signature
    if hasattr(request, "input"):
        text_format.Merge(EXAMPLES, request)
        run(Constant(), request)
    with pytest.raises(StatusError) as refused:
        run(Constant(), request, is_method_checked=True)
    assert (refused.value.code, refused.value.message) == (code, message)


def test_outputs_are_computed_in_one_order_whatever_is_asked_for() -> None:
    model = Constant()
    for alias in "ab":
        model.signatures["number"].outputs[alias].name = alias
    request = predict_pb2.PredictRequest(output_filter=["outputs", "b", "a"])
    request.model_spec.signature_name = "number"
    request.inputs["inputs"].CopyFrom(tf.make_tensor_proto([b"x"]))
    answer = run_predict(model, request)
    assert {alias: tensor.float_val[0] for alias, tensor in answer.outputs.items()} == {
        "a": 0.0,
        "b": 1.0,
        "outputs": 2.0,
    }
