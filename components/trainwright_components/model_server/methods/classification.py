"""Classify: signatures that give labels, scores or both for serialised tf.Examples."""

from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import types_pb2
from tensorflow_serving.apis import classification_pb2

from trainwright_components.model_server.methods.examples import (
    INPUT_ALIAS,
    find_signature,
    serialized_examples,
    shape_text,
)
from trainwright_components.model_server.servable import Servable, Tensors
from trainwright_components.model_server.status import Code, StatusError, invalid_argument

CLASSIFY_METHOD = "tensorflow/serving/classify"
_CLASSES, _SCORES = "classes", "scores"


def run_classify(
    model: Servable, request: classification_pb2.ClassificationRequest, *, is_method_checked: bool = False
) -> classification_pb2.ClassificationResponse:
    """Answer a ClassificationRequest; the caller fills in name and version of the response's ModelSpec.

    Args:
        model: The version that was asked.
        request: The question.
        is_method_checked: Refuse signatures of another method.

    Raises:
        StatusError: The signature cannot classify, or the computation failed.
    """
    name, signature = find_signature(model, request.model_spec)
    outputs = classification_outputs(signature, is_method_checked=is_method_checked)
    examples = serialized_examples(request.input)
    values = model.run(name, {INPUT_ALIAS: examples}, outputs)
    response = classification_pb2.ClassificationResponse(result=classification_result(values, len(examples)))
    response.model_spec.signature_name = name
    return response


def classification_outputs(signature: Any, *, is_method_checked: bool) -> list[str]:
    """The outputs of a signature that hold a classification.

    Raises:
        StatusError: It cannot classify.
    """
    if is_method_checked and signature.method_name != CLASSIFY_METHOD:
        raise invalid_argument(
            f"Expected classification signature method_name to be {CLASSIFY_METHOD}. Was: {signature.method_name}"
        )
    if len(signature.inputs) != 1:
        raise invalid_argument("Expected one input Tensor.")
    if len(signature.outputs) not in {1, 2}:
        raise invalid_argument(f"Expected one or two output Tensors, found {len(signature.outputs)}")
    if INPUT_ALIAS not in signature.inputs:
        raise StatusError(Code.FAILED_PRECONDITION, f"No classification inputs found in SignatureDef: {signature}")
    outputs = [alias for alias in (_CLASSES, _SCORES) if alias in signature.outputs]
    if not outputs:
        raise StatusError(
            Code.FAILED_PRECONDITION,
            f'Expected classification signature outputs to contain at least one of "{_CLASSES}" or "{_SCORES}". '
            f"Signature was: {signature}",
        )
    return outputs


def classification_result(values: Tensors, count: int) -> classification_pb2.ClassificationResult:
    """The result of `count` examples, from `classes` (string), `scores` (float) or both, each `(count, classes)`.

    Raises:
        StatusError: The tensors are not of that kind.
    """
    classes, scores = values.get(_CLASSES), values.get(_SCORES)
    if classes is not None:
        _check(_CLASSES, classes, tf.string, count)
    if scores is not None:
        _check(_SCORES, scores, tf.float32, count)
    if classes is not None and scores is not None and classes.shape[1] != scores.shape[1]:
        raise invalid_argument(
            f"Tensors class and score should match in dim_size(1). Got {classes.shape[1]} vs. {scores.shape[1]}"
        )
    result = classification_pb2.ClassificationResult()
    for row in range(count):
        entry = result.classifications.add()
        labels = [] if classes is None else [_text(label) for label in classes[row]]
        numbers = [] if scores is None else scores[row].tolist()
        for column in range(max(len(labels), len(numbers))):
            entry.classes.add(label=labels[column] if labels else "", score=numbers[column] if numbers else 0.0)
    return result


def _check(name: str, value: Any, dtype: tf.DType, count: int) -> None:
    if np.ndim(value) != 2:
        raise invalid_argument(f"Expected Tensor shape: [batch_size num_classes] but got {shape_text(value)}")
    found = tf.as_dtype(value.dtype)
    if found != dtype:
        raise invalid_argument(f"Expected {name} Tensor of {_type_name(dtype)}. Got: {_type_name(found)}")
    if len(value) != count:
        raise invalid_argument(f"Expected {name} output batch size of {count}. Got: {len(value)}")


def _type_name(dtype: tf.DType) -> str:
    return str(types_pb2.DataType.Name(dtype.as_datatype_enum))


def _text(label: bytes | str) -> str:
    return label.decode(errors="replace") if isinstance(label, bytes) else label
