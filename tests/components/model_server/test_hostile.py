"""Senders of nonsense get an error; nobody else notices, the memory stays, and nothing is an internal error.

Tried over REST: random bytes, requests with bytes changed, cut or doubled, wrong lengths and encodings; JSON that is
deep, huge, ragged, not UTF-8, of numbers that no type holds; bodies that grow when unpacked; many connections. Over
gRPC: random bytes on the port, messages with bytes changed or cut, shapes that multiply to anything, values that do not
fill them, messages that grow when unpacked.
"""

import contextlib
import gzip
import json
import os
import random
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
import tensorflow as tf
from tensorflow_serving.apis import classification_pb2, inference_pb2, predict_pb2, regression_pb2

PREDICT = "/v1/models/linear:predict"
SERVICE = "/tensorflow.serving.PredictionService/"
GROWTH_BYTES = 700 << 20
SEED = int(os.environ.get("TRAINWRIGHT_FUZZ_SEED", "1"))
PIECES = [b"[", b"]", b"{", b"}", b'"', b",", b":", b"\0", b"\xff", b"\xed\xa0\x80", b"1e999", b"-0", b"NaN", b"\\u"]
BODIES = [
    b'{"instances": [1, 2]}',
    b'{"inputs": {"x": [1.5]}}',
    b'{"signature_name": "named", "instances": [{"a": [1, 2], "text": {"b64": "YQ=="}}]}',
    b'{"signature_name": "matrix", "inputs": [[[1, 2], [3, 4]]]}',
    b'{"examples": [{"a": 1.0, "b": ["x"]}]}',
]


@pytest.fixture(scope="module")
def target(server: Any) -> Any:
    """The server under attack, warm."""
    assert still_answers(server)
    return server


def still_answers(server: Any) -> bool:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "linear"
    request.inputs["x"].CopyFrom(tf.make_tensor_proto([2.0]))
    over_grpc = list(server.prediction.Predict(request, timeout=60).outputs["y"].float_val)
    return bool(server.json(PREDICT, {"instances": [2]}) == {"predictions": [3.0]} and over_grpc == [3.0])


def resident(server: Any) -> int:
    return int(psutil.Process(server.process.pid).memory_info().rss)


def changed(rng: random.Random, content: bytes) -> bytes:
    """`content` with a few bytes replaced, cut, doubled or put in."""
    for _ in range(rng.randint(1, 4)):
        at, to = sorted((rng.randrange(len(content) + 1), rng.randrange(len(content) + 1)))
        content = rng.choice(
            [
                content[:at] + rng.choice(PIECES) + content[at:],
                content[:at] + content[to:],
                content[:to] + content[at:],
                content[:at] + rng.randbytes(rng.randint(1, 8)) + content[at + 1 :],
            ]
        )
    return content


def send_raw(port: int, content: bytes) -> bytes:
    """What comes back for raw bytes, until the server closes or is silent because it waits for more."""
    with socket.create_connection(("127.0.0.1", port), 30) as connection:
        try:
            connection.sendall(content)
            connection.shutdown(socket.SHUT_WR)
            answer = b""
            while chunk := connection.recv(1 << 16):
                answer += chunk
        except ConnectionError:
            return b""
    return answer


def fuzz_http(server: Any, rng: random.Random, rounds: int) -> None:
    for _ in range(rounds):
        body = rng.choice(BODIES)
        method = rng.choice(["predict", "classify", "regress"])
        extra = rng.choice(["", "Content-Encoding: gzip\r\n", "Expect: 100-continue\r\n"])
        line = f"POST /v1/models/linear:{method} HTTP/1.1\r\nHost: a\r\n"
        head = f"{line}Content-Length: {len(body)}\r\n{extra}\r\n".encode()
        content = rng.choice([rng.randbytes(200), changed(rng, head) + body, changed(rng, head + body)])
        answer = send_raw(server.rest_port, content)
        assert b"HTTP/1.1 500" not in answer, (content, answer)


def fuzz_json(server: Any, rng: random.Random, rounds: int) -> None:
    for _ in range(rounds):
        body = changed(rng, rng.choice(BODIES))
        path = f"/v1/models/linear:{rng.choice(['predict', 'classify', 'regress'])}"
        status, text = server.call(path, body)
        assert status in {200, 400, 404, 501}, (path, body, status, text)


