"""One serving process put together from flags: core, REST, gRPC, and the poller of the model config file."""

import asyncio
import logging
import signal
import socket
import threading
from pathlib import Path
from typing import Any

import tensorflow as tf

from trainwright_components.model_server.api_key import read_api_key
from trainwright_components.model_server.batching.setup import Batching
from trainwright_components.model_server.core.model_config import read_config_file, single_model_config
from trainwright_components.model_server.core.predictor import Predictor
from trainwright_components.model_server.core.request_log import RequestLog
from trainwright_components.model_server.core.server_core import ServerCore
from trainwright_components.model_server.flags import DEFAULT_THREADS, Flags
from trainwright_components.model_server.grpc_api.server import GrpcServer, GrpcSettings
from trainwright_components.model_server.http.connections import ConnectionLimits, connections_that_files_allow
from trainwright_components.model_server.http.server import serve_http
from trainwright_components.model_server.manager.manager import DEFAULT_LOAD_THREADS, Manager
from trainwright_components.model_server.manager.transition_policy import AvailabilityPreserving, ResourcePreserving
from trainwright_components.model_server.metrics import ServingMetrics
from trainwright_components.model_server.models.loader import SavedModelLoader
from trainwright_components.model_server.models.memory import give_back_memory
from trainwright_components.model_server.models.op_libraries import load_op_libraries
from trainwright_components.model_server.rest.api import RestApi
from trainwright_components.model_server.rest.operator_pages import metrics_pages, operator_pages
from trainwright_components.model_server.rest.tls import read_ssl_context
from trainwright_components.model_server.rest.transport import RestTransport
from trainwright_components.model_server.status import StatusError
from trainwright_components.model_server.text_protos import MonitoringConfig, read_text_proto
from trainwright_components.storage.addresses import is_remote

logger = logging.getLogger(__name__)

DRAIN_S = 10


class ModelServer:
    """Serves what its flags say.

    Args:
        flags: Checked flags.

    Raises:
        StatusError: The model config file cannot be read.
    """

    def __init__(self, flags: Flags) -> None:
        self._flags = flags
        self._is_closing = threading.Event()
        self._grpc_server: GrpcServer | None = None
        self._rest_socket: socket.socket | None = None
        self._config_file = Path(flags.model_config_file) if flags.model_config_file else None
        self._config = configuration_of(flags)
        self._api_key = read_api_key(flags.api_key, flags.api_key_file)
        self._ssl = read_ssl_context(Path(flags.rest_api_ssl_config_file)) if flags.rest_api_ssl_config_file else None
        self._monitoring = MonitoringConfig()
        if flags.monitoring_config_file:
            read_text_proto(Path(flags.monitoring_config_file), self._monitoring)
        load_op_libraries(filter(None, flags.custom_op_libraries.split(",")))
        self._metrics = ServingMetrics()
        self._batching = _batching(flags, self._metrics)
        manager = Manager(
            SavedModelLoader(
                tags=flags.saved_model_tags.split(","),
                session_config=_session_config(flags),
                batching=self._batching,
                is_warmup_enabled=flags.enable_model_warmup,
                num_warmup_iterations=flags.num_request_iterations_for_warmup or 1,
                is_warmup_made_up=flags.make_up_warmup,
                tflite_interpreters=_tflite_interpreters(flags),
                metrics=self._metrics,
            ),
            policy=ResourcePreserving() if flags.resource_preserving else AvailabilityPreserving(),
            load_threads=flags.num_load_threads or DEFAULT_LOAD_THREADS,
            unload_threads=flags.num_unload_threads or DEFAULT_LOAD_THREADS,
            max_load_retries=flags.max_num_load_retries,
            retry_interval_s=max(0.0, flags.load_retry_interval_micros / 1e6),
            after_unload=give_back_memory,
        )
        self._core = ServerCore(
            manager,
            poll_wait_s=flags.file_system_poll_wait_seconds,
            may_label_unavailable=flags.allow_version_labels_for_unavailable_models,
            request_log=RequestLog(self._metrics.request_log_count.add),
        )
        self._predictor = Predictor(
            self._core,
            as_tensor_content=flags.enable_serialization_as_tensor_content,
            is_method_checked=flags.enable_signature_method_name_check,
            metrics=self._metrics,
        )

    def load_models(self) -> None:
        """Put the first configuration into effect, and wait until each model answers or, if that may be, has failed.

        Raises:
            StatusError: The configuration is refused, or a model cannot be loaded.
        """
        self._core.reload(self._config, is_waiting=self._flags.require_models)
        if not self._flags.require_models:
            self._core.manager.wait_until_idle()

    def open_ports(self) -> None:
        """Take the ports that the flags name.

        Raises:
            OSError: A port cannot be had.
        """
        flags = self._flags
        settings = GrpcSettings(
            address=f"{flags.bind_address}:{flags.port}" if flags.port else "",
            socket_path=flags.grpc_socket_path,
            threads=flags.grpc_max_threads or DEFAULT_THREADS,
            channel_arguments=flags.grpc_channel_arguments,
            ssl_config_file=Path(flags.ssl_config_file) if flags.ssl_config_file else None,
            is_health_served=flags.enable_grpc_healthcheck_service,
            api_key=self._api_key,
            shares_ports=flags.shares_ports,
        )
        self._grpc_server = GrpcServer(self._predictor, settings)
        if flags.rest_api_port == flags.port:
            logger.error("REST is off: --rest_api_port and --port are both %d", flags.port)
        elif flags.rest_api_port:
            self._rest_socket = _listen(flags.bind_address, flags.rest_api_port, is_shared=flags.shares_ports)

    def run(self) -> None:
        """Answer until a signal; then finish the requests under way."""
        flags = self._flags
        if self._grpc_server is not None:
            self._grpc_server.start()
            logger.info("gRPC listens on %s:%d %s", flags.bind_address, flags.port, flags.grpc_socket_path)
        self._poll_config_file()
        if self._rest_socket is not None:
            self._run_rest(self._rest_socket)
        elif self._grpc_server is not None:
            self._grpc_server.wait()

    def close(self) -> None:
        """Finish the gRPC requests under way and unload the models."""
        self._is_closing.set()
        if self._grpc_server is not None:
            self._grpc_server.stop(DRAIN_S)
        self._core.close()
        if self._batching is not None:
            self._batching.close()

    def _run_rest(self, listening: socket.socket) -> None:
        flags = self._flags
        transport = RestTransport(
            RestApi(self._predictor),
            timeout_ms=flags.rest_api_timeout_in_ms,
            threads=flags.rest_api_num_threads or DEFAULT_THREADS,
            metrics=self._metrics,
            pages=operator_pages(self._core) | metrics_pages(self._metrics, self._monitoring),
            api_key=self._api_key,
            max_body_bytes=flags.rest_api_max_request_bytes,
            is_cors_enabled=flags.rest_api_enable_cors_support,
        )
        logger.info("REST listens on http%s://%s:%d", "s" if self._ssl else "", flags.bind_address, flags.rest_api_port)
        try:
            asyncio.run(self._serve_rest(listening, transport))
        finally:
            transport.close()

    async def _serve_rest(self, listening: socket.socket, transport: RestTransport) -> None:
        stop = asyncio.Event()
        handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
        for number in handlers:
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        limits = ConnectionLimits(
            sent_bytes=2 * self._flags.rest_api_max_request_bytes + (1 << 20),  # small chunks have as much around them
            connections=connections_that_files_allow(),
        )
        await serve_http(listening, transport, until=stop.wait(), limits=limits, drain_s=DRAIN_S, tls=self._ssl)
        for number, handler in handlers.items():
            signal.signal(number, handler)

    def _poll_config_file(self) -> None:
        wait_s = self._flags.model_config_file_poll_wait_seconds
        if self._config_file and wait_s > 0:
            threading.Thread(
                target=self._follow_config_file, args=(self._config_file, wait_s), name="config-file", daemon=True
            ).start()

    def _follow_config_file(self, path: Path, wait_s: float) -> None:
        current, complaint = self._config, ""
        while not self._is_closing.wait(wait_s):
            try:
                config = read_config_file(path)
                if config != current:
                    self._core.reload(config, is_waiting=False)
                    logger.info("%s changed", path)
                    current = config
                complaint = ""
            except StatusError as error:  # tried again: a label may be waiting for its version
                if str(error) != complaint:
                    logger.error("cannot use %s: %s", path, error)
                complaint = str(error)


