"""Ask a model server over REST with the standard library alone; no TensorFlow is imported."""

import base64
import json
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from trainwright_components.errors import InvalidSetting, ServingUnavailable

DEFAULT_TIMEOUT_S = 30.0
_PROBE_TIMEOUT_S = 1.0

# A proxy of the environment must not come between this machine and its own server.
_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def predict(
    address: str,
    model: str,
    *,
    instances: Sequence[Any] | None = None,
    inputs: Any = None,
    signature_name: str = "",
    version: int | None = None,
    timeout_s: float = DEFAULT_TIMEOUT_S,
) -> Any:
    """Ask a model for predictions.

    Args:
        address: The server, such as http://127.0.0.1:8501.
        model: The model's name.
        instances: Rows: one value, list or mapping of named inputs each. Bytes and arrays are converted.
        inputs: Columns: one value or list, or a mapping of named inputs. Give this or `instances`.
        signature_name: Another signature than `serving_default`.
        version: Another version than the one now served by default.
        timeout_s: Seconds to wait.

    Returns:
        What the server calls `predictions` (of `instances`) or `outputs` (of `inputs`).

    Raises:
        InvalidSetting: Both or neither of `instances` and `inputs` are given.
        ServingUnavailable: The server cannot be reached or refuses the request; the message says why.
    """
    if (instances is None) == (inputs is None):
        raise InvalidSetting("give either instances (rows) or inputs (columns)")
    key, value = ("instances", instances) if inputs is None else ("inputs", inputs)
    request = {"signature_name": signature_name} if signature_name else {}
    path = _model_path(model, version) + ":predict"
    answer = _call(address, path, json.dumps(request | {key: jsonable(value)}).encode(), timeout_s=timeout_s)
    return answer["predictions" if key == "instances" else "outputs"]


def version_states(
    address: str, model: str, *, timeout_s: float = DEFAULT_TIMEOUT_S
) -> dict[int, tuple[str, str]] | None:
    """State and error message of each version that the server knows of a model; None when it knows no such model.

    Raises:
        ServingUnavailable: The server cannot be reached.
    """
    try:
        answer = _call(address, _model_path(model, None), None, timeout_s=timeout_s)
    except _Refused as error:
        if error.status == 404:
            return None
        raise
    return {
        int(entry["version"]): (entry["state"], entry["status"]["error_message"])
        for entry in answer["model_version_status"]
    }


def is_answering(address: str) -> bool:
    """Whether a model server answers at `address`."""
    try:
        _call(address, "/v1/models", None, timeout_s=_PROBE_TIMEOUT_S)
    except _Refused:  # TensorFlow Serving has no list of models, and says so
        return True
    except ServingUnavailable:
        return False
    return True


def jsonable(value: Any) -> Any:
    """`value` with arrays as lists and bytes as `{"b64": ...}`."""
    if isinstance(value, Mapping):
        return {name: jsonable(item) for name, item in value.items()}
    if isinstance(value, bytes):
        return {"b64": base64.b64encode(value).decode()}
    if hasattr(value, "dtype"):
        from trainwright_components.short_floats import plain_list  # whoever has an array has paid for NumPy

        return jsonable(plain_list(value))
    if hasattr(value, "tolist"):
        return jsonable(value.tolist())
    if isinstance(value, list | tuple):
        return [jsonable(item) for item in value]
    return value


class _Refused(ServingUnavailable):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.exit_code = 2 if status < 500 else 1  # HTTP blames the request for what is below


def _model_path(model: str, version: int | None) -> str:
    path = f"/v1/models/{quote(model, safe='')}"
    return path if version is None else f"{path}/versions/{version}"


def _call(address: str, path: str, body: bytes | None, *, timeout_s: float) -> Any:
    if not address.startswith(("http://", "https://")):
        address = f"http://{address}"
    url = address.rstrip("/") + path
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(url, data=body, headers=headers)  # noqa: S310  # the scheme was checked above
    try:
        with _direct.open(request, timeout=timeout_s) as response:
            return json.load(response)
    except urllib.error.HTTPError as error:
        raise _Refused(error.code, f"{url} answered {error.code}: {_error_text(error)}") from error
    except (OSError, ValueError) as error:
        raise ServingUnavailable(f"no answer from {url}: {getattr(error, 'reason', error)}") from error


def _error_text(error: urllib.error.HTTPError) -> str:
    raw = error.read().decode(errors="replace")
    try:
        return str(json.loads(raw)["error"])
    except (ValueError, KeyError, TypeError):
        return raw.strip()[:500] or str(error.reason)
