"""The questions of PredictionService, answered from one core; knows messages, not how they travel."""

from typing import Any

from tensorflow_serving.apis import (
    classification_pb2,
    inference_pb2,
    model_pb2,
    predict_pb2,
    regression_pb2,
)

from trainwright_components.model_server.core.server_core import ServerCore
from trainwright_components.model_server.manager.manager import ServableHandle
from trainwright_components.model_server.methods.classification import run_classify
from trainwright_components.model_server.methods.examples import count_examples
from trainwright_components.model_server.methods.inference import check_predict_method, run_predict
from trainwright_components.model_server.methods.multi_inference import run_multi_inference
from trainwright_components.model_server.methods.regression import run_regress
from trainwright_components.model_server.methods.tensor_codec import proto_of
from trainwright_components.model_server.metrics import ServingMetrics
from trainwright_components.model_server.servable import Tensors
from trainwright_components.model_server.status import invalid_argument


class Predictor:
    """Answers requests; every method raises StatusError where a request cannot be answered.

    Args:
        core: Where models are looked up.
        as_tensor_content: Tensors of answers hold raw bytes instead of typed values.
        is_method_checked: Signatures must name the method they are asked by.
        metrics: Counts examples.
    """

    def __init__(
        self,
        core: ServerCore,
        *,
        as_tensor_content: bool = False,
        is_method_checked: bool = False,
        metrics: ServingMetrics | None = None,
    ) -> None:
        self.core = core
        self.metrics = metrics or ServingMetrics()
        self._as_tensor_content = as_tensor_content
        self._is_method_checked = is_method_checked

    def check_method(self, signature: Any) -> None:
        """Refuse a signature that Predict must not run."""
        if self._is_method_checked:
            check_predict_method(signature)

    def predict(self, request: predict_pb2.PredictRequest) -> predict_pb2.PredictResponse:
        """Run a signature."""
        with self._handle(request) as handle:
            response = run_predict(
                handle.servable,
                request,
                as_tensor_content=self._as_tensor_content,
                is_method_checked=self._is_method_checked,
            )
            _name(response.model_spec, handle)
            self._log(handle, request, response)
        return response

    def classify(self, request: classification_pb2.ClassificationRequest) -> classification_pb2.ClassificationResponse:
        """Classify examples."""
        with self._handle(request) as handle:
            response = run_classify(handle.servable, request, is_method_checked=self._is_method_checked)
            _name(response.model_spec, handle)
            self._count_examples(handle, len(response.result.classifications))
            self._log(handle, request, response)
        return response

    def regress(self, request: regression_pb2.RegressionRequest) -> regression_pb2.RegressionResponse:
        """Do regression on examples."""
        with self._handle(request) as handle:
            response = run_regress(handle.servable, request, is_method_checked=self._is_method_checked)
            _name(response.model_spec, handle)
            self._count_examples(handle, len(response.result.regressions))
            self._log(handle, request, response)
        return response

    def multi_inference(self, request: inference_pb2.MultiInferenceRequest) -> inference_pb2.MultiInferenceResponse:
        """Do several classifications and regressions of the same examples; the first task names the version."""
        spec = request.tasks[0].model_spec if request.tasks else model_pb2.ModelSpec()
        with self.core.handle(spec) as handle:
            response = run_multi_inference(handle.servable, request, is_method_checked=self._is_method_checked)
            for result in response.results:
                _name(result.model_spec, handle)
            self._count_examples(handle, count_examples(request.input))
            self._log(handle, request, response)
        return response

    def log_tensors(self, handle: ServableHandle, signature_name: str, inputs: Tensors, outputs: Tensors) -> None:
        """Write down a Predict that did not come as a message, if it is one to write down."""
        if not self.core.request_log.wants(handle.id.name):
            return
        request, response = predict_pb2.PredictRequest(), predict_pb2.PredictResponse()
        for spec in (request.model_spec, response.model_spec):
            _name(spec, handle)
            spec.signature_name = signature_name
        for alias, value in inputs.items():
            request.inputs[alias].CopyFrom(proto_of(value))
        for alias, value in outputs.items():
            response.outputs[alias].CopyFrom(proto_of(value))
        self.core.request_log.add(handle.id.name, request, response)

    def _count_examples(self, handle: ServableHandle, count: int) -> None:
        self.metrics.example_counts.add(handle.id.name, value=count)
        self.metrics.example_count_total.add(handle.id.name, count=count)

    def _log(self, handle: ServableHandle, request: Any, response: Any) -> None:
        log = self.core.request_log
        if log.wants(handle.id.name):
            log.add(handle.id.name, request, response)

    def _handle(
        self,
        request: predict_pb2.PredictRequest
        | classification_pb2.ClassificationRequest
        | regression_pb2.RegressionRequest,
    ) -> ServableHandle:
        if not request.HasField("model_spec"):
            raise invalid_argument("Missing ModelSpec")
        return self.core.handle(request.model_spec)


def _name(spec: model_pb2.ModelSpec, handle: ServableHandle) -> None:
    spec.name = handle.id.name
    spec.version.value = handle.id.version
