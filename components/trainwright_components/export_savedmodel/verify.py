"""Load an exported model as a server would and hold its answers against those of the Keras model."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainwright_components.datasets.reader import sample_split
from trainwright_components.datasets.schema import Schema
from trainwright_components.errors import InvalidModule
from trainwright_components.export_savedmodel.requests import (
    Arrays,
    KnownRequest,
    answer,
    choose_split,
    has_numbers,
    tolerance_of,
)
from trainwright_components.metrics.bootstrap import THRESHOLD
from trainwright_components.saved_models.loaded import LoadedModel, LoadedSignature
from trainwright_components.saved_models.signatures import (
    CLASSIFY,
    EXAMPLES_INPUT,
    PREPROCESS,
    PREPROCESSED,
    REGRESS,
    SERVING_DEFAULT,
    SERVING_EXAMPLES,
)
from trainwright_components.training.trained_model import TrainedModel

MAX_ROWS = 1_000
_BATCH_ROWS = 256
_SCORES = {"class": "accuracy", "multilabel": "subset_accuracy", "number": "mae"}


@dataclass(frozen=True, kw_only=True)
class Verification:
    """How near an exported model is to its Keras model, and how good it is.

    Args:
        largest_difference: Between the numbers of the two, over all requests, signatures and rows.
        scores: Accuracy, subset accuracy or mean absolute error of the exported model over `rows` rows, drawn evenly
            from `split`; none without a label.
    """

    largest_difference: float
    split: str
    rows: int
    scores: Mapping[str, float]


def verify_export(folder: Path, trained: TrainedModel, dataset: Path, requests: Iterable[KnownRequest]) -> Verification:
    """Hold the SavedModel in `folder` against the Keras model: every request through every signature, then many rows.

    Raises:
        InvalidModule: A difference is over the tolerance, or a class of a request differs.
    """
    loaded = LoadedModel.load(folder)
    differences = [0.0]
    for request in requests:
        for name, answers in _ask_all(loaded.signatures, request):
            differences += [_checked(name, output, got, request) for output, got in answers.items()]
    split = choose_split(dataset)
    batches = partial(_batches, trained, dataset, split)  # read twice: the features of all rows may be large
    labels = np.concatenate([label for _, label in batches()]) if has_numbers(trained.schema) else None
    rows, right = 0, 0.0
    for features, label in batches():
        wanted = answer(trained, features)
        number = next(iter(wanted))
        got = loaded.signatures[SERVING_DEFAULT].answer(features)
        request = KnownRequest(
            signature_name=SERVING_DEFAULT, inputs={}, outputs=wanted, tolerance=tolerance_of(wanted, labels)
        )
        differences.append(_checked(SERVING_DEFAULT, number, got[number], request))
        rows += len(got[number])
        right += _score_sum(trained.schema, got[number], label)
    name = _SCORES[trained.schema.label.kind] if trained.schema.label else ""
    scores = {name: right / rows} if name else {}
    if not np.isfinite(right):
        raise InvalidModule(
            f"the exported model answers some of {rows} rows of the split {split} with NaN or infinity; look at the "
            "training's loss, and at missing values"
        )
    return Verification(largest_difference=max(differences), split=split, rows=rows, scores=scores)


def _batches(trained: TrainedModel, dataset: Path, split: str) -> Iterator[tuple[Arrays, NDArray[Any] | None]]:
    schema = replace(trained.schema, weight=None)
    for features, *label in sample_split(dataset, split, MAX_ROWS, schema=schema).batch(_BATCH_ROWS):
        columns = {name: tensor.numpy() for name, tensor in features.items()}
        yield columns, label[0].numpy() if label else None


def _score_sum(schema: Schema, got: NDArray[Any], label: NDArray[Any] | None) -> float:
    if schema.label is None or label is None:
        return 0.0
    if not np.isfinite(got).all():
        return float("nan")
    if schema.label.kind == "class":
        return float((got.argmax(axis=1) == label).sum())
    if schema.label.kind == "multilabel":
        return float(((got > THRESHOLD) == (label == 1)).all(axis=1).sum())
    return float(np.abs(got - label).reshape(len(got), -1).mean(axis=1).sum())


def _checked(name: str, output: str, got: NDArray[Any], request: KnownRequest) -> float:
    difference = _difference(got, request.outputs[output])
    if not difference <= request.tolerance:
        raise InvalidModule(
            f"the exported model's {output!r} through {name} differs from the Keras model's by {difference:.3g}, more "
            f"than {request.tolerance:.3g}; does the model or preprocess draw random numbers, or depend on the batch?"
        )
    return difference


def _ask_all(signatures: Mapping[str, LoadedSignature], request: KnownRequest) -> list[tuple[str, Arrays]]:
    """The answers of every signature that takes this request, under the names of the request's outputs."""
    asked = [(request.signature_name, signatures[request.signature_name].answer(request.inputs))]
    if request.signature_name == SERVING_DEFAULT and PREPROCESSED in signatures:
        asked.append((PREPROCESSED, signatures[PREPROCESSED].answer(signatures[PREPROCESS].answer(request.inputs))))
    if request.signature_name == SERVING_EXAMPLES:
        for name in {CLASSIFY, REGRESS} & set(signatures):
            answers = signatures[name].answer({"inputs": request.inputs[EXAMPLES_INPUT]})
            number = next(iter(request.outputs))
            asked.append((name, {number: answers["scores" if name == CLASSIFY else "outputs"]}))
    return asked


def _difference(got: NDArray[Any], wanted: NDArray[Any]) -> float:
    if got.shape != wanted.shape:
        return float("inf")
    if wanted.dtype == object:
        same = [g.decode() if isinstance(g, bytes) else g for g in got.ravel()] == wanted.ravel().tolist()
        return 0.0 if same else float("inf")
    if not (np.isnan(got) == np.isnan(wanted)).all():
        return float("inf")
    with np.errstate(invalid="ignore"):  # infinity less infinity
        return float(np.nanmax(np.abs(got.astype(np.float64) - wanted), initial=0.0))
