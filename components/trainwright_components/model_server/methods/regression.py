"""Regress: signatures that give one number for each serialised tf.Example."""

from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import types_pb2
from tensorflow_serving.apis import regression_pb2

from trainwright_components.model_server.methods.examples import (
    INPUT_ALIAS,
    find_signature,
    serialized_examples,
    shape_text,
)
from trainwright_components.model_server.servable import Servable, Tensors
from trainwright_components.model_server.status import Code, StatusError, invalid_argument

REGRESS_METHOD = "tensorflow/serving/regress"
_OUTPUT = "outputs"


def run_regress(
    model: Servable, request: regression_pb2.RegressionRequest, *, is_method_checked: bool = False
) -> regression_pb2.RegressionResponse:
    """Answer a RegressionRequest; the caller fills in name and version of the response's ModelSpec.

    Args:
        model: The version that was asked.
        request: The question.
        is_method_checked: Refuse signatures of another method.

    Raises:
        StatusError: The signature cannot do regression, or the computation failed.
    """
    name, signature = find_signature(model, request.model_spec)
    outputs = regression_outputs(signature, is_method_checked=is_method_checked)
    examples = serialized_examples(request.input)
    values = model.run(name, {INPUT_ALIAS: examples}, outputs)
    response = regression_pb2.RegressionResponse(result=regression_result(values, len(examples)))
    response.model_spec.signature_name = name
    return response


def regression_outputs(signature: Any, *, is_method_checked: bool) -> list[str]:
    """The output of a signature that holds a regression.

    Raises:
        StatusError: It cannot do regression.
    """
    if is_method_checked and signature.method_name != REGRESS_METHOD:
        raise invalid_argument(
            f"Expected regression signature method_name to be {REGRESS_METHOD}. Was: {signature.method_name}"
        )
    if len(signature.inputs) != 1:
        raise invalid_argument("Expected one input Tensor.")
    if len(signature.outputs) != 1:
        raise invalid_argument("Expected one output Tensor.")
    if INPUT_ALIAS not in signature.inputs:
        raise StatusError(Code.FAILED_PRECONDITION, f"No regression inputs found in SignatureDef: {signature}")
    if _OUTPUT not in signature.outputs:
        raise StatusError(Code.FAILED_PRECONDITION, f"No regression outputs found in SignatureDef: {signature}")
    return [_OUTPUT]


def regression_result(values: Tensors, count: int) -> regression_pb2.RegressionResult:
    """The result of `count` examples, from `outputs`: float, `(count,)` or `(count, 1)`.

    Raises:
        StatusError: The tensor is not of that kind.
    """
    value = values[_OUTPUT]
    if np.ndim(value) != 1 and not (np.ndim(value) == 2 and value.shape[1] == 1):
        raise invalid_argument(
            f"Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got {shape_text(value)}"
        )
    if len(value) != count:
        raise invalid_argument(f"Input batch size did not match output batch size: {count} vs. {len(value)}")
    if value.dtype != np.float32:
        found = types_pb2.DataType.Name(tf.as_dtype(value.dtype).as_datatype_enum)
        raise invalid_argument(f"Expected output Tensor of DT_FLOAT.  Got: {found}")
    result = regression_pb2.RegressionResult()
    for number in value.ravel().tolist():
        result.regressions.add(value=number)
    return result
