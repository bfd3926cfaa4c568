"""Text protos on the command line: read files of them, and define the messages that no published package holds."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format, wrappers_pb2

from trainwright_components.model_server.status import Code, StatusError, invalid_argument

_PACKAGE = "tensorflow.serving"
_FIELD = descriptor_pb2.FieldDescriptorProto
_TYPES = {"string": _FIELD.TYPE_STRING, "bool": _FIELD.TYPE_BOOL, "int64": _FIELD.TYPE_INT64}
_WRAPPERS = {"Int64Value", "BoolValue", "StringValue"}
_pool = descriptor_pool.DescriptorPool()
_pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)


def define_message(name: str, fields: Mapping[str, str]) -> Any:
    """The class of a message whose fields are numbered from 1 in the order given.

    Args:
        name: Its name in the package `tensorflow.serving`.
        fields: Type by name: "string", "bool", "int64", "repeated int64", a wrapper such as "Int64Value", or a message
            defined before.
    """
    file = descriptor_pb2.FileDescriptorProto(name=f"trainwright/{name}.proto", package=_PACKAGE, syntax="proto3")
    file.dependency.append(wrappers_pb2.DESCRIPTOR.name)
    message = file.message_type.add(name=name)
    for number, (field, kind) in enumerate(fields.items(), start=1):
        base = kind.removeprefix("repeated ")
        added = message.field.add(name=field, number=number)
        added.label = _FIELD.LABEL_OPTIONAL if base == kind else _FIELD.LABEL_REPEATED
        if base in _TYPES:
            added.type = _TYPES[base]
            continue
        added.type = _FIELD.TYPE_MESSAGE
        added.type_name = f".google.protobuf.{base}" if base in _WRAPPERS else f".{_PACKAGE}.{base}"
        if base not in _WRAPPERS:
            file.dependency.append(f"trainwright/{base}.proto")
    _pool.Add(file)
    return message_factory.GetMessageClass(_pool.FindMessageTypeByName(f"{_PACKAGE}.{name}"))


SSLConfig = define_message(
    "SSLConfig", {"server_key": "string", "server_cert": "string", "custom_ca": "string", "client_verify": "bool"}
)
PrometheusConfig = define_message("PrometheusConfig", {"enable": "bool", "path": "string"})
MonitoringConfig = define_message("MonitoringConfig", {"prometheus_config": "PrometheusConfig"})
BatchingParametersProto = define_message(
    "BatchingParameters",
    {
        "max_batch_size": "Int64Value",
        "batch_timeout_micros": "Int64Value",
        "max_enqueued_batches": "Int64Value",
        "num_batch_threads": "Int64Value",
        "thread_pool_name": "StringValue",
        "allowed_batch_sizes": "repeated int64",
        "pad_variable_length_inputs": "bool",
        "enable_large_batch_splitting": "BoolValue",
        "max_execution_batch_size": "Int64Value",
    },
)


def read_text_proto(path: Path, message: Any) -> Any:
    """Fill `message` from the text proto in `path` and return it.

    Raises:
        StatusError: The file cannot be read or is no such message.
    """
    try:
        return text_format.Parse(path.read_text(), message)
    except OSError as error:
        raise StatusError(Code.NOT_FOUND, f"{path}: {error.strerror}") from error
    except (text_format.ParseError, UnicodeDecodeError) as error:
        kind = message.DESCRIPTOR.full_name
        raise invalid_argument(f"Error parsing text-format {kind}: {path}: {error}") from error
