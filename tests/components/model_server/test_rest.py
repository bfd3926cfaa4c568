"""REST as clients see it: paths, JSON shapes, error texts and status codes of TensorFlow Serving."""

import asyncio
import gzip
import http.client
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from trainwright_components.model_server.rest import RestApi
from trainwright_components.model_server.rest_transport import RestTransport
from trainwright_components.model_server.status import Code, StatusError

PREDICT = "/v1/models/linear:predict"


def test_status_gives_versions_as_strings(server: Any) -> None:
    assert server.json("/v1/models/linear") == {
        "model_version_status": [
            {"version": "123", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
        ]
    }
    assert server.json("/v1/models/linear/versions/123") == server.json("/v1/models/linear")


def test_metadata_prints_defaults_with_field_names_of_the_proto(server: Any) -> None:
    answer = server.json("/v1/models/linear/metadata")
    assert answer["model_spec"] == {"name": "linear", "signature_name": "", "version": "123"}
    signature = answer["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert signature["method_name"] == "tensorflow/serving/predict"
    assert signature["defaults"] == {}
    assert signature["inputs"]["x"]["dtype"] == "DT_FLOAT"
    assert signature["inputs"]["x"]["tensor_shape"] == {"dim": [{"size": "-1", "name": ""}], "unknown_rank": False}


@pytest.mark.parametrize("path", [PREDICT, "/v1/models/linear/versions/123:predict", "/V1/MODELS/linear:PREDICT"])
def test_rows_of_one_input_give_plain_predictions(server: Any, path: str) -> None:
    assert server.call(path, {"instances": [1.0, 2.0, 5.0]}) == (200, '{\n    "predictions": [2.5, 3.0, 4.5]\n}')


def test_columns_of_one_input_give_plain_outputs(server: Any) -> None:
    assert server.json(PREDICT, {"inputs": [1, 2]}) == {"outputs": [2.5, 3.0]}
    assert server.json(PREDICT, {"inputs": {"x": [1, 2], "ignored": "extra"}}) == {"outputs": [2.5, 3.0]}


def test_rows_of_named_inputs_give_named_outputs(server: Any) -> None:
    rows = [{"a": [1, 2], "text": "ab"}, {"a": [3, 4], "text": {"b64": "/w=="}}]
    answer = server.json(PREDICT, {"signature_name": "named", "instances": rows})
    assert answer["predictions"][0] == {"total": 3.0, "upper": "AB", "raw_bytes": {"b64": "YWI="}}
    assert answer["predictions"][1]["raw_bytes"] == {"b64": "/w=="}


def test_columns_of_named_inputs_give_named_outputs(server: Any) -> None:
    inputs = {"i32": [-5], "i64": [1 << 53], "u8": [7], "flag": [True]}
    assert server.json(PREDICT, {"signature_name": "integers", "inputs": inputs}) == {
        "outputs": {"i32": [-4], "i64": [(1 << 53) + 1], "u8": [8], "flag": [False]}
    }


def test_answers_are_those_of_the_saved_model(server: Any, half: Path) -> None:
    values = np.random.default_rng(0).normal(size=(4, 3, 2))
    expected = tf.saved_model.load(str(half)).signatures["matrix"](m=tf.constant(values))["squared"].numpy()
    rows = server.json(PREDICT, {"signature_name": "matrix", "instances": values.tolist()})["predictions"]
    columns = server.json(PREDICT, {"signature_name": "matrix", "inputs": {"m": values.tolist()}})["outputs"]
    np.testing.assert_array_equal(rows, expected)
    np.testing.assert_array_equal(columns, expected)


def test_not_a_number_and_infinities_go_both_ways(server: Any) -> None:
    body = b'{"instances": [NaN, Infinity, -Infinity, 3e6, 0.1]}'
    status, text = server.call(PREDICT, body)
    assert (status, text) == (200, '{\n    "predictions": [NaN, Infinity, -Infinity, 1500002.0, 2.05]\n}')


def test_a_compressed_body_is_read(server: Any) -> None:
    body = gzip.compress(b'{"instances": [1]}')
    assert server.call(PREDICT, body, {"Content-Encoding": "gzip"})[0] == 200
    status, text = server.call(PREDICT, b"not gzip", {"Content-Encoding": "gzip"})
    assert status == 400
    assert "uncompress" in text


def test_bytes_after_the_document_and_later_duplicates_are_ignored(server: Any) -> None:
    status, text = server.call(PREDICT, b'{"instances": [1], "instances": [2]} trailing')
    assert (status, json.loads(text)) == (200, {"predictions": [2.5]})


BAD_REQUESTS = {
    "empty body": (b"", "JSON Parse error: The document is empty"),
    "not an object": ([1], "JSON Value: [1] Is not object"),
    "half a document": (b'{"instances": [1', "JSON Parse error: "),
    "invalid UTF-8": (b'{"instances": ["\xff"]}', "JSON Parse error: Invalid encoding in string."),
    "too deep": (b'{"instances": ' + b"[" * 200_000, "JSON Parse error: nested too deeply"),
    "deeper than tensors": (b'{"instances": ' + b"[" * 100 + b"1" + b"]" * 100 + b"}", "lists are nested 99 deep"),
    "signature name of another type": (
        {"signature_name": 1, "instances": [1]},
        "'signature_name' key must be a string value.",
    ),
    "unknown signature": (
        {"signature_name": "x", "instances": [1]},
        'Serving signature name: "x" not found in signature def',
    ),
    "neither form": ({"rows": [1]}, "Missing 'inputs' or 'instances' key"),
    "both forms": ({"inputs": [1], "instances": [1]}, "Not formatted correctly expecting only one of"),
    "no rows": ({"instances": []}, "No values in 'instances' array"),
    "rows not in a list": ({"instances": 1}, "Excepting 'instances' to be an list/array"),
    "a string for a number": (
        {"inputs": ["x"]},
        'JSON Value: "x" Type: String is not of expected type: float',
    ),
    "a truth for a number": ({"inputs": [True]}, "JSON Value: true Type: True is not of expected type: float"),
    "nothing for a number": ({"inputs": [None]}, "JSON Value: null Type: Null is not of expected type: float"),
    "a wrong row": (
        {"instances": [1, "x"]},
        "Failed to process element: 1 of 'instances' list. Error: INVALID_ARGUMENT: "
        'JSON Value: "x" Type: String is not of expected type: float',
    ),
    "rows of different size": (
        {"signature_name": "matrix", "instances": [[[1, 2]], [[1]]]},
        "Expecting tensor size: 2 but got: 1",
    ),
    "rows of different shape": (
        {"signature_name": "matrix", "instances": [[[1, 2]], [[1], [2]]]},
        "Expecting shape [1,2] but got: [2,1]",
    ),
    "a ragged row": (
        {"signature_name": "matrix", "inputs": [[[1, 2], [3]]]},
        "Encountered list at unexpected size: 1 at level: 2 expected size: 2",
    ),
    "a value where a list must be": (
        {"signature_name": "matrix", "inputs": [[[1, 2], 3]]},
        "JSON Value: 3 found at incorrect level: 3 in the JSON DOM. Expected at level: 3",
    ),
    "a list where a value must be": ({"inputs": [1, [2]]}, "Encountered list at unexpected level: 1 expected < 1"),
    "an integer that no float holds": (
        {"inputs": [16_777_217]},
        "Cannot convert JSON value: 16777217 to float without loss of precision.",
    ),
    "a decimal that no float holds": ({"inputs": [1e300]}, "to float without loss of precision."),
    "a decimal for an integer": (
        {"signature_name": "integers", "inputs": {"i32": [1.0], "i64": [1], "u8": [1], "flag": [True]}},
        "JSON Value: 1.0 Type: Number is not of expected type: int32",
    ),
    "plain rows for several inputs": (
        {"signature_name": "named", "instances": [1]},
        "instances is a plain list, but expecting list of objects",
    ),
    "a plain column for several inputs": (
        {"signature_name": "named", "inputs": [1]},
        "inputs is a plain value/list, but expecting an object",
    ),
    "a missing input": (
        {"signature_name": "named", "inputs": {"a": [[1, 2]]}},
        "Missing named input: text in 'inputs' object.",
    ),
    "a row with a missing input": (
        {"signature_name": "named", "instances": [{"a": [1, 2]}]},
        "keys must be equal to: a,text",
    ),
    "a row with an unknown input": (
        {"signature_name": "named", "instances": [{"b": 1}]},
        "Failed to process element: 0 key: b of 'instances' list. Error: INVALID_ARGUMENT: "
        "JSON object: does not have named input: b",
    ),
    "an object that is not base64": (
        {"signature_name": "named", "inputs": {"a": [[1, 2]], "text": [{"b64": "ab", "c": 1}]}},
        "not formatted correctly for base64 data",
    ),
    "broken base64": (
        {"signature_name": "named", "inputs": {"a": [[1, 2]], "text": [{"b64": "%"}]}},
        "Unable to base64 decode",
    ),
    "rows of an answer without rows": (
        {"signature_name": "scalars", "instances": [1, 2]},
        "Tensor name: mean has no shape information",
    ),
}


@pytest.mark.parametrize("name", BAD_REQUESTS)
def test_a_bad_request_is_told_what_is_wrong(server: Any, name: str) -> None:
    body, message = BAD_REQUESTS[name]
    status, text = server.error(PREDICT, body)
    assert status == 400
    assert message in text


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("/v1/models/none", 404, "Could not find any versions of model none"),
        ("/v1/models/linear/versions/9", 404, "Could not find version 9 of model linear"),
        ("/v1/models", 400, "Missing model name in request."),
        ("/v1/models/linear:predict", 404, "Could not find any versions of model linear:predict"),
        ("/v1/other", 400, "Malformed request: GET /v1/other"),
        ("/v1/models/none/metadata", 404, "Servable not found for request: Latest(none)"),
        ("/v1/models/linear/versions/9/metadata", 404, "Servable not found for request: Specific(linear, 9)"),
        (
            "/v1/models/linear/versions/99999999999999999999",
            400,
            "Failed to convert version: 99999999999999999999 to numeric.",
        ),
    ],
)
def test_what_is_not_there_is_named(server: Any, path: str, status: int, message: str) -> None:
    if path.endswith(":predict"):
        message, status = f"Malformed request: GET {path}", 400
    assert server.error(path) == (status, message)


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("/v1/models/none:predict", 404, "Servable not found for request: Latest(none)"),
        ("/v1/models/linear/versions/9:predict", 404, "Servable not found for request: Specific(linear, 9)"),
        ("/v1/models/linear/labels/x:predict", 400, "Unrecognized servable version label: x"),
        ("/v1/models/linear:foo", 400, "Malformed request: POST /v1/models/linear:foo"),
        ("/v1/models/linear:predict?x=1", 400, "Malformed request: POST /v1/models/linear:predict?x=1"),
        ("/v1/models/linear", 400, "Malformed request: POST /v1/models/linear"),
    ],
)
def test_a_question_to_what_is_not_there_is_refused(server: Any, path: str, status: int, message: str) -> None:
    assert server.error(path, {"instances": [1]}) == (status, message)


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


