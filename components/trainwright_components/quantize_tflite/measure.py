"""Run a TFLite model with LiteRT: how fast it is, how often it is right, how far it is from the float model."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainwright_components.datasets.task import Task
from trainwright_components.metrics.bootstrap import THRESHOLD
from trainwright_components.metrics.closeness import rounding_at, size_of
from trainwright_components.metrics.multilabel import MultilabelTally
from trainwright_components.metrics.regression import RegressionTally
from trainwright_components.metrics.table import score_metric
from trainwright_components.quiet import quiet_stderr
from trainwright_components.saved_models.signatures import SERVING_DEFAULT

WARM_UP_RUNS = 5
TIMED_RUNS = 200
TIMED_S = 1.0
MAX_SCORING_S = 60.0
CLOSE_SHARE_OF_SPREAD = 0.01
_DYNAMIC_BATCH = 32

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True, kw_only=True)
class Rows:
    """What models are compared on.

    Args:
        inputs: `(rows, ...)` each.
        reference: What the float model answers.
    """

    task: Task
    inputs: Arrays
    labels: NDArray[Any]
    weights: NDArray[np.float64] | None
    reference: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.reference)


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What was measured of one TFLite model.

    Args:
        not_finite: How many of the rows it answers with NaN or infinity, which is wrong whatever the label.
        score: Accuracy, micro F1 of a multilabel, or R2 of a regression, over `rows` rows; None where not defined.
        score_drop: By how much the float model's score over the same rows is higher.
        agreement: Share of rows with the float model's class; of a multilabel the share of its answers; of a regression
            that of numbers no further from the float model's than a hundredth of the standard deviation of the labels.
        max_abs_error: Of the answers from the float model's; as the mean, None where one of them is not finite.
    """

    p50_ms: float
    p90_ms: float
    rows: int
    not_finite: int
    score: float | None
    score_drop: float | None
    agreement: float
    max_abs_error: float | None
    mean_abs_error: float | None


class Interpreter:
    """A TFLite model in LiteRT with named float inputs and outputs, whatever it stores them as."""

    def __init__(self, content: bytes, *, threads: int) -> None:
        from ai_edge_litert.interpreter import Interpreter as LiteRt

        with quiet_stderr():
            self._interpreter = LiteRt(model_content=content, num_threads=threads)
            self._interpreter.allocate_tensors()
        runner = self._interpreter.get_signature_runner(SERVING_DEFAULT)
        self._inputs = runner.get_input_details()
        (self._output,) = runner.get_output_details().values()
        self._batch_size = 1

    def feed(self, inputs: Arrays) -> None:
        """Set a batch of inputs."""
        size = len(next(iter(inputs.values())))
        if size != self._batch_size:
            self._batch_size = size
            for name, detail in self._inputs.items():
                self._interpreter.resize_tensor_input(detail["index"], inputs[name].shape)
            with quiet_stderr():
                self._interpreter.allocate_tensors()
        for name, detail in self._inputs.items():
            self._interpreter.set_tensor(detail["index"], _quantized(inputs[name], detail))

    def invoke(self) -> None:
        """Run what was fed."""
        self._interpreter.invoke()

    def answer(self) -> NDArray[np.float32]:
        """The output of the last run as float32."""
        return _real(self._interpreter.get_tensor(self._output["index"]), self._output)


def measure(content: bytes, rows: Rows, *, threads: int, dynamic_batch: bool) -> Measurement:
    """Time a TFLite model on single rows, and compare its answers with labels and with the float model's."""
    interpreter = Interpreter(content, threads=threads)
    first = {name: value[:1] for name, value in rows.inputs.items()}
    interpreter.feed(first)
    with quiet_stderr():  # the first run may create delegates, which say so
        interpreter.invoke()
    p50_ms, p90_ms = _time(interpreter.invoke)
    answers = _answer_all(interpreter, rows, batch_size=_DYNAMIC_BATCH if dynamic_batch else 1)
    count = len(answers)
    reference, labels = rows.reference[:count], rows.labels[:count]
    weights = None if rows.weights is None else rows.weights[:count]
    with np.errstate(invalid="ignore"):  # infinity less infinity
        errors = np.abs(answers - reference)
    has_errors = bool(np.isfinite(errors).all())
    score, float_score = (score_answers(each, labels, weights, task=rows.task) for each in (answers, reference))
    return Measurement(
        p50_ms=p50_ms,
        p90_ms=p90_ms,
        rows=count,
        not_finite=int((~_are_finite(answers)).sum()),
        score=score,
        score_drop=None if score is None or float_score is None else float_score - score,
        agreement=_agreement(answers, reference, labels, rows.task),
        max_abs_error=float(errors.max()) if has_errors else None,
        mean_abs_error=float(errors.mean()) if has_errors else None,
    )


