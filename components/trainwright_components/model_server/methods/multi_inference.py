"""MultiInference: several classifications and regressions of the same examples in one run."""

from typing import Any

from tensorflow_serving.apis import inference_pb2

from trainwright_components.model_server.methods.classification import (
    CLASSIFY_METHOD,
    classification_outputs,
    classification_result,
)
from trainwright_components.model_server.methods.examples import INPUT_ALIAS, serialized_examples
from trainwright_components.model_server.methods.inference import DEFAULT_SIGNATURE
from trainwright_components.model_server.methods.regression import REGRESS_METHOD, regression_outputs, regression_result
from trainwright_components.model_server.servable import OutputOf, Servable, Tensors
from trainwright_components.model_server.status import Code, StatusError, invalid_argument


def run_multi_inference(
    model: Servable, request: inference_pb2.MultiInferenceRequest, *, is_method_checked: bool = False
) -> inference_pb2.MultiInferenceResponse:
    """Answer a MultiInferenceRequest; the caller fills in names and versions of the results' ModelSpecs.

    Args:
        model: The version that the first task asked.
        request: The question.
        is_method_checked: Refuse signatures of another method than their task's.

    Raises:
        StatusError: A task cannot be done, tasks do not fit together, or the computation failed.
    """
    wanted = _wanted_outputs(model, request, is_method_checked=is_method_checked)
    examples = serialized_examples(request.input)
    flat = [OutputOf(signature=name, alias=alias) for name, aliases in wanted.items() for alias in aliases]
    values = dict(zip(flat, model.run_together({INPUT_ALIAS: examples}, flat), strict=True))
    response = inference_pb2.MultiInferenceResponse()
    for task in request.tasks:
        name = task.model_spec.signature_name or DEFAULT_SIGNATURE
        found = {alias: values[OutputOf(signature=name, alias=alias)] for alias in wanted[name]}
        result = response.results.add()
        result.model_spec.signature_name = name
        _fill(result, task.method_name, found, len(examples))
    return response


def _wanted_outputs(
    model: Servable, request: inference_pb2.MultiInferenceRequest, *, is_method_checked: bool
) -> dict[str, list[str]]:
    wanted: dict[str, list[str]] = {}
    model_name = input_tensor = ""
    for task in request.tasks:
        spec = task.model_spec
        if not spec.name:
            raise invalid_argument("Found ModelSpec with an empty model name.")
        if spec.name != (model_name or spec.name):
            raise invalid_argument("All ModelSpecs in a MultiInferenceRequest must access the same model name.")
        model_name = spec.name
        name = spec.signature_name or DEFAULT_SIGNATURE
        if name in wanted:
            raise invalid_argument(f"Duplicate evaluation of signature: {name}")
        signature = model.signatures.get(name)
        if signature is None:
            raise invalid_argument(f"Requested signature not found in model graph: {name}")
        wanted[name] = _task_outputs(task.method_name, signature, is_method_checked=is_method_checked)
        tensor = signature.inputs[INPUT_ALIAS].name
        if tensor != (input_tensor or tensor):
            raise invalid_argument("Input tensor must be the same for all Signatures.")
        input_tensor = tensor
    return wanted


def _task_outputs(method: str, signature: Any, *, is_method_checked: bool) -> list[str]:
    if method == CLASSIFY_METHOD:
        return classification_outputs(signature, is_method_checked=is_method_checked)
    if method == REGRESS_METHOD:
        return regression_outputs(signature, is_method_checked=is_method_checked)
    raise StatusError(Code.UNIMPLEMENTED, f"Unsupported signature method_name: {method}")


def _fill(result: inference_pb2.InferenceResult, method: str, values: Tensors, count: int) -> None:
    if method == CLASSIFY_METHOD:
        result.classification_result.CopyFrom(classification_result(values, count))
    else:
        result.regression_result.CopyFrom(regression_result(values, count))
