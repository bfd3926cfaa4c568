"""The JSON of classify and regress: examples in, results out."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from tensorflow.core.example import example_pb2, feature_pb2
from tensorflow_serving.apis import classification_pb2, input_pb2, regression_pb2

from trainwright_components.model_server.rest.json_array import decoded_base64, is_base64
from trainwright_components.model_server.rest.json_values import decimal_text, json_type, quoted, shown
from trainwright_components.model_server.status import invalid_argument

_INT64 = range(-(1 << 63), 1 << 63)
_UINT64 = range(1 << 64)
_KIND_NAMES = {"bytes_list": "bytes", "float_list": "float", "int64_list": "int64"}


def read_examples(document: Mapping[str, Any]) -> input_pb2.Input:
    """Make the input of a classify or regress request from its `examples`, and its `context` if it has one.

    Raises:
        StatusError: The request does not fit.
    """
    examples = input_pb2.Input()
    listed = examples.example_list.examples
    if "context" in document:
        examples.example_list_with_context.context.CopyFrom(_example(document["context"]))
        listed = examples.example_list_with_context.examples
    if "examples" not in document:
        raise invalid_argument(
            f"JSON Value: {shown(document)} When method is classify, key 'examples' is expected and was not found"
        )
    values = document["examples"]
    if not isinstance(values, list):
        raise invalid_argument(f"JSON Value: {shown(document)} Expecting 'examples' value to be an list/array")
    if not values:
        raise invalid_argument(f"JSON Value: {shown(document)} 'examples' value is an empty array")
    for value in values:
        listed.append(_example(value))
    return examples


def write_classification(result: classification_pb2.ClassificationResult) -> str:
    """The JSON answer: for each example, a list of label and score."""
    rows = (
        "[" + ", ".join(f"[{quoted(c.label)}, {_decimal(c.score)}]" for c in entry.classes) + "]"
        for entry in result.classifications
    )
    return '{\n    "results": [' + ", ".join(rows) + "]\n}"


def write_regression(result: regression_pb2.RegressionResult) -> str:
    """The JSON answer: one number for each example."""
    return '{\n    "results": [' + ", ".join(_decimal(entry.value) for entry in result.regressions) + "]\n}"


def _decimal(number: float) -> str:
    return decimal_text(np.float32(number), np.float32)


def _example(value: Any) -> example_pb2.Example:
    if not isinstance(value, dict):
        raise invalid_argument(f"Example must be JSON object but got JSON {json_type(value)}")
    example = example_pb2.Example()
    for name, content in value.items():
        if not _is_encodable(name):
            raise invalid_argument(f"Feature: {shown(name)} has a name that is not valid UTF-8")
        feature = feature_pb2.Feature()
        for item in content if isinstance(content, list) else [content]:
            _add(feature, name, item)
        example.features.feature[name].CopyFrom(feature)
    return example


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
    return True


def _add(feature: feature_pb2.Feature, name: str, value: Any) -> None:
    if isinstance(value, bool | int) and value not in _INT64 and value in _UINT64:
        _check_kind(feature, name, "int64_list")
        raise invalid_argument(f"Feature: {name} has uint64_t element. Only int64_t is supported.")
    if isinstance(value, bool | int) and value in _INT64:
        _check_kind(feature, name, "int64_list")
        feature.int64_list.value.append(int(value))
    elif isinstance(value, int | float):  # an integer too large for 64 bits is a decimal
        _check_kind(feature, name, "float_list")
        feature.float_list.value.append(float(value))  # infinite beyond the range of float32
    elif isinstance(value, str):
        _check_kind(feature, name, "bytes_list")
        feature.bytes_list.value.append(value.encode(errors="surrogatepass"))
    elif is_base64(value):
        _check_kind(feature, name, "bytes_list")
        feature.bytes_list.value.append(decoded_base64(value))
    else:
        raise invalid_argument(f"Feature: {name} has element with unexpected JSON type: {json_type(value)}")


def _check_kind(feature: feature_pb2.Feature, name: str, kind: str) -> None:
    found = feature.WhichOneof("kind")
    if found not in {None, kind}:
        raise invalid_argument(f"Unexpected element type in feature: {name} expecting type: {_KIND_NAMES[found]}")
