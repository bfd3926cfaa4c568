"""The gRPC server: where it listens, with which options and certificates, and the services on it."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

from trainwright_components.model_server.api_key import ApiKey
from trainwright_components.model_server.core.predictor import Predictor
from trainwright_components.model_server.grpc_api.health import Health
from trainwright_components.model_server.grpc_api.interceptor import ApiKeyInterceptor
from trainwright_components.model_server.grpc_api.service import ModelService, PredictionService
from trainwright_components.model_server.status import invalid_argument
from trainwright_components.model_server.text_protos import SSLConfig, read_text_proto

MAX_MESSAGE_BYTES = 512 << 20
"""The largest request, as sent and unpacked; a packed one of two megabytes could otherwise take two gigabytes."""

_INT32_LIMIT = 1 << 31


@dataclass(frozen=True, kw_only=True)
class GrpcSettings:
    """How gRPC is served.

    Args:
        address: `host:port`; empty for none.
        socket_path: Path of a Unix socket; empty for none.
        threads: Requests computed at once.
        channel_arguments: `name=value`, comma-separated; integers are passed as such.
        ssl_config_file: Text proto SSLConfig; none for plain text.
        is_health_served: Answer `grpc.health.v1.Health`.
        api_key: What calls must carry; none for all to be answered.
        shares_ports: Other processes listen on the same address.
    """

    address: str
    threads: int
    socket_path: str = ""
    channel_arguments: str = ""
    ssl_config_file: Path | None = None
    is_health_served: bool = False
    api_key: ApiKey | None = None
    shares_ports: bool = False


class GrpcServer:
    """A gRPC server bound to its addresses, not yet started.

    Raises:
        OSError: An address cannot be bound.
        StatusError: The channel arguments or the TLS configuration cannot be used.
    """

    def __init__(self, predictor: Predictor, settings: GrpcSettings) -> None:
        options: dict[str, int | str] = {
            "grpc.max_receive_message_length": MAX_MESSAGE_BYTES,
            "grpc.max_send_message_length": -1,
            "grpc.so_reuseport": int(settings.shares_ports),  # or a taken port would be no error
        }
        options |= read_channel_arguments(settings.channel_arguments)
        credentials = _credentials(settings.ssl_config_file) if settings.ssl_config_file else None
        self._pool = ThreadPoolExecutor(settings.threads, thread_name_prefix="grpc")
        interceptors = [ApiKeyInterceptor(settings.api_key)] if settings.api_key is not None else []
        self._server = grpc.server(self._pool, options=list(options.items()), interceptors=interceptors)
        core = predictor.core
        service = PredictionService(predictor)
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(service, self._server)
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(
            ModelService(core, predictor.metrics, may_reload=not settings.shares_ports), self._server
        )
        self._health = Health(core, self._server) if settings.is_health_served else None
        if settings.address:
            _bind(self._server, settings.address, credentials)
        if settings.socket_path:
            _bind(self._server, f"unix:{settings.socket_path}", credentials)

    def start(self) -> None:
        """Accept requests."""
        self._server.start()

    def wait(self) -> None:
        """Return when the server was stopped."""
        self._server.wait_for_termination()

    def stop(self, grace_s: float) -> None:
        """Refuse new requests and finish those under way, for `grace_s` seconds at most."""
        if self._health is not None:
            self._health.close()
        self._server.stop(grace_s).wait()


def read_channel_arguments(text: str) -> dict[str, int | str]:
    """The options that `--grpc_channel_arguments` names.

    Raises:
        StatusError: A part has no `=`.
    """
    arguments: dict[str, int | str] = {}
    for part in filter(None, text.split(",")):
        name, equals, value = part.partition("=")
        if not equals:
            raise invalid_argument(f"--grpc_channel_arguments: {part!r} is not name=value")
        arguments[name] = _number_or_text(value)
    return arguments


def _number_or_text(value: str) -> int | str:
    try:
        number = int(value)
    except ValueError:
        return value
    return number if -_INT32_LIMIT <= number < _INT32_LIMIT else value


def _credentials(file: Path) -> Any:
    config = read_text_proto(file, SSLConfig())
    if not config.server_key or not config.server_cert:
        raise invalid_argument(f"{file}: server_key and server_cert must hold PEM text")
    if config.client_verify and not config.custom_ca:
        raise invalid_argument(
            f"{file}: client_verify needs custom_ca, the certificates that clients' are checked with"
        )
    return grpc.ssl_server_credentials(
        [(config.server_key.encode(), config.server_cert.encode())],
        root_certificates=config.custom_ca.encode() or None,
        require_client_auth=config.client_verify,
    )


def _bind(server: Any, address: str, credentials: Any) -> None:
    try:
        if credentials is None:
            port = server.add_insecure_port(address)
        else:
            port = server.add_secure_port(address, credentials)
    except RuntimeError as error:
        raise OSError(f"cannot listen on {address}: {error}") from error
    if not port:
        raise OSError(f"cannot listen on {address}")
