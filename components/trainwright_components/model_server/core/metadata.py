"""Answers about models rather than by them: GetModelStatus and GetModelMetadata, as messages and as JSON."""

from typing import Any

from google.protobuf import json_format
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2

from trainwright_components.model_server.core.server_core import ServerCore
from trainwright_components.model_server.status import Code, StatusError, invalid_argument

_SIGNATURE_FIELD = "signature_def"


def get_model_status(
    core: ServerCore, request: get_model_status_pb2.GetModelStatusRequest
) -> get_model_status_pb2.GetModelStatusResponse:
    """States of the versions of a model; a label is not looked at, as in TensorFlow Serving.

    Raises:
        StatusError: No such model or version.
    """
    if not request.HasField("model_spec"):
        raise invalid_argument("Missing ModelSpec")
    spec = request.model_spec
    response = get_model_status_pb2.GetModelStatusResponse()
    for state in core.states(spec.name, spec.version.value if spec.HasField("version") else None):
        entry = response.model_version_status.add(version=state.id.version, state=state.state.value)
        entry.status.error_code = state.error_code.value
        entry.status.error_message = state.error_message
    return response


def get_model_metadata(
    core: ServerCore, request: get_model_metadata_pb2.GetModelMetadataRequest
) -> get_model_metadata_pb2.GetModelMetadataResponse:
    """The signatures of a version.

    Raises:
        StatusError: No such version, or a metadata field that does not exist.
    """
    if not request.HasField("model_spec"):
        raise invalid_argument("Missing ModelSpec")
    if not request.metadata_field:
        raise invalid_argument("GetModelMetadataRequest must specify at least one metadata_field")
    for field in request.metadata_field:
        if field != _SIGNATURE_FIELD:
            raise invalid_argument(f"Metadata field {field} is not supported")
    response = get_model_metadata_pb2.GetModelMetadataResponse()
    with core.handle(request.model_spec) as handle:
        signatures = get_model_metadata_pb2.SignatureDefMap()
        for name, signature in handle.servable.signatures.items():
            signatures.signature_def[name].CopyFrom(signature)
        response.model_spec.name = handle.id.name
        response.model_spec.version.value = handle.id.version
    response.metadata[_SIGNATURE_FIELD].Pack(signatures)
    return response


def status_json(response: get_model_status_pb2.GetModelStatusResponse) -> str:
    """The JSON that REST clients get."""
    return _json(response)


def metadata_json(response: get_model_metadata_pb2.GetModelMetadataResponse) -> str:
    """The JSON that REST clients get."""
    signatures = get_model_metadata_pb2.SignatureDefMap()
    if not response.metadata[_SIGNATURE_FIELD].Unpack(signatures):
        raise StatusError(Code.INTERNAL, "Failed to unpack 'Any' object to 'SignatureDefMap'.")
    spec = _json(response.model_spec)
    return f'{{\n"model_spec":{spec},\n"metadata": {{"signature_def": {_json(signatures)}}}\n}}\n'


def _json(message: Any) -> str:
    return str(
        json_format.MessageToJson(
            message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True, indent=1
        )
    )
