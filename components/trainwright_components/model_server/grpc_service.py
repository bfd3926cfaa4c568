"""The gRPC API: PredictionService and ModelService of TensorFlow Serving over one core."""

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import grpc
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from trainwright_components.model_server.core import ServerCore
from trainwright_components.model_server.inference import run_predict
from trainwright_components.model_server.metadata import get_model_metadata, get_model_status
from trainwright_components.model_server.status import Code, StatusError, invalid_argument, truncated

logger = logging.getLogger(__name__)

_GRPC_CODES = {code.value[0]: code for code in grpc.StatusCode}
_Answer = TypeVar("_Answer")


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):  # type: ignore[misc]  # untyped stubs
    """Predict and GetModelMetadata; the other methods answer UNIMPLEMENTED."""

    def __init__(self, core: ServerCore, *, as_tensor_content: bool = False) -> None:
        self._core = core
        self._as_tensor_content = as_tensor_content

    def Predict(  # noqa: N802  # the published stubs name it so
        self, request: predict_pb2.PredictRequest, context: grpc.ServicerContext
    ) -> predict_pb2.PredictResponse:
        """Run a signature."""
        return _answered(context, lambda: self._predict(request))

    def GetModelMetadata(  # noqa: N802  # the published stubs name it so
        self, request: get_model_metadata_pb2.GetModelMetadataRequest, context: grpc.ServicerContext
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        """Signatures of a version."""
        return _answered(context, lambda: get_model_metadata(self._core, request))

    def _predict(self, request: predict_pb2.PredictRequest) -> predict_pb2.PredictResponse:
        if not request.HasField("model_spec"):
            raise invalid_argument("Missing ModelSpec")
        with self._core.handle(request.model_spec) as handle:
            response = run_predict(handle.servable, request, as_tensor_content=self._as_tensor_content)
            response.model_spec.name = handle.id.name
            response.model_spec.version.value = handle.id.version
        return response


class ModelService(model_service_pb2_grpc.ModelServiceServicer):  # type: ignore[misc]  # untyped stubs
    """GetModelStatus and HandleReloadConfigRequest."""

    def __init__(self, core: ServerCore) -> None:
        self._core = core

    def GetModelStatus(  # noqa: N802  # the published stubs name it so
        self, request: get_model_status_pb2.GetModelStatusRequest, context: grpc.ServicerContext
    ) -> get_model_status_pb2.GetModelStatusResponse:
        """States of versions."""
        return _answered(context, lambda: get_model_status(self._core, request))

    def HandleReloadConfigRequest(  # noqa: N802  # the published stubs name it so
        self, request: model_management_pb2.ReloadConfigRequest, context: grpc.ServicerContext
    ) -> model_management_pb2.ReloadConfigResponse:
        """Put another configuration into effect; answers when its models do."""
        return _answered(context, lambda: self._reload(request))

    def _reload(self, request: model_management_pb2.ReloadConfigRequest) -> model_management_pb2.ReloadConfigResponse:
        response = model_management_pb2.ReloadConfigResponse()
        if request.config.WhichOneof("config") != "model_config_list":
            raise invalid_argument("ServerModelConfig type not supported by HandleReloadConfigRequest.")
        self._core.reload(request.config)
        response.status.error_code = Code.OK.value
        return response


def make_server(
    core: ServerCore,
    *,
    address: str,
    threads: int,
    as_tensor_content: bool = False,
) -> Any:
    """A gRPC server bound to `address`, not yet started.

    Raises:
        OSError: The address cannot be bound.
    """
    server = grpc.server(
        ThreadPoolExecutor(threads, thread_name_prefix="grpc"),
        options=[
            ("grpc.max_receive_message_length", -1),
            ("grpc.max_send_message_length", -1),
            ("grpc.so_reuseport", 0),  # a taken port must be an error, not a share
        ],
    )
    service = PredictionService(core, as_tensor_content=as_tensor_content)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(service, server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(ModelService(core), server)
    try:
        port = server.add_insecure_port(address)
    except RuntimeError as error:
        raise OSError(f"cannot listen on {address}: {error}") from error
    if not port:
        raise OSError(f"cannot listen on {address}")
    return server


def _answered(context: grpc.ServicerContext, compute: Callable[[], _Answer]) -> _Answer:
    try:
        return compute()
    except StatusError as error:
        context.abort(_GRPC_CODES[error.code.value], truncated(error.message))
    except Exception as error:
        logger.exception("a gRPC request failed")
        context.abort(grpc.StatusCode.INTERNAL, truncated(f"{type(error).__name__}: {error}"))
    raise AssertionError("context.abort always raises")
