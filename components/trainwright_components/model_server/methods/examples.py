"""What Classify, Regress and MultiInference have in common: signatures that take serialised tf.Examples."""

from typing import Any

import numpy as np
from tensorflow_serving.apis import input_pb2, model_pb2

from trainwright_components.model_server.methods.inference import DEFAULT_SIGNATURE
from trainwright_components.model_server.servable import Servable
from trainwright_components.model_server.status import invalid_argument

INPUT_ALIAS = "inputs"


def serialized_examples(examples: input_pb2.Input) -> Any:
    """The examples as a string tensor of shape `(examples,)`, each after the bytes of the context that they share.

    Raises:
        StatusError: There are none.
    """
    kind = examples.WhichOneof("kind")
    context = b""
    if kind == "example_list_with_context":
        context = examples.example_list_with_context.context.SerializeToString()
    if not count_examples(examples):
        raise invalid_argument("Input is empty.")
    tensor = np.empty(count_examples(examples), object)
    tensor[:] = [context + example.SerializeToString() for example in getattr(examples, kind).examples]
    return tensor


def count_examples(examples: input_pb2.Input) -> int:
    """How many examples there are."""
    kind = examples.WhichOneof("kind")
    return len(getattr(examples, kind).examples) if kind else 0


def find_signature(model: Servable, spec: model_pb2.ModelSpec) -> tuple[str, Any]:
    """Name and SignatureDef of the signature that `spec` names.

    Raises:
        StatusError: The model has no such signature.
    """
    name = spec.signature_name or DEFAULT_SIGNATURE
    signature = model.signatures.get(name)
    if signature is None:
        raise invalid_argument(f"No signature was found with the name: {name}")
    return name, signature


def shape_text(value: Any) -> str:
    """A shape as messages quote it."""
    return "[" + ",".join(str(size) for size in np.shape(value)) + "]"
