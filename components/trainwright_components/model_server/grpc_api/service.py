"""The gRPC API: PredictionService and ModelService of TensorFlow Serving over one core."""

import logging
import time
from collections.abc import Callable
from typing import NoReturn, TypeVar

import grpc
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from trainwright_components.model_server.core.metadata import get_model_metadata, get_model_status
from trainwright_components.model_server.core.predictor import Predictor
from trainwright_components.model_server.core.server_core import ServerCore
from trainwright_components.model_server.metrics import ServingMetrics
from trainwright_components.model_server.request_context import computing
from trainwright_components.model_server.status import Code, StatusError, invalid_argument, truncated

# ruff: noqa: N802  # the published stubs name the methods

logger = logging.getLogger(__name__)

_GRPC_CODES = {code.value[0]: code for code in grpc.StatusCode}
_Answer = TypeVar("_Answer")


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):  # type: ignore[misc]  # untyped stubs
    """Predict, Classify, Regress, MultiInference and GetModelMetadata."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor

    def Predict(
        self, request: predict_pb2.PredictRequest, context: grpc.ServicerContext
    ) -> predict_pb2.PredictResponse:
        """Run a signature."""
        return self._answered("Predict", request.model_spec.name, context, lambda: self._predictor.predict(request))

    def Classify(
        self, request: classification_pb2.ClassificationRequest, context: grpc.ServicerContext
    ) -> classification_pb2.ClassificationResponse:
        """Classify examples."""
        return self._answered("Classify", request.model_spec.name, context, lambda: self._predictor.classify(request))

    def Regress(
        self, request: regression_pb2.RegressionRequest, context: grpc.ServicerContext
    ) -> regression_pb2.RegressionResponse:
        """Do regression on examples."""
        return self._answered("Regress", request.model_spec.name, context, lambda: self._predictor.regress(request))

    def MultiInference(
        self, request: inference_pb2.MultiInferenceRequest, context: grpc.ServicerContext
    ) -> inference_pb2.MultiInferenceResponse:
        """Do several classifications and regressions of the same examples."""
        name = request.tasks[0].model_spec.name if request.tasks else ""
        return self._answered("MultiInference", name, context, lambda: self._predictor.multi_inference(request))

    def GetModelMetadata(
        self, request: get_model_metadata_pb2.GetModelMetadataRequest, context: grpc.ServicerContext
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        """Signatures of a version."""
        return self._answered(
            "GetModelMetadata",
            request.model_spec.name,
            context,
            lambda: get_model_metadata(self._predictor.core, request),
        )

    def _answered(self, api: str, model: str, context: grpc.ServicerContext, compute: Callable[[], _Answer]) -> _Answer:
        started, code = time.perf_counter(), Code.OK
        try:
            with computing(api, context.time_remaining()):
                return compute()
        except StatusError as error:
            code = error.code
            return _refused(context, error)
        except Exception as error:
            code = Code.INTERNAL
            return _failed(context, error)
        finally:
            self._predictor.metrics.request_done(model, api, "GRPC", code.name, time.perf_counter() - started)


class ModelService(model_service_pb2_grpc.ModelServiceServicer):  # type: ignore[misc]  # untyped stubs
    """GetModelStatus and HandleReloadConfigRequest."""

    def __init__(self, core: ServerCore, metrics: ServingMetrics, *, may_reload: bool = True) -> None:
        self._core = core
        self._metrics = metrics
        self._may_reload = may_reload

    def GetModelStatus(
        self, request: get_model_status_pb2.GetModelStatusRequest, context: grpc.ServicerContext
    ) -> get_model_status_pb2.GetModelStatusResponse:
        """States of versions."""
        return _answered(context, lambda: get_model_status(self._core, request))

    def HandleReloadConfigRequest(
        self, request: model_management_pb2.ReloadConfigRequest, context: grpc.ServicerContext
    ) -> model_management_pb2.ReloadConfigResponse:
        """Put another configuration into effect; answers when its models do."""
        return _answered(context, lambda: self._reload(request))

    def _reload(self, request: model_management_pb2.ReloadConfigRequest) -> model_management_pb2.ReloadConfigResponse:
        response = model_management_pb2.ReloadConfigResponse()
        if not self._may_reload:
            raise StatusError(
                Code.FAILED_PRECONDITION,
                "This server has several workers, of which a reload would reach one: change the file of "
                "--model_config_file, which all of them poll with --model_config_file_poll_wait_seconds",
            )
        if request.config.WhichOneof("config") != "model_config_list":
            raise invalid_argument(
                "ServerModelConfig type not supported by HandleReloadConfigRequest. "
                "Only ModelConfigList is currently supported"
            )
        before = self._metrics.totals(request.metric_names)
        self._core.reload(request.config)
        for name, total in self._metrics.totals(request.metric_names).items():
            response.metric.add(name=name, int64_value_increase=total - before[name])
        response.status.error_code = Code.OK.value
        return response


def _answered(context: grpc.ServicerContext, compute: Callable[[], _Answer]) -> _Answer:
    try:
        return compute()
    except StatusError as error:
        return _refused(context, error)
    except Exception as error:
        return _failed(context, error)


def _refused(context: grpc.ServicerContext, error: StatusError) -> NoReturn:
    context.abort(_GRPC_CODES[error.code.value], truncated(error.message))
    raise AssertionError("context.abort always raises")


def _failed(context: grpc.ServicerContext, error: Exception) -> NoReturn:
    logger.exception("a gRPC request failed")
    context.abort(grpc.StatusCode.INTERNAL, truncated(f"{type(error).__name__}: {error}"))
    raise AssertionError("context.abort always raises")