class SlowCore:
    """A core whose models take their time."""

    def __init__(self) -> None:
        self.is_over = threading.Event()

    @contextmanager
    def handle(self, spec: Any) -> Iterator[Any]:
        self.is_over.wait(30)
        raise StatusError(Code.NOT_FOUND, spec.name)
        yield


async def post(application: Any, path: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
    """Send one request straight into an ASGI application."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b""}
    await application(scope | {"headers": [], "root_path": "", "http_version": "1.1"}, receive, send)
    headers = {key.decode(): value.decode() for key, value in sent[0]["headers"]}
    return sent[0]["status"], headers, sent[1]["body"]


def test_a_request_that_takes_too_long_is_answered_and_told_so() -> None:
    core = SlowCore()
    api = RestApi(core)  # type: ignore[arg-type]  # a double
    transport = RestTransport(api, timeout_ms=20, threads=1, is_cors_enabled=True)
    status, headers, body = asyncio.run(post(transport, "/v1/models/slow:predict", b'{"instances": [1]}'))
    core.is_over.set()
    transport.close()
    assert status == 504
    assert json.loads(body) == {"error": "Timed out waiting for notification"}
    assert headers["access-control-allow-origin"] == "*"
    assert headers["content-type"] == "application/json"


def test_paths_outside_of_v1_are_not_found(server: Any) -> None:
    assert server.call("/other")[0] == 404


def test_a_long_value_is_cut_in_the_message(server: Any) -> None:
    status, text = server.error(PREDICT, {"inputs": ["x" * 10_000]})
    assert status == 400
    assert len(text) < 500
