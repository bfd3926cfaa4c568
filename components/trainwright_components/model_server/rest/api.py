"""The REST API: TensorFlow Serving's paths, bodies and error texts; `transport` puts HTTP around it."""

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_pb2,
    regression_pb2,
)

from trainwright_components.model_server.core.metadata import (
    get_model_metadata,
    get_model_status,
    metadata_json,
    status_json,
)
from trainwright_components.model_server.core.predictor import Predictor
from trainwright_components.model_server.rest.json_document import parse_object
from trainwright_components.model_server.rest.json_examples import (
    read_examples,
    write_classification,
    write_regression,
)
from trainwright_components.model_server.rest.json_plain import read_plain
from trainwright_components.model_server.rest.json_request import JsonRequest, read_exactly, signature_name
from trainwright_components.model_server.rest.json_response import write_predict
from trainwright_components.model_server.status import Code, StatusError, invalid_argument

logger = logging.getLogger(__name__)

_INT64_LIMIT, _INT64_DIGITS = 1 << 63, 19
_VERSION_OR_LABEL = r"(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
_PREDICTION = re.compile(
    rf"/v1/models/(?P<name>[^/:]+){_VERSION_OR_LABEL}:(?P<method>classify|regress|predict)", re.IGNORECASE | re.ASCII
)
_STATUS = re.compile(
    rf"/v1/models(?:/(?P<name>[^/:]+))?{_VERSION_OR_LABEL}(?:/(?P<part>metadata))?", re.IGNORECASE | re.ASCII
)


@dataclass(frozen=True, kw_only=True)
class ParsedPredict:
    """A Predict request that was read by the signatures of one version; another version may read it otherwise."""

    signatures: Mapping[str, Any]
    request: JsonRequest


class NotQuick(Exception):
    """The answer may take a while; ask in a thread that may wait, with what was `parsed` already."""

    def __init__(self, parsed: ParsedPredict | None = None) -> None:
        super().__init__()
        self.parsed = parsed


class RestApi:
    """Answers requests.

    Args:
        predictor: Answers them as messages; its core looks models up.
    """

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor
        self._core = predictor.core
        self._methods = {"classify": self._classify, "regress": self._regress}

    def answer(
        self, method: str, target: str, body: bytes, *, must_be_quick: bool = False, parsed: ParsedPredict | None = None
    ) -> str:
        """The JSON that answers a request.

        Args:
            method: Such as POST.
            target: Path and query as they came.
            body: Uncompressed.
            must_be_quick: Raise `NotQuick` instead of computing what may take a while.
            parsed: What `NotQuick` brought, when the same request was answered before.

        Raises:
            StatusError: The request is refused, or failed.
        """
        try:
            return self._dispatch(method, target, body, must_be_quick, parsed)
        except (StatusError, NotQuick):
            raise
        except Exception as error:
            logger.exception("%s %s failed", method, target)
            raise StatusError(Code.INTERNAL, f"{type(error).__name__}: {error}") from error

    def _dispatch(
        self, method: str, target: str, body: bytes, must_be_quick: bool, parsed: ParsedPredict | None
    ) -> str:
        if method == "POST" and (match := _PREDICTION.fullmatch(target)):
            return self._infer(match, body, must_be_quick, parsed)
        if method == "GET" and (match := _STATUS.fullmatch(target)):
            return self._describe(match)
        raise invalid_argument(f"Malformed request: {method} {target}")

    def _infer(self, match: re.Match[str], body: bytes, must_be_quick: bool, parsed: ParsedPredict | None) -> str:
        method = match["method"].lower()
        if method == "predict":
            return self._predict(_model_spec(match), body, must_be_quick, parsed)
        if must_be_quick:
            raise NotQuick
        return self._methods[method](_model_spec(match), parse_object(body))

    def _predict(
        self, spec: model_pb2.ModelSpec, body: bytes, must_be_quick: bool, parsed: ParsedPredict | None
    ) -> str:
        try:
            handle = self._core.handle(spec)
        except StatusError:
            signature_name(parse_object(body))  # what is wrong with the body is said first
            raise
        with handle:
            signatures = handle.servable.signatures
            if parsed is not None and parsed.signatures is signatures:
                request = parsed.request
            else:
                request = read_plain(body, signatures) or read_exactly(body, signatures)
            if must_be_quick and not handle.servable.is_quick(request.signature_name):
                raise NotQuick(ParsedPredict(signatures=signatures, request=request))
            signature = signatures[request.signature_name]
            self._predictor.check_method(signature)
            outputs = handle.servable.run(request.signature_name, request.inputs, sorted(signature.outputs))
            self._predictor.log_tensors(handle, request.signature_name, request.inputs, outputs)
        return write_predict(outputs, is_row=request.is_row)

    def _classify(self, spec: model_pb2.ModelSpec, document: dict[str, Any]) -> str:
        _set_signature(spec, document)
        request = classification_pb2.ClassificationRequest(model_spec=spec, input=read_examples(document))
        return write_classification(self._predictor.classify(request).result)

    def _regress(self, spec: model_pb2.ModelSpec, document: dict[str, Any]) -> str:
        _set_signature(spec, document)
        request = regression_pb2.RegressionRequest(model_spec=spec, input=read_examples(document))
        return write_regression(self._predictor.regress(request).result)

    def _describe(self, match: re.Match[str]) -> str:
        if not match["name"]:
            raise invalid_argument("Missing model name in request.")
        spec = _model_spec(match)
        if match["part"]:
            fields = get_model_metadata_pb2.GetModelMetadataRequest(model_spec=spec, metadata_field=["signature_def"])
            return metadata_json(get_model_metadata(self._core, fields))
        return status_json(get_model_status(self._core, get_model_status_pb2.GetModelStatusRequest(model_spec=spec)))


def _set_signature(spec: model_pb2.ModelSpec, document: dict[str, Any]) -> None:
    name = signature_name(document)
    try:
        spec.signature_name = name
    except UnicodeEncodeError as error:  # half of a surrogate pair, which no signature's name holds
        raise invalid_argument(f"No signature was found with the name: {name}") from error


def _model_spec(match: re.Match[str]) -> Any:
    spec = model_pb2.ModelSpec(name=unquote(match["name"]))
    if match["version"]:
        digits = match["version"].lstrip("0") or "0"
        if len(digits) > _INT64_DIGITS or int(digits) >= _INT64_LIMIT:
            raise invalid_argument(f"Failed to convert version: {match['version']} to numeric.")
        spec.version.value = int(digits)
    if match["label"]:
        spec.version_label = unquote(match["label"])
    return spec
