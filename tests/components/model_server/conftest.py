"""Tiny SavedModels made once, real server processes on free ports, and the published stubs as clients."""

import datetime
import json
import shutil
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import grpc
import pytest
import tensorflow as tf
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

from trainwright_components.model_server.batching.scheduler import BatchScheduler
from trainwright_components.model_server.operation.process import (
    ServerProcess,
    flag_arguments,
    fork_server,
    server_command,
    start_process,
)
from trainwright_components.processes.ending import end_process
from trainwright_components.processes.ports import HeldPorts
from trainwright_components.processes.warm_parent import WarmParent

Eventually = Callable[..., None]


class Linear(tf.Module):
    """y = factor * x + 2, and signatures of other shapes and types."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = tf.Variable(factor, dtype=tf.float32)

    @tf.function
    def linear(self, x: Any) -> Any:
        return {"y": self.factor * x + 2.0}

    @tf.function
    def named(self, a: Any, text: Any) -> Any:
        return {"total": tf.reduce_sum(a, 1), "upper": tf.strings.upper(text), "raw_bytes": tf.identity(text)}

    @tf.function
    def integers(self, i32: Any, i64: Any, u8: Any, flag: Any) -> Any:
        return {"i32": i32 + 1, "i64": i64 + 1, "u8": u8 + 1, "flag": tf.logical_not(flag)}

    @tf.function
    def matrix(self, m: Any) -> Any:
        return {"squared": m * m}

    @tf.function
    def scalars(self, x: Any) -> Any:
        return {"mean": tf.reduce_mean(x), "y": x}

    @tf.function
    def slow(self, seconds: Any) -> Any:
        end = tf.timestamp() + tf.reduce_max(seconds)
        turns = tf.while_loop(lambda _: tf.timestamp() < end, lambda i: (i + 1,), (tf.constant(0),))
        return {"turns": tf.fill(tf.shape(seconds), turns[0])}


def _spec(dtype: Any, name: str, *tail: int | None) -> Any:
    return tf.TensorSpec([None, *tail], dtype, name=name)


def save_linear(factor: float, folder: Path) -> Path:
    """Export `Linear` as a SavedModel."""
    model = Linear(factor)
    signatures = {
        "serving_default": model.linear.get_concrete_function(_spec(tf.float32, "x")),
        "named": model.named.get_concrete_function(_spec(tf.float32, "a", 2), _spec(tf.string, "text")),
        "integers": model.integers.get_concrete_function(
            _spec(tf.int32, "i32"), _spec(tf.int64, "i64"), _spec(tf.uint8, "u8"), _spec(tf.bool, "flag")
        ),
        "matrix": model.matrix.get_concrete_function(_spec(tf.float64, "m", None, None)),
        "slow": model.slow.get_concrete_function(_spec(tf.float64, "seconds")),
        "scalars": model.scalars.get_concrete_function(_spec(tf.float32, "x")),
    }
    tf.saved_model.save(model, str(folder), signatures=signatures)
    return folder


@pytest.fixture(scope="session")
def half(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The SavedModel of y = 0.5 x + 2."""
    return save_linear(0.5, tmp_path_factory.mktemp("half") / "model")


@pytest.fixture(scope="session")
def triple(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The SavedModel of y = 3 x + 2."""
    return save_linear(3.0, tmp_path_factory.mktemp("triple") / "model")


@dataclass
class Server:
    """A server process and its clients."""

    process: ServerProcess
    rest_port: int
    grpc_port: int
    log: Path
    channel: Any = field(init=False)

    def __post_init__(self) -> None:
        self.channel = grpc.insecure_channel(f"127.0.0.1:{self.grpc_port}")
        self.prediction = prediction_service_pb2_grpc.PredictionServiceStub(self.channel)
        self.models = model_service_pb2_grpc.ModelServiceStub(self.channel)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.rest_port}"

    def call(self, path: str, body: Any = None, headers: dict[str, str] | None = None) -> tuple[int, str]:
        """Status and text of a request; a body is posted, as JSON unless it is bytes."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(self.address + path, data=data, headers=headers or {})
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def error(self, path: str, body: Any = None) -> tuple[int, str]:
        """Status and message of a request that must fail."""
        status, text = self.call(path, body)
        return status, json.loads(text)["error"]

    def json(self, path: str, body: Any = None) -> Any:
        """The answer to a request that must succeed."""
        status, text = self.call(path, body)
        assert status == 200, text
        return json.loads(text)


@dataclass(frozen=True)
class Identity:
    """A key and its certificate, as PEM."""

    key: bytes
    certificate: bytes


def _identity(name: str) -> Identity:
    """A self-signed identity, valid for localhost and 127.0.0.1."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    alternatives = [x509.DNSName("localhost"), x509.IPAddress(IPv4Address("127.0.0.1"))]
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    return Identity(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
        certificate.public_bytes(pem),
    )


@pytest.fixture(scope="session")
def make_identity() -> Callable[[str], Identity]:
    """Make keys and certificates."""
    return _identity


@pytest.fixture(scope="session")
def eventually() -> Eventually:
    """Wait until a condition holds, with a limit; for what another process does in its own time."""

    def wait(condition: Callable[[], Any], *, timeout_s: float = 60) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, "the condition did not come true in time"
            time.sleep(0.02)

    return wait


@pytest.fixture(scope="session")
def start_server(
    tmp_path_factory: pytest.TempPathFactory, warm_parent: WarmParent, eventually: Eventually
) -> Iterator[Callable[..., Server]]:
    """Start servers with given flags; all are ended after the session.

    They are forked from the warm process, but for another `program`, and for what `imports_tensorflow` itself.
    """
    started: list[Server] = []
    held: list[HeldPorts] = []

    def start(program: str | None = None, *, imports_tensorflow: bool = False, **flags: object) -> Server:
        log = tmp_path_factory.mktemp("server") / "log"
        held.append(HeldPorts.take(2))
        rest_port, grpc_port = held[-1].numbers
        flags = {"port": grpc_port, "rest_api_port": rest_port, **flags}
        process: ServerProcess
        if program is None and not imports_tensorflow:
            process = fork_server(warm_parent, flags, log)
        else:
            process = start_process([program, *flag_arguments(flags)] if program else server_command(flags), log)
        server = Server(process=process, rest_port=rest_port, grpc_port=grpc_port, log=log)
        started.append(server)

        def is_up() -> bool:
            assert process.poll() is None, log.read_text()
            try:
                socket.create_connection(("127.0.0.1", rest_port), 5).close()
            except OSError:
                return False
            return True

        eventually(is_up)
        return server

    yield start
    for server in started:
        server.channel.close()
        server.process.terminate()
    for server in started:
        end_process(server.process, timeout_s=30)
    for ports in held:
        ports.close()


@pytest.fixture
def scheduler() -> Iterator[BatchScheduler]:
    """One thread for all batches."""
    scheduler = BatchScheduler(threads=1)
    yield scheduler
    scheduler.close()


@pytest.fixture(scope="session")
def base_path(tmp_path_factory: pytest.TempPathFactory, half: Path) -> Path:
    """Base path of the model `linear`, with version 123."""
    base = tmp_path_factory.mktemp("linear")
    shutil.copytree(half, base / "00000123")
    return base


@pytest.fixture(scope="session")
def server(start_server: Callable[..., Server], base_path: Path) -> Server:
    """A server of the model `linear`, version 123."""
    return start_server(model_name="linear", model_base_path=base_path, rest_api_timeout_in_ms=20_000)
