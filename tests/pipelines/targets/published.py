"""What the services publish of their interfaces, to hold doubles and requests against.

KFP's v2beta1 REST API comes from the folder that TRAINWRIGHT_KFP_API_DIR names; Vertex' messages come with its client.
"""

import copy
import json
import os
import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from jsonschema import Draft4Validator

FOLDER_VARIABLE = "TRAINWRIGHT_KFP_API_DIR"
_BESIDE_THE_PROJECT = Path(__file__).parents[4] / "shared" / "kfp-api"
_FILE = "kfp_api_single_file.swagger.json"


def kfp_api_file() -> Path | None:
    """The published description of KFP's API; None where neither folder has it."""
    folders = [Path(os.environ[FOLDER_VARIABLE])] if FOLDER_VARIABLE in os.environ else [_BESIDE_THE_PROJECT]
    return next((folder / _FILE for folder in folders if (folder / _FILE).is_file()), None)


class KfpApi:
    """KFP's REST API as its Swagger file describes it."""

    def __init__(self, file: Path) -> None:
        self._document = json.loads(file.read_text())

    def faults_of_request(self, method: str, path: str, query: Mapping[str, str], body: bytes) -> Iterator[str]:
        """What of a request the API does not know, or knows with another type."""
        operation = self._operation(method, path)
        if operation is None:
            yield f"{method} {path} is not in the API"
            return
        parameters = {each["name"]: each for each in operation.get("parameters", [])}
        yield from (f"{method} {path}: unknown query field {name!r}" for name in query if name not in parameters)
        for each in parameters.values():
            if each["in"] == "body":
                yield from self._faults(json.loads(body or b"{}"), each["schema"], f"{method} {path}")

    def faults_of_response(self, method: str, path: str, status: int, content: Any) -> Iterator[str]:
        """What of a response the API does not know, or knows with another type."""
        operation = self._operation(method, path)
        if operation is not None:
            responses = operation["responses"]
            schema = responses.get(str(status), responses["default"]).get("schema", {})
            yield from self._faults(content, schema, f"response {status} to {method} {path}")

    def _operation(self, method: str, path: str) -> dict[str, Any] | None:
        for template, operations in self._document["paths"].items():
            if re.fullmatch(re.sub(r"\\{[^}]*\\}", "[^/:]+", re.escape(template)), path):
                operation: dict[str, Any] | None = operations.get(method.lower())
                return operation
        return None

    def _faults(self, value: Any, schema: Mapping[str, Any], where: str) -> Iterator[str]:
        validator = Draft4Validator({**schema, "definitions": self._closed})
        yield from (f"{where}: {error.json_path}: {error.message}" for error in validator.iter_errors(value))

    @cached_property
    def _closed(self) -> dict[str, Any]:
        """The definitions without room for unknown fields, which protocol buffers would drop without a word."""
        closed = copy.deepcopy(self._document["definitions"])
        for definition in closed.values():
            if "properties" in definition:
                definition.setdefault("additionalProperties", False)
        return dict(closed)


def faults_of_vertex_message(name: str, content: Any) -> list[str]:
    """What of JSON `content` the message `name` of Vertex AI's v1 API does not know, or knows with another type."""
    from google.cloud.aiplatform_v1 import types
    from google.protobuf import json_format

    message = getattr(types, name).pb()()
    try:
        json_format.ParseDict(content, message, ignore_unknown_fields=False)
    except json_format.ParseError as error:
        return [f"{name}: {error}"]
    return []
