"""Golden requests: known inputs with known answers, replayed through REST and gRPC and compared."""

import base64
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import get_model_metadata_pb2, model_pb2, predict_pb2, prediction_service_pb2_grpc

from trainwright_components.errors import InvalidData, ServingUnavailable
from trainwright_components.model_server.operation.client import predict
from trainwright_components.saved_models.signatures import SERVING_DEFAULT

DEFAULT_TOLERANCE = 1e-5
DEFAULT_TIMEOUT_S = 60.0
_CHANNEL_OPTIONS = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.enable_http_proxy", 0),
]
_NUMERIC = "biuf"
_SHOWN = 80


@dataclass(frozen=True, kw_only=True)
class GoldenRequest:
    """One request in columnar form with the answer it must get.

    Args:
        index: Its line in the file, from 1.
        inputs: Nested lists by input name; bytes as `{"b64": ...}`.
        outputs: Nested lists by output name.
        tolerance: Largest difference allowed.
        is_absolute: Whether the tolerance is the same for all numbers; else it is in proportion to those above 1.
    """

    index: int
    signature_name: str
    inputs: Mapping[str, Any]
    outputs: Mapping[str, Any]
    tolerance: float = DEFAULT_TOLERANCE
    is_absolute: bool = False


class GoldenMismatch(Exception):
    """Answers that are not the golden ones; the message names the request that is furthest off."""


@dataclass(frozen=True, kw_only=True)
class Server:
    """Where one version of a model answers."""

    rest_address: str
    grpc_address: str
    model_name: str
    version: int


@dataclass(frozen=True, kw_only=True)
class _Comparison:
    difference: float
    problem: str = ""


_Ask = Callable[[GoldenRequest], Mapping[str, Any]]
_EMPTY = _Comparison(difference=0.0)


@dataclass(frozen=True, kw_only=True)
class GoldenResult:
    """All golden requests were answered as they must be.

    Args:
        largest_difference: Between a number of an answer and the golden one.
    """

    requests: int
    largest_difference: float


def read_golden_requests(file: Path) -> list[GoldenRequest]:
    """Read golden requests from a JSON-lines file.

    Raises:
        InvalidData: The file is missing, holds none, or a line is not one.
    """
    try:
        lines = file.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidData(f"cannot read golden requests from {file}: {error}") from error
    requests = [_golden_request(file, number, line) for number, line in enumerate(lines, 1) if line.strip()]
    if not requests:
        raise InvalidData(f"{file} holds no golden requests: a version cannot be proved without one")
    return requests


