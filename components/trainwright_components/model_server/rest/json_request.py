"""The JSON of a predict request: make its tensors from rows or columns."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from trainwright_components.model_server.methods.inference import DEFAULT_SIGNATURE
from trainwright_components.model_server.rest.json_array import Column, is_object, plain_array, read_array
from trainwright_components.model_server.rest.json_document import parse_object
from trainwright_components.model_server.rest.json_values import shown
from trainwright_components.model_server.status import StatusError, invalid_argument


@dataclass(frozen=True, kw_only=True)
class JsonRequest:
    """A predict request as read: which signature, its tensors by alias, and whether they came in rows."""

    signature_name: str
    inputs: dict[str, Any]
    is_row: bool


def read_exactly(body: bytes, signatures: Mapping[str, Any]) -> JsonRequest:
    """Read a predict request by every rule.

    Args:
        body: The request.
        signatures: SignatureDef by name.

    Raises:
        StatusError: The request does not fit.
    """
    document = parse_object(body)
    name = signature_name(document) or DEFAULT_SIGNATURE
    signature = signatures.get(name)
    if signature is None:
        raise invalid_argument(f'Serving signature name: "{name}" not found in signature def')
    if not signature.inputs:
        raise invalid_argument(f"Failed to get input map for signature: {name}")
    inputs, is_row = read_predict(document, signature.inputs)
    return JsonRequest(signature_name=name, inputs=inputs, is_row=is_row)


def signature_name(document: Mapping[str, Any]) -> str:
    """The signature that a request names; empty when it names none.

    Raises:
        StatusError: The name is not a string.
    """
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        raise invalid_argument(
            f"JSON Value: {shown(document)} not formatted correctly. 'signature_name' key must be a string value."
        )
    return name


def read_predict(document: Mapping[str, Any], inputs: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
    """Make the input tensors of a predict request.

    Args:
        document: The request, `instances` (rows) or `inputs` (columns).
        inputs: TensorInfo by alias: what the signature takes.

    Returns:
        One array per alias, and whether the request came in rows.

    Raises:
        StatusError: The request does not fit.
    """
    if "instances" in document and "inputs" in document:
        raise invalid_argument(
            f"JSON Value: {shown(document)} Not formatted correctly expecting only one of 'inputs' or 'instances' "
            "keys to exist "
        )
    dtypes = {alias: tf.as_dtype(inputs[alias].dtype) for alias in sorted(inputs)}
    if "instances" in document:
        rows = document["instances"]
        if not isinstance(rows, list):
            raise invalid_argument(f"JSON Value: {shown(document)} Excepting 'instances' to be an list/array")
        if not rows:
            raise invalid_argument(f"JSON Value: {shown(document)} No values in 'instances' array")
        return _tensors_of_rows(rows, dtypes), True
    if "inputs" in document:
        return _tensors_of_columns(document["inputs"], dtypes), False
    raise invalid_argument("Missing 'inputs' or 'instances' key")


def _tensors_of_rows(rows: list[Any], dtypes: Mapping[str, tf.DType]) -> dict[str, Any]:
    if len(dtypes) > 1 and not is_object(rows[0]):
        raise invalid_argument(
            "instances is a plain list, but expecting list of objects as multiple input tensors required "
            "as per tensorinfo_map"
        )
    if not is_object(rows[0]):
        ((alias, dtype),) = dtypes.items()
        fast = plain_array(rows, dtype)
        return {alias: _exact_rows(rows, dtype) if fast is None else fast}
    if all(type(row) is dict and row.keys() == dtypes.keys() for row in rows):
        columns = {alias: plain_array([row[alias] for row in rows], dtype) for alias, dtype in dtypes.items()}
        if all(column is not None for column in columns.values()):
            return columns
    return _exact_named_rows(rows, dtypes)


def _exact_rows(rows: list[Any], dtype: tf.DType) -> Any:
    collected = Column(dtype)
    for index, row in enumerate(rows):
        if is_object(row):
            raise invalid_argument(f"Expecting value/list but got object at item {index} of input list")
        try:
            collected.add(row)
        except StatusError as error:
            raise invalid_argument(f"Failed to process element: {index} of 'instances' list. Error: {error}") from error
    return collected.array()


def _exact_named_rows(rows: list[Any], dtypes: Mapping[str, tf.DType]) -> dict[str, Any]:
    columns = {alias: Column(dtype) for alias, dtype in dtypes.items()}
    for index, row in enumerate(rows):
        if not is_object(row):
            raise invalid_argument(f"Expecting object but got list at item {index} of input list")
        for key, value in row.items():
            try:
                if key not in columns:
                    raise invalid_argument(f"JSON object: does not have named input: {key}")
                columns[key].add(value)
            except StatusError as error:
                raise invalid_argument(
                    f"Failed to process element: {index} key: {key} of 'instances' list. Error: {error}"
                ) from error
        if row.keys() != columns.keys():
            raise invalid_argument(
                f"Failed to process element: {index} of 'instances' list. JSON object: {shown(row)} "
                f"keys must be equal to: {','.join(sorted(columns))}"
            )
    return {alias: column.array() for alias, column in columns.items()}


def _tensors_of_columns(values: Any, dtypes: Mapping[str, tf.DType]) -> dict[str, Any]:
    if not is_object(values):
        if len(dtypes) > 1:
            raise invalid_argument(
                "inputs is a plain value/list, but expecting an object as multiple input tensors required "
                "as per tensorinfo_map"
            )
        ((alias, dtype),) = dtypes.items()
        return {alias: read_array(values, dtype)}
    arrays = {}
    for alias, dtype in dtypes.items():
        if alias not in values:
            raise invalid_argument(f"Missing named input: {alias} in 'inputs' object.")
        arrays[alias] = read_array(values[alias], dtype)
    return arrays
