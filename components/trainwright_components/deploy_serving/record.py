"""The deployment record: what a person or another program needs to use, stop and trace a deployment."""

import json
import shlex
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from trainwright_components.deploy_serving.deploy import Deployment
from trainwright_components.files import write_whole
from trainwright_components.saved_models.golden import GoldenRequest
from trainwright_components.saved_models.signatures import SERVING_DEFAULT

STOP_COMMAND = "trainwright serve stop"
_PASTE_LIMIT = 1500  # terminals cut a pasted line at 4,096 bytes


def record_of(deployment: Deployment) -> dict[str, Any]:
    """The record as plain JSON values; the first five are also the artifact's metadata."""
    return metadata_of(deployment) | {
        "model_name": deployment.model_name,
        "model_base_path": str(deployment.base_path),
        "previous_version": deployment.previous_version,
        "is_new_version": deployment.is_new_version,
        "content_digest": deployment.content_digest,
        "golden": asdict(deployment.golden),
        "history": [asdict(entry) for entry in deployment.history],
    }


def metadata_of(deployment: Deployment) -> dict[str, Any]:
    """The values that pages and the command line show."""
    return {
        "rest_url": deployment.rest_url,
        "grpc_address": deployment.server.grpc_address,
        "version": deployment.version,
        "curl": curl_line(deployment),
        "stop_command": STOP_COMMAND,
    }


def write_record(deployment: Deployment, path: Path) -> None:
    """Write the record to `path` as JSON."""
    write_whole(path, json.dumps(record_of(deployment), indent=2) + "\n")


def curl_line(deployment: Deployment) -> str:
    """A command that asks the model for one prediction and works when pasted into a shell.

    A long request goes into a file next to the versions.
    """
    body = json.dumps(_first_row(deployment.example), separators=(",", ":"))
    url = shlex.quote(f"{deployment.rest_url}:predict")
    if len(body) <= _PASTE_LIMIT:
        return f"curl -s -d {shlex.quote(body)} {url}"
    file = deployment.base_path / ".example_request.json"
    write_whole(file, body + "\n")
    return f"curl -s -d {shlex.quote(f'@{file}')} {url}"


def _first_row(request: GoldenRequest) -> dict[str, Any]:
    body: dict[str, Any] = {}
    if request.signature_name != SERVING_DEFAULT:
        body["signature_name"] = request.signature_name
    if not all(isinstance(value, list) and value for value in request.inputs.values()):
        return body | {"inputs": request.inputs}
    row: Mapping[str, Any] = {name: value[0] for name, value in request.inputs.items()}
    return body | {"instances": [next(iter(row.values())) if len(row) == 1 else row]}
