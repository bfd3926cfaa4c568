"""REST as clients see it: paths, JSON shapes, error texts and status codes of TensorFlow Serving."""

import asyncio
import gzip
import http.client
import json
import threading
import time
from collections.abc import Awaitable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from trainwright_components.model_server.core.model_config import single_model_config
from trainwright_components.model_server.core.predictor import Predictor
from trainwright_components.model_server.core.server_core import ServerCore
from trainwright_components.model_server.http.request import Request
from trainwright_components.model_server.http.response import Response
from trainwright_components.model_server.manager.manager import Manager, ServableHandle
from trainwright_components.model_server.models.loader import SavedModelLoader
from trainwright_components.model_server.rest.api import NotQuick, RestApi
from trainwright_components.model_server.rest.transport import RestTransport

PREDICT = "/v1/models/linear:predict"


def test_answers_are_those_of_the_saved_model(server: Any, half: Path) -> None:
    values = np.random.default_rng(0).normal(size=(4, 3, 2))
    expected = tf.saved_model.load(str(half)).signatures["matrix"](m=tf.constant(values))["squared"].numpy()
    rows = server.json(PREDICT, {"signature_name": "matrix", "instances": values.tolist()})["predictions"]
    columns = server.json(PREDICT, {"signature_name": "matrix", "inputs": {"m": values.tolist()}})["outputs"]
    np.testing.assert_array_equal(rows, expected)
    np.testing.assert_array_equal(columns, expected)


def test_a_compressed_body_is_read(server: Any) -> None:
    body = gzip.compress(b'{"instances": [1]}')
    assert server.call(PREDICT, body, {"Content-Encoding": "gzip"})[0] == 200
    status, text = server.call(PREDICT, b"not gzip", {"Content-Encoding": "gzip"})
    assert status == 400
    assert "uncompress" in text


BAD_BODIES = {
    "invalid UTF-8": (b'{"instances": ["\xff"]}', "JSON Parse error: Invalid encoding in string."),
    "too deep": (b'{"instances": ' + b"[" * 200_000, "JSON Parse error: nested too deeply"),
    "deeper than tensors": (b'{"instances": ' + b"[" * 100 + b"1" + b"]" * 100 + b"}", "lists are nested 99 deep"),
}


@pytest.mark.parametrize("name", BAD_BODIES)
def test_a_bad_body_is_told_what_is_wrong(server: Any, name: str) -> None:
    body, message = BAD_BODIES[name]
    status, text = server.error(PREDICT, body)
    assert status == 400
    assert message in text


def test_answers_on_a_kept_connection_do_not_wait_for_acknowledgements(server: Any) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.rest_port, timeout=20)
    seconds = []
    for _ in range(20):
        started = time.perf_counter()
        connection.request("POST", PREDICT, b'{"instances": [1]}')
        connection.getresponse().read()
        seconds.append(time.perf_counter() - started)
    connection.close()
    assert min(seconds) < 0.03  # the kernel delays an acknowledgement by 40 ms


def send_options(server: Any, headers: dict[str, str]) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", server.rest_port, timeout=20)
    connection.request("OPTIONS", PREDICT, headers=headers)
    response = connection.getresponse()
    response.read()
    connection.close()
    return response


def test_pages_of_other_origins_may_ask_where_that_is_switched_on(server: Any) -> None:
    assert send_options(server, {"Origin": "https://example.com"}).status == 200
    assert send_options(server, {}).status == 400
    assert send_options(server, {"Origin": "https://example.com"}).headers["Access-Control-Allow-Origin"] is None


class SlowCore(ServerCore):
    """A core that takes its time to find a model."""

    def __init__(self) -> None:
        super().__init__(Manager(SavedModelLoader()))
        self.is_over = threading.Event()

    def handle(self, spec: Any) -> ServableHandle:
        self.is_over.wait(30)
        return super().handle(spec)


async def awaited(response: Response | Awaitable[Response]) -> Response:
    assert not isinstance(response, Response), "it took no time"
    return await response


def test_a_request_that_takes_too_long_is_answered_and_told_so() -> None:
    core = SlowCore()
    transport = RestTransport(RestApi(Predictor(core)), timeout_ms=20, threads=1, is_cors_enabled=True)
    request = Request(method="POST", target="/v1/models/slow:predict", headers=[], body=b'{"instances": [1]}')
    response = asyncio.run(awaited(transport.respond(request)))
    core.is_over.set()
    transport.close()
    core.close()
    assert response.status == 504
    assert json.loads(response.content) == {"error": "Timed out waiting for notification"}
    assert response.media_type == b"application/json"
    assert b"Access-Control-Allow-Origin: *\r\n" in transport.headers


@pytest.fixture
def api(base_path: Path) -> Iterator[RestApi]:
    """The API of a core of the model `linear`, of which nothing was computed yet."""
    core = ServerCore(Manager(SavedModelLoader(is_warmup_made_up=False)), poll_wait_s=0)
    core.reload(single_model_config("linear", str(base_path)))
    yield RestApi(Predictor(core))
    core.close()


def test_a_request_that_is_not_quick_is_not_read_twice(api: RestApi) -> None:
    with pytest.raises(NotQuick) as not_quick:
        api.answer("POST", PREDICT, b'{"instances": [2]}', must_be_quick=True)
    parsed = not_quick.value.parsed
    assert parsed is not None
    assert "3.0" in api.answer("POST", PREDICT, b"what it was read from", parsed=parsed)
    of_another_version = replace(parsed, signatures=dict(parsed.signatures))
    assert "4.0" in api.answer("POST", PREDICT, b'{"instances": [4]}', parsed=of_another_version)


def test_a_request_that_was_tried_at_once_is_answered_later_with_its_own_numbers(api: RestApi) -> None:
    """What was read lies in memory of its own, though the reader is used for the next request."""
    transport = RestTransport(api, threads=2)

    def ask(target: str, value: int) -> Response | Awaitable[Response]:
        body = json.dumps({"instances": [value] * 50}).encode()
        return transport.respond(Request(method="POST", target=target, headers=[], body=body))

    async def ask_all() -> list[Response]:
        paths = (PREDICT, PREDICT.replace(":", "/versions/123:"))
        for path in paths:
            await awaited(ask(path, 0))  # the first of a path is never tried at once
        tried = [awaited(ask(path, value)) for path, value in zip(paths, (1, 2), strict=True)]
        return list(await asyncio.gather(*tried))

    answers = [json.loads(response.content)["predictions"] for response in asyncio.run(ask_all())]
    transport.close()
    assert answers == [[2.5] * 50, [3.0] * 50]


@pytest.mark.parametrize("path", ["/v1/models/linear/versions/{}", "/v1/models/linear/versions/{}:predict"])
def test_a_version_of_endless_digits_is_no_number(server: Any, path: str) -> None:
    digits = "9" * 5_000  # more than Python reads as an integer
    body = {"instances": [1]} if path.endswith(":predict") else None
    assert server.error(path.format(digits), body) == (400, f"Failed to convert version: {digits} to numeric.")
    assert server.call(path.format("0" * 5_000 + "123"), body)[0] == 200


def test_a_long_value_is_cut_in_the_message(server: Any) -> None:
    status, text = server.error(PREDICT, {"inputs": ["x" * 10_000]})
    assert status == 400
    assert len(text) < 500