def score_answers(
    answers: NDArray[np.float32], labels: NDArray[Any], weights: NDArray[np.float64] | None, *, task: Task
) -> float | None:
    """Accuracy of class probabilities, micro F1 of labels, or R2 of numbers; None where the rows do not define it."""
    weights = np.ones(len(labels)) if weights is None else weights
    if weights.sum() <= 0:
        return None
    are_finite = _are_finite(answers)
    if task is Task.CLASSIFICATION:
        return float(np.average((answers.argmax(axis=1) == labels) & are_finite, weights=weights))
    if not (are_finite.all() and np.isfinite(labels).all()):
        return None
    tally = MultilabelTally(("",) * labels.shape[1]) if task is Task.MULTILABEL else RegressionTally()
    tally.add(answers, labels, weights)
    return tally.result().metrics.get(score_metric(task))


def _are_finite(answers: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Of each row."""
    return np.asarray(np.isfinite(answers.reshape(len(answers), -1)).all(axis=1))


def _agreement(answers: NDArray[np.float32], reference: NDArray[np.float32], labels: NDArray[Any], task: Task) -> float:
    if task is Task.CLASSIFICATION:
        agree = (answers.argmax(axis=1) == reference.argmax(axis=1))[:, None]
    elif task is Task.MULTILABEL:
        agree = (answers > THRESHOLD) == (reference > THRESHOLD)
    else:
        apart = np.abs(answers.astype(np.float64) - reference).reshape(len(answers), -1)
        spread = labels.reshape(len(labels), -1).astype(np.float64).std(axis=0)
        agree = apart <= np.where(spread > 0, CLOSE_SHARE_OF_SPREAD * spread, rounding_at(size_of(reference)))
    return float((agree & (_are_finite(answers) & _are_finite(reference))[:, None]).mean())


def _time(run: Callable[[], None]) -> tuple[float, float]:
    for _ in range(WARM_UP_RUNS):
        run()
    times: list[float] = []
    while len(times) < TIMED_RUNS and sum(times) < TIMED_S:
        started = time.perf_counter()
        run()
        times.append(time.perf_counter() - started)
    p50, p90 = np.percentile(times, [50, 90]) * 1000
    return float(p50), float(p90)


def _answer_all(interpreter: Interpreter, rows: Rows, *, batch_size: int) -> NDArray[np.float32]:
    started, answers = time.monotonic(), []
    for start in range(0, len(rows), batch_size):
        interpreter.feed({name: value[start : start + batch_size] for name, value in rows.inputs.items()})
        interpreter.invoke()
        answers.append(interpreter.answer())
        if time.monotonic() - started > MAX_SCORING_S:
            break
    return np.concatenate(answers)


def _quantized(value: NDArray[Any], detail: dict[str, Any]) -> NDArray[Any]:
    dtype, (scale, zero_point) = np.dtype(detail["dtype"]), detail["quantization"]
    if dtype.kind != "i" or not scale:
        return value.astype(dtype, copy=False)
    limits = np.iinfo(dtype)
    whole: NDArray[Any] = np.clip(np.round(value / scale) + zero_point, limits.min, limits.max).astype(dtype)
    return whole


def _real(value: NDArray[Any], detail: dict[str, Any]) -> NDArray[np.float32]:
    scale, zero_point = detail["quantization"]
    real = (value.astype(np.float32) - zero_point) * scale if value.dtype.kind == "i" and scale else value
    return real.astype(np.float32)
