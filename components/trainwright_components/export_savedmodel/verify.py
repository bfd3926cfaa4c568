"""Load an exported model as a server would and hold its answers against those of the Keras model."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainwright_components.errors import InvalidModule
from trainwright_components.export_savedmodel.requests import Arrays, Request
from trainwright_components.export_savedmodel.signatures import (
    CLASSIFY,
    EXAMPLES_INPUT,
    PREPROCESS,
    PREPROCESSED,
    REGRESS,
    SERVING_DEFAULT,
    SERVING_EXAMPLES,
)


def largest_difference(folder: Path, requests: Iterable[Request]) -> float:
    """The largest difference between numbers of the SavedModel in `folder`, through all its signatures, and `requests`.

    Raises:
        InvalidModule: A difference is over the tolerance of its request, or a class differs.
    """
    import tensorflow as tf

    loaded = tf.saved_model.load(str(folder))
    differences = [0.0]
    for request in requests:
        for name, answers in _ask_all(loaded.signatures, request):
            for output, got in answers.items():
                difference = _difference(got, request.outputs[output])
                differences.append(difference)
                if not difference <= request.tolerance:
                    raise InvalidModule(
                        f"the exported model's {output!r} through {name} differs from the Keras model's by "
                        f"{difference:.3g}, more than {request.tolerance:.3g}; does the model or preprocess draw "
                        "random numbers, or depend on the batch?"
                    )
    return max(differences)


def _ask_all(signatures: Any, request: Request) -> list[tuple[str, Arrays]]:
    """The answers of every signature that takes this request, under the names of the request's outputs."""
    asked = [(request.signature_name, _ask(signatures[request.signature_name], request.inputs))]
    if request.signature_name == SERVING_DEFAULT and PREPROCESSED in signatures:
        asked.append((PREPROCESSED, _ask(signatures[PREPROCESSED], _ask(signatures[PREPROCESS], request.inputs))))
    if request.signature_name == SERVING_EXAMPLES:
        for name in {CLASSIFY, REGRESS} & set(signatures):
            answers = _ask(signatures[name], {"inputs": request.inputs[EXAMPLES_INPUT]})
            number = next(iter(request.outputs))
            asked.append((name, {number: answers["scores" if name == CLASSIFY else "outputs"]}))
    return asked


def _ask(signature: Any, inputs: Arrays) -> Arrays:
    import tensorflow as tf

    outputs = signature(**{name: tf.constant(value) for name, value in inputs.items()})
    return {name: tensor.numpy() for name, tensor in outputs.items()}


def _difference(got: NDArray[Any], wanted: NDArray[Any]) -> float:
    if got.shape != wanted.shape:
        return float("inf")
    if wanted.dtype == object:
        same = [g.decode() if isinstance(g, bytes) else g for g in got.ravel()] == wanted.ravel().tolist()
        return 0.0 if same else float("inf")
    if not (np.isnan(got) == np.isnan(wanted)).all():
        return float("inf")
    return float(np.nanmax(np.abs(got.astype(np.float64) - wanted), initial=0.0))