def fuzz_messages(server: Any, rng: random.Random, rounds: int) -> None:
    codes = set()
    for _ in range(rounds):
        method, content = rng.choice(messages(rng))
        if rng.random() < 0.5:  # most of what is changed cannot be parsed; what is not holds nonsense too
            content = changed(rng, content)
        answer = server.channel.unary_unary(SERVICE + method).future(content, timeout=60)
        codes.add(answer.code())
        # A message that cannot be parsed is INTERNAL by gRPC's own rules, with a text of its own.
        is_unparsed = "deserializing" in (answer.details() or "")
        assert answer.code() is not grpc.StatusCode.INTERNAL or is_unparsed, (method, content, answer)
    assert grpc.StatusCode.INVALID_ARGUMENT in codes


def fill(rng: random.Random, tensor: Any) -> None:
    """Put values into `tensor`, of some type or none."""
    match rng.randrange(4):
        case 0:
            tensor.float_val.extend([1.0] * rng.randrange(4))
        case 1:
            tensor.int_val.append(1 << 30)
        case 2:
            tensor.string_val.append(b"\xff")
        case _:
            tensor.tensor_content = rng.randbytes(rng.randrange(20))


def messages(rng: random.Random) -> list[tuple[str, bytes]]:
    predict = predict_pb2.PredictRequest()
    predict.model_spec.name = "linear"
    predict.model_spec.signature_name = rng.choice(["", "matrix", "integers", "named"])
    for alias in rng.sample(["x", "m", "i32", "i64", "u8", "flag", "a", "text"], rng.randint(1, 3)):
        tensor = predict.inputs[alias]
        tensor.dtype = rng.randrange(0, 26)
        for _ in range(rng.randrange(4)):
            tensor.tensor_shape.dim.add(size=rng.choice([0, 1, 2, -1, 1 << 31, 1 << 62, -(1 << 63)]))
        fill(rng, tensor)
    classify = classification_pb2.ClassificationRequest()
    classify.model_spec.name = "linear"
    classify.input.example_list.examples.add().features.feature["a"].float_list.value.append(1.0)
    regress = regression_pb2.RegressionRequest(model_spec=classify.model_spec, input=classify.input)
    multi = inference_pb2.MultiInferenceRequest(input=classify.input)
    multi.tasks.add(method_name="tensorflow/serving/classify").model_spec.name = "linear"
    return [
        ("Predict", predict.SerializeToString(deterministic=True)),
        ("Classify", classify.SerializeToString(deterministic=True)),
        ("Regress", regress.SerializeToString(deterministic=True)),
        ("MultiInference", multi.SerializeToString(deterministic=True)),
    ]


FUZZERS: dict[str, tuple[Callable[..., None], int]] = {
    "HTTP": (fuzz_http, 150),
    "JSON": (fuzz_json, 300),
    "messages": (fuzz_messages, 200),
}


@pytest.mark.parametrize("kind", FUZZERS)
def test_nonsense_is_answered_with_errors(target: Any, kind: str) -> None:
    fuzz, rounds = FUZZERS[kind]
    before = resident(target)
    fuzz(target, random.Random(SEED), rounds)
    assert still_answers(target)
    assert resident(target) - before < GROWTH_BYTES


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 6))
@pytest.mark.parametrize("kind", FUZZERS)
def test_much_nonsense_is_answered_with_errors(target: Any, kind: str, seed: int) -> None:
    fuzz, rounds = FUZZERS[kind]
    before = resident(target)
    fuzz(target, random.Random(seed * SEED), rounds * 8)
    assert still_answers(target)
    assert resident(target) - before < GROWTH_BYTES


HUGE_BODIES: dict[str, Callable[[], bytes]] = {
    "deep": lambda: b'{"instances": ' + b"[" * 1_000_000,
    "deep objects": lambda: b'{"instances": ' + b'{"a":' * 500_000,
    "many lists": lambda: b'{"instances": [' + b"[]," * 4_500_000 + b"[]]}",
    "an endless number": lambda: b'{"instances": [' + b"1" * 5_000_000 + b"]}",
    "not UTF-8": lambda: b'{"signature_name": "named", "instances": [{"a": [1, 2], "text": "\xed\xa0\x80"}]}',
    "over the limit": lambda: b" " * (101 << 20),
}