def configuration_of(flags: Flags) -> Any:
    """The models that the flags ask for, as a ModelServerConfig; an address stays one, for its reader to refuse.

    Raises:
        StatusError: The config file cannot be read.
    """
    if flags.model_config_file:
        return read_config_file(Path(flags.model_config_file))
    base_path = flags.model_base_path
    return single_model_config(flags.model_name, base_path if is_remote(base_path) else str(Path(base_path).absolute()))


def _session_config(flags: Flags) -> Any:
    config = tf.compat.v1.ConfigProto()
    if flags.tensorflow_session_config_file:
        read_text_proto(Path(flags.tensorflow_session_config_file), config)
    both = flags.tensorflow_session_parallelism
    within, between = both or flags.tensorflow_intra_op_parallelism, both or flags.tensorflow_inter_op_parallelism
    if within:
        config.intra_op_parallelism_threads = within
    if between:
        config.inter_op_parallelism_threads = between
    if flags.per_process_gpu_memory_fraction:
        config.gpu_options.per_process_gpu_memory_fraction = flags.per_process_gpu_memory_fraction
    return config


def _batching(flags: Flags, metrics: ServingMetrics) -> Batching | None:
    if not flags.enable_batching:
        return None
    file = Path(flags.batching_parameters_file) if flags.batching_parameters_file else None
    return Batching(file, is_per_model=flags.enable_per_model_batching_parameters, metrics=metrics)


def _tflite_interpreters(flags: Flags) -> int:
    if not flags.prefer_tflite_model:
        return 0
    return max(1, flags.num_tflite_pools) * max(1, flags.num_tflite_interpreters_per_pool)


def _listen(address: str, port: int, *, is_shared: bool) -> socket.socket:
    try:
        return socket.create_server((address, port), reuse_port=is_shared)
    except OSError as error:
        raise OSError(error.errno, f"cannot listen on {address}:{port}: {error.strerror}") from error
