"""The signatures of a TFLite file, as TensorFlow Serving finds them.

A SignatureDef in the file's metadata gives the aliases. Without one there is `serving_default`, whose aliases are the
names of the tensors.
"""

import struct
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from flatbuffers import flexbuffers
from google.protobuf.message import DecodeError
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import meta_graph_pb2

from trainwright_components.model_server.methods.inference import DEFAULT_SIGNATURE
from trainwright_components.model_server.status import invalid_argument

_METADATA = b"signature_defs_metadata"
_PREDICT_METHOD = "tensorflow/serving/predict"
_TYPES = {
    np.float32: types_pb2.DT_FLOAT,
    np.int32: types_pb2.DT_INT32,
    np.uint8: types_pb2.DT_UINT8,
    np.int64: types_pb2.DT_INT64,
    np.bytes_: types_pb2.DT_STRING,
    np.bool_: types_pb2.DT_BOOL,
    np.int16: types_pb2.DT_INT16,
    np.int8: types_pb2.DT_INT8,
    np.complex64: types_pb2.DT_COMPLEX64,
    np.float16: types_pb2.DT_HALF,
    np.float64: types_pb2.DT_DOUBLE,
}


def read_signatures(
    content: bytes, inputs: Mapping[str, Mapping[str, Any]], outputs: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """SignatureDef by name, whose TensorInfo names are those of the file's tensors.

    Args:
        content: The file.
        inputs: The interpreter's details of the input tensors, by name.
        outputs: Likewise of the output tensors.

    Raises:
        StatusError: The metadata names a tensor that the model lacks, or a tensor has a type that cannot be served.
    """
    written = _written_signatures(content)
    if len(written) > 1:
        raise invalid_argument("Multiple SignatureDefs found in TfLite model")
    if not written:
        signature = meta_graph_pb2.SignatureDef(method_name=_PREDICT_METHOD)
        for tensors, details in ((signature.inputs, inputs), (signature.outputs, outputs)):
            for name, detail in details.items():
                tensors[name].CopyFrom(_tensor_info(detail))
        return {DEFAULT_SIGNATURE: signature}
    (found,) = written.values()
    signature = meta_graph_pb2.SignatureDef(method_name=found.method_name)
    for tensors, names, details in (
        (signature.inputs, found.inputs, inputs),
        (signature.outputs, found.outputs, outputs),
    ):
        for alias, info in names.items():
            tensors[alias].CopyFrom(_tensor_info(details[_tensor_name(info.name, details)]))
    return {DEFAULT_SIGNATURE: signature}


def _written_signatures(content: bytes) -> dict[str, Any]:
    model = schema.Model.GetRootAs(content, 0)
    for index in range(model.MetadataLength()):
        entry = model.Metadata(index)
        if entry.Name() != _METADATA:
            continue
        try:
            texts = flexbuffers.GetRoot(model.Buffers(entry.Buffer()).DataAsNumpy().tobytes()).AsMap
            pairs = zip(texts.Keys, texts.Values, strict=True)
            return {key.AsKey: meta_graph_pb2.SignatureDef.FromString(_raw(text)) for key, text in pairs}
        except (DecodeError, ValueError, TypeError, IndexError, AttributeError, struct.error) as error:
            raise invalid_argument(f"Invalid SignatureDefs found in TfLite model: {error}") from error
    return {}


def _raw(text: Any) -> bytes:
    return bytes(text.AsStringBytes if text.IsString else text.AsBlob)


def _tensor_name(name: str, known: Iterable[str]) -> str:
    """The tensor's name in the file; older converters cut the output number."""
    for candidate in (name, name.partition(":")[0]):
        if candidate in known:
            return candidate
    raise invalid_argument(f"Cannot find tensor {name} of the signature in the TfLite model")


def _tensor_info(detail: Mapping[str, Any]) -> Any:
    dtype = _TYPES.get(detail["dtype"])
    if dtype is None:
        raise invalid_argument(f"TfLite tensor {detail['name']} is of type {detail['dtype'].__name__}, not supported")
    info = meta_graph_pb2.TensorInfo(name=detail["name"], dtype=dtype)
    for size in detail["shape_signature"]:
        info.tensor_shape.dim.add(size=int(size))
    return info