def replay(requests: list[GoldenRequest], server: Server, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> GoldenResult:
    """Send every request through REST and through gRPC.

    Raises:
        GoldenMismatch: A request is refused, or its answer differs by more than its tolerance.
    """
    with grpc.insecure_channel(server.grpc_address, options=_CHANNEL_OPTIONS) as channel:
        over_grpc = _GrpcAsker(channel, server, timeout_s)
        ways: dict[str, _Ask] = {
            "REST": lambda request: _ask_rest(server, request, timeout_s),
            "gRPC": over_grpc.ask,
        }
        comparisons = [_compared(request, way, ask) for request in requests for way, ask in ways.items()]
    failed = [comparison for comparison in comparisons if comparison.problem]
    if failed:
        worst = max(failed, key=lambda comparison: comparison.difference)
        raise GoldenMismatch(f"{worst.problem}; {len(failed)} of {len(comparisons)} answers are not as they must be")
    return GoldenResult(requests=len(requests), largest_difference=max(c.difference for c in comparisons))


def _golden_request(file: Path, number: int, line: str) -> GoldenRequest:
    try:
        content = json.loads(line)
        return GoldenRequest(
            index=number,
            signature_name=str(content.get("signature_name") or SERVING_DEFAULT),
            inputs=dict(content["inputs"]),
            outputs=dict(content["outputs"]),
            tolerance=float(content.get("tolerance", DEFAULT_TOLERANCE)),
            is_absolute=bool(content.get("is_absolute", False)),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidData(f"{file}, line {number}, is not a golden request: {error}") from error


def _compared(request: GoldenRequest, way: str, ask: _Ask) -> _Comparison:
    name = f"golden request {request.index} ({request.signature_name}) over {way}"
    try:
        answer = ask(request)
    except grpc.RpcError as error:
        return _Comparison(difference=math.inf, problem=f"{name} is refused: {error.code().name}: {error.details()}")
    except (ServingUnavailable, ValueError, TypeError) as error:
        return _Comparison(difference=math.inf, problem=f"{name} is refused: {error}")
    outputs = [_compared_output(name, request, alias, answer) for alias in request.outputs]
    return max(outputs, key=lambda output: (bool(output.problem), output.difference), default=_EMPTY)


def _compared_output(name: str, request: GoldenRequest, alias: str, answer: Mapping[str, Any]) -> _Comparison:
    if alias not in answer:
        problem = f"{name}: output {alias!r} is missing; the answer has {sorted(answer)}"
        return _Comparison(difference=math.inf, problem=problem)
    wanted, got = np.asarray(_plain(request.outputs[alias])), np.asarray(_plain(answer[alias]))
    if wanted.shape != got.shape:
        problem = f"{name}: output {alias!r} has shape {got.shape}, not {wanted.shape}"
        return _Comparison(difference=math.inf, problem=problem)
    if wanted.dtype.kind not in _NUMERIC or got.dtype.kind not in _NUMERIC:
        return _compared_texts(name, alias, wanted, got)
    wanted, got = wanted.astype(np.float64), got.astype(np.float64)
    differences = _differences(wanted, got)
    difference = float(differences.max(initial=0.0))
    is_proportional = np.isfinite(wanted) & (not request.is_absolute)
    scale = np.where(is_proportional, np.maximum(1.0, np.abs(wanted)), 1.0)
    if (differences <= request.tolerance * scale).all():
        return _Comparison(difference=difference)
    limit = f"more than the tolerance {request.tolerance:g}"
    return _Comparison(difference=difference, problem=f"{name}: output {alias!r} differs by {difference:.6g}, {limit}")


def _compared_texts(name: str, alias: str, wanted: Any, got: Any) -> _Comparison:
    for expected, found in zip(_as_texts(wanted), _as_texts(got), strict=True):
        if expected != found:
            problem = f"{name}: output {alias!r} is {found[:_SHOWN]!r}, not {expected[:_SHOWN]!r}"
            return _Comparison(difference=math.inf, problem=problem)
    return _EMPTY


def _differences(wanted: Any, got: Any) -> Any:
    same = (wanted == got) | (np.isnan(wanted) & np.isnan(got))
    with np.errstate(invalid="ignore"):
        differences = np.where(same, 0.0, np.abs(wanted - got))
    return np.nan_to_num(differences, nan=math.inf, posinf=math.inf)


def _ask_rest(server: Server, request: GoldenRequest, timeout_s: float) -> Mapping[str, Any]:
    answer = predict(
        server.rest_address,
        server.model_name,
        inputs=request.inputs,
        signature_name=request.signature_name,
        version=server.version,
        timeout_s=timeout_s,
    )
    # With one output, TensorFlow Serving leaves its name out.
    if len(request.outputs) == 1 and not (isinstance(answer, dict) and answer.keys() == request.outputs.keys()):
        return {next(iter(request.outputs)): answer}
    return answer if isinstance(answer, dict) else {}


class _GrpcAsker:
    def __init__(self, channel: Any, server: Server, timeout_s: float) -> None:
        self._stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        self._timeout_s = timeout_s
        self._spec = model_pb2.ModelSpec(name=server.model_name)
        self._spec.version.value = server.version
        self._signatures: Mapping[str, Any] | None = None

    def ask(self, request: GoldenRequest) -> Mapping[str, Any]:
        message = predict_pb2.PredictRequest(model_spec=self._spec)
        message.model_spec.signature_name = request.signature_name
        signature = self._known_signatures().get(request.signature_name)
        for name, value in request.inputs.items():
            dtype = tf.as_dtype(signature.inputs[name].dtype) if signature and name in signature.inputs else None
            message.inputs[name].CopyFrom(tf.make_tensor_proto(_plain(value), dtype=dtype))
        answer = self._stub.Predict(message, timeout=self._timeout_s)
        return {name: tf.make_ndarray(proto) for name, proto in answer.outputs.items()}

    def _known_signatures(self) -> Mapping[str, Any]:
        if self._signatures is None:
            message = get_model_metadata_pb2.GetModelMetadataRequest(
                model_spec=self._spec, metadata_field=["signature_def"]
            )
            answer = self._stub.GetModelMetadata(message, timeout=self._timeout_s)
            found = get_model_metadata_pb2.SignatureDefMap()
            answer.metadata["signature_def"].Unpack(found)
            self._signatures = found.signature_def
        return self._signatures


def _plain(value: Any) -> Any:
    if isinstance(value, dict) and value.keys() == {"b64"}:
        return base64.b64decode(value["b64"])
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value


def _as_texts(array: Any) -> list[str]:
    return [item.decode(errors="surrogateescape") if isinstance(item, bytes) else str(item) for item in array.ravel()]
