"""Text protos on the command line: read files of them, and define the messages that no published package holds."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

from trainwright_components.model_server.status import Code, StatusError, invalid_argument

_PACKAGE = "tensorflow.serving"
_FIELD = descriptor_pb2.FieldDescriptorProto
_TYPES = {"string": _FIELD.TYPE_STRING, "bool": _FIELD.TYPE_BOOL}


def define_message(name: str, fields: Mapping[str, str]) -> Any:
    """The class of a message whose fields are numbered from 1 in the order given.

    Args:
        name: Its name in the package `tensorflow.serving`.
        fields: Type ("string" or "bool") by name.
    """
    file = descriptor_pb2.FileDescriptorProto(name=f"trainwright/{name}.proto", package=_PACKAGE, syntax="proto3")
    message = file.message_type.add(name=name)
    for number, (field, kind) in enumerate(fields.items(), start=1):
        message.field.add(name=field, number=number, type=_TYPES[kind], label=_FIELD.LABEL_OPTIONAL)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}"))


SSLConfig = define_message(
    "SSLConfig", {"server_key": "string", "server_cert": "string", "custom_ca": "string", "client_verify": "bool"}
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
