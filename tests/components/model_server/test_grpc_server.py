"""Where and how gRPC listens: Unix socket, channel arguments, TLS, and health that tells the truth."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)
from tensorflow_serving.config import model_server_config_pb2

from trainwright_components.model_server.core.predictor import Predictor
from trainwright_components.model_server.core.server_core import ServerCore
from trainwright_components.model_server.grpc_api.server import GrpcServer, GrpcSettings, read_channel_arguments
from trainwright_components.model_server.manager.manager import Manager
from trainwright_components.model_server.metrics import ServingMetrics
from trainwright_components.model_server.servable import Loader, OutputOf, Servable, ServableId, Tensors
from trainwright_components.model_server.status import StatusError
from trainwright_components.processes.ports import HeldPorts

Eventually = Callable[..., None]
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class Nothing:
    """A servable without signatures."""

    signatures: Mapping[str, Any] = MappingProxyType({})

    def run(self, signature_name: str, inputs: Tensors, outputs: Sequence[str]) -> dict[str, Any]:
        return {}

    def run_together(self, inputs: Tensors, outputs: Sequence[OutputOf]) -> list[Any]:
        raise AssertionError("no test asks for several signatures")

    def is_quick(self, signature_name: str) -> bool:
        return False

    def close(self) -> None:
        """Hold nothing."""


class NothingLoader:
    """Loads any path."""

    def load(self, servable_id: ServableId, path: Path) -> Nothing:
        return Nothing()


if TYPE_CHECKING:
    _: tuple[type[Servable], type[Loader]] = (Nothing, NothingLoader)


def make_config(base: Path) -> Any:
    config = model_server_config_pb2.ModelServerConfig()
    config.model_config_list.config.add(name="m", base_path=str(base), model_platform="tensorflow")
    return config


@pytest.fixture
def core(tmp_path: Path) -> Iterator[ServerCore]:
    (tmp_path / "1").mkdir()
    core = ServerCore(Manager(NothingLoader()), poll_wait_s=0)
    core.reload(make_config(tmp_path))
    yield core
    core.close()


@pytest.fixture
def listen(core: ServerCore) -> Iterator[Callable[..., str]]:
    """Start a server with given settings and return its address."""
    servers: list[GrpcServer] = []
    held: list[HeldPorts] = []

    def start(**settings: Any) -> str:
        held.append(HeldPorts.take(1))
        (address,) = held[-1].addresses
        servers.append(GrpcServer(Predictor(core), GrpcSettings(address=address, threads=2, **settings)))
        servers[-1].start()
        return address

    yield start
    for server in servers:
        server.stop(1)
    for ports in held:
        ports.close()


def available_versions(channel: grpc.Channel) -> list[int]:
    """The versions of the model, asked over `channel`, which is closed then."""
    with channel:
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = "m"
        answer = model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(request, timeout=20)
        return [entry.version for entry in answer.model_version_status]


def test_a_unix_socket_answers(listen: Callable[..., str], tmp_path: Path) -> None:
    listen(socket_path=str(tmp_path / "socket"))
    assert available_versions(grpc.insecure_channel(f"unix:{tmp_path / 'socket'}")) == [1]


def test_a_unix_socket_may_be_all_there_is(core: ServerCore, tmp_path: Path) -> None:
    server = GrpcServer(Predictor(core), GrpcSettings(address="", socket_path=str(tmp_path / "socket"), threads=1))
    server.start()
    assert available_versions(grpc.insecure_channel(f"unix:{tmp_path / 'socket'}")) == [1]
    server.stop(1)


def test_channel_arguments_reach_grpc(listen: Callable[..., str]) -> None:
    address = listen(channel_arguments="grpc.max_receive_message_length=1,grpc.primary_user_agent=x")
    with pytest.raises(grpc.RpcError) as refused:
        available_versions(grpc.insecure_channel(address))
    assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


def test_channel_arguments_are_numbers_where_they_can_be() -> None:
    assert read_channel_arguments("grpc.max_connection_age_ms=2000,a=b=c,big=99999999999") == {
        "grpc.max_connection_age_ms": 2000,
        "a": "b=c",
        "big": "99999999999",
    }
    assert read_channel_arguments("") == {}
    with pytest.raises(StatusError, match="'nonsense' is not name=value"):
        read_channel_arguments("nonsense")


def test_an_address_in_use_is_an_error(core: ServerCore, listen: Callable[..., str]) -> None:
    address = listen()
    with pytest.raises(OSError, match=f"cannot listen on {address}"):
        GrpcServer(Predictor(core), GrpcSettings(address=address, threads=1))


def quoted(pem: bytes) -> str:
    return '"' + pem.decode().replace("\n", "\\n") + '"'


def test_tls_with_client_certificates(
    listen: Callable[..., str], make_identity: Callable[[str], Any], tmp_path: Path
) -> None:
    server, client, stranger = (make_identity(name) for name in ("server", "client", "stranger"))
    file = tmp_path / "ssl.config"
    file.write_text(
        f"server_key: {quoted(server.key)}\nserver_cert: {quoted(server.certificate)}\n"
        f"custom_ca: {quoted(client.certificate)}\nclient_verify: true\n"
    )
    address = listen(ssl_config_file=file)

    def channel(who: Any) -> grpc.Channel:
        key, certificate = (who.key, who.certificate) if who else (None, None)
        return grpc.secure_channel(address, grpc.ssl_channel_credentials(server.certificate, key, certificate))

    assert available_versions(channel(client)) == [1]
    for who in (stranger, None):
        with pytest.raises(grpc.RpcError) as refused:
            available_versions(channel(who))
        assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
    with pytest.raises(grpc.RpcError):
        available_versions(grpc.insecure_channel(address))


def test_tls_without_client_certificates(
    listen: Callable[..., str], make_identity: Callable[[str], Any], tmp_path: Path
) -> None:
    server = make_identity("server")
    file = tmp_path / "ssl.config"
    file.write_text(f"server_key: {quoted(server.key)} server_cert: {quoted(server.certificate)}")
    address = listen(ssl_config_file=file)
    assert available_versions(grpc.secure_channel(address, grpc.ssl_channel_credentials(server.certificate))) == [1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("server_key: 'k'", "server_key and server_cert must hold PEM text"),
        ("server_key: 'k' server_cert: 'c' client_verify: true", "client_verify needs custom_ca"),
        ("server_key 'k'", "Error parsing text-format tensorflow.serving.SSLConfig"),
    ],
)
def test_a_tls_configuration_that_cannot_be_used_is_refused(
    core: ServerCore, tmp_path: Path, text: str, message: str
) -> None:
    file = tmp_path / "ssl.config"
    file.write_text(text)
    with pytest.raises(StatusError, match=message):
        GrpcServer(Predictor(core), GrpcSettings(address="localhost:0", threads=1, ssl_config_file=file))


def test_health_tells_whether_every_model_answers(
    core: ServerCore, listen: Callable[..., str], tmp_path: Path, eventually: Eventually
) -> None:
    address = listen(is_health_served=True)
    with grpc.insecure_channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)

        def status(service: str) -> Any:
            return stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=20).status

        for service in ("", "ModelService", "PredictionService", "tensorflow.serving.PredictionService"):
            assert status(service) == SERVING
        with pytest.raises(grpc.RpcError) as refused:
            status("other")
        assert refused.value.code() == grpc.StatusCode.NOT_FOUND
        changes = stub.Watch(health_pb2.HealthCheckRequest(), timeout=60)
        assert next(changes).status == SERVING
        (tmp_path / "1").rmdir()
        core.reload(make_config(tmp_path))
        assert next(changes).status == NOT_SERVING
        (tmp_path / "2").mkdir()
        core.reload(make_config(tmp_path))
        assert next(changes).status == SERVING
        eventually(lambda: status("PredictionService") == SERVING)


def test_calls_are_counted_and_timed(core: ServerCore) -> None:
    metrics = ServingMetrics()
    held = HeldPorts.take(1)
    (address,) = held.addresses
    server = GrpcServer(Predictor(core, metrics=metrics), GrpcSettings(address=address, threads=1))
    server.start()
    with grpc.insecure_channel(address) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        metadata = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        metadata.model_spec.name = "m"
        stub.GetModelMetadata(metadata, timeout=20)
        with pytest.raises(grpc.RpcError):
            stub.Predict(predict_pb2.PredictRequest(model_spec=metadata.model_spec), timeout=20)
    server.stop(1)
    held.close()
    lines = metrics.text().splitlines()
    assert ':tensorflow:serving:request_count{model_name="m",status="OK"} 1' in lines
    assert ':tensorflow:serving:request_count{model_name="m",status="FAILED_PRECONDITION"} 1' in lines
    assert any('API="GetModelMetadata",entrypoint="GRPC"} 1' in line and "_count" in line for line in lines)


def test_health_is_switched_off_by_default(listen: Callable[..., str]) -> None:
    with grpc.insecure_channel(listen()) as channel, pytest.raises(grpc.RpcError) as refused:
        health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=20)
    assert refused.value.code() == grpc.StatusCode.UNIMPLEMENTED