@pytest.mark.parametrize("name", HUGE_BODIES)
def test_bodies_that_no_model_wants_are_refused(target: Any, name: str) -> None:
    before = resident(target)
    answer = send_body(target, HUGE_BODIES[name](), {})
    assert answer.startswith(b"HTTP/1.1 400 "), answer[:300]
    assert b'"error"' in answer
    assert still_answers(target)
    assert resident(target) - before < GROWTH_BYTES


def send_body(server: Any, body: bytes, headers: dict[str, str]) -> bytes:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    head = f"POST {PREDICT} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {len(body)}\r\n{lines}\r\n"
    with socket.create_connection(("127.0.0.1", server.rest_port), 60) as connection:
        with contextlib.suppress(ConnectionError):  # it may answer before it has all
            connection.sendall(head.encode() + body)
        answer = b""
        with contextlib.suppress(ConnectionError):
            while chunk := connection.recv(1 << 16):
                answer += chunk
    return answer


def test_a_body_that_grows_when_unpacked_is_refused(target: Any) -> None:
    before = resident(target)
    bomb = gzip.compress(b" " * (150 << 20), 1)
    answer = send_body(target, bomb, {"Content-Encoding": "gzip"})
    assert b"when uncompressed" in answer
    assert still_answers(target)
    assert resident(target) - before < GROWTH_BYTES


def test_a_message_that_grows_when_unpacked_hurts_nobody(target: Any) -> None:
    before = resident(target)
    options = [("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(f"127.0.0.1:{target.grpc_port}", options=options) as channel:
        call = channel.unary_unary(SERVICE + "Predict")
        with pytest.raises(grpc.RpcError):
            call(b"\0" * (64 << 20), timeout=120, compression=grpc.Compression.Gzip)
    assert still_answers(target)
    assert resident(target) - before < GROWTH_BYTES


def test_random_bytes_on_the_grpc_port_hurt_nobody(target: Any) -> None:
    rng = random.Random(SEED)
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    for _ in range(50):
        start = rng.choice([b"", preface, preface + b"\0\0\0\4\0\0\0\0\0"])
        send_raw(target.grpc_port, start + rng.randbytes(rng.randrange(500)))
    assert still_answers(target)


def test_many_connections_that_say_nothing_hurt_nobody(target: Any) -> None:
    silent = [socket.create_connection(("127.0.0.1", target.rest_port), 60) for _ in range(400)]
    half = json.dumps({"instances": [1]}).encode()[:-3]
    for connection in silent[::2]:
        connection.sendall(b"POST " + PREDICT.encode() + b" HTTP/1.1\r\nHost: a\r\nContent-Length: 99\r\n\r\n" + half)
    assert still_answers(target)
    for connection in silent:
        connection.close()


class Convolution(tf.Module):
    """One convolution over images of one channel, which the signature takes without it."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = tf.Variable(tf.ones((3, 3, 1, 1)))

    @tf.function(input_signature=[tf.TensorSpec([None, 8, 8], tf.float32, name="image")])
    def serve(self, image: Any) -> Any:
        return {"y": tf.reduce_sum(tf.nn.conv2d(image[..., tf.newaxis], self.kernel, 1, "SAME"), [1, 2, 3])}


@pytest.mark.parametrize("flags", [{}, {"enable_batching": True}])
def test_inputs_of_another_shape_end_no_server(
    flags: dict[str, Any], start_server: Callable[..., Any], tmp_path: Path
) -> None:
    """TensorFlow's convolutions end the process for an input of another rank."""
    model = Convolution()
    tf.saved_model.save(model, str(tmp_path / "conv" / "1"), signatures={"serving_default": model.serve})
    server = start_server(model_name="conv", model_base_path=tmp_path / "conv", **flags)
    path, image = "/v1/models/conv:predict", [[1.0] * 8] * 8
    for wrong, shape in (([1.0], "1"), ([[1.0] * 8], "1,8"), ([image[:7]], "1,7,8"), ([[image]], "1,1,8,8")):
        status, message = server.error(path, {"instances": wrong})
        assert (status, message) == (400, f"Input image has shape [{shape}], but the signature takes [?,8,8]")
    assert server.json(path, {"instances": [image]}) == {"predictions": [pytest.approx(22 * 22)]}
