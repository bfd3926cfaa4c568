"""A servable whose requests are computed together, as TensorFlow Serving's batching session does."""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from trainwright_components.model_server.batching.parameters import BatchingParameters
from trainwright_components.model_server.batching.scheduler import BatchQueue, BatchScheduler, BatchTask
from trainwright_components.model_server.batching.tensors import batch_size, joined, split
from trainwright_components.model_server.request_context import computing, current_request
from trainwright_components.model_server.servable import OutputOf, Servable, Tensors
from trainwright_components.model_server.status import Code, StatusError

logger = logging.getLogger(__name__)


class BatchedServable:
    """Computes requests of the same signature and outputs together.

    A signature whose declared shapes rule that out is computed request by request; the log says so at load.

    Args:
        servable: What computes.
        scheduler: Threads and queues, shared with other servables.
        parameters: Settings of this servable's queues.
        on_queued: Told the seconds that each request waited.
    """

    def __init__(
        self,
        servable: Servable,
        scheduler: BatchScheduler,
        parameters: BatchingParameters,
        *,
        on_queued: Callable[[float], None] = lambda _: None,
    ) -> None:
        self._servable = servable
        self._scheduler = scheduler
        self._parameters = parameters
        self._on_queued = on_queued
        self._queues: dict[tuple[OutputOf, ...], BatchQueue] = {}
        self._lock = threading.Lock()
        self._unbatched = frozenset(
            name for name, signature in servable.signatures.items() if _say_why_not_batched(name, signature)
        )
        self._kinds = {name: _kinds_of_inputs(signature) for name, signature in servable.signatures.items()}

    @property
    def signatures(self) -> Mapping[str, Any]:
        """See `Servable.signatures`."""
        return self._servable.signatures

    def run(self, signature_name: str, inputs: Tensors, outputs: Sequence[str]) -> dict[str, Any]:
        """See `Servable.run`."""
        if signature_name in self._unbatched or not self._is_typed_right(signature_name, inputs):
            return self._servable.run(signature_name, inputs, outputs)
        values = self._batched(inputs, [OutputOf(signature=signature_name, alias=alias) for alias in outputs])
        return dict(zip(outputs, values, strict=True))

    def run_together(self, inputs: Tensors, outputs: Sequence[OutputOf]) -> list[Any]:
        """See `Servable.run_together`."""
        is_batched = not any(output.signature in self._unbatched for output in outputs)
        if not is_batched or not self._is_typed_right(outputs[0].signature, inputs):
            return self._servable.run_together(inputs, outputs)
        return self._batched(inputs, outputs)

    def is_quick(self, signature_name: str) -> bool:  # noqa: ARG002  # of the protocol
        """See `Servable.is_quick`: requests wait for each other."""
        return False

    def close(self) -> None:
        """See `Servable.close`."""
        for queue in self._queues.values():
            self._scheduler.remove_queue(queue)
        self._queues.clear()
        self._servable.close()

    def _is_typed_right(self, signature_name: str, inputs: Tensors) -> bool:
        """Whether no input is of another type than declared.

        In a batch it would fail the requests of others, or be converted; alone, its sender is told what is wrong.
        """
        kinds = self._kinds[signature_name]
        return all(np.asarray(value).dtype == kinds[alias] for alias, value in inputs.items() if alias in kinds)

    def _batched(self, inputs: Tensors, outputs: Sequence[OutputOf]) -> list[Any]:
        size = batch_size(inputs)
        queue = self._queue(tuple(outputs))
        deadline = current_request().deadline
        tasks, start = [], 0
        for rows in queue.part_sizes(size):
            part = inputs if rows == size else {k: value[start : start + rows] for k, value in inputs.items()}
            tasks.append(BatchTask(inputs=part, size=rows, deadline=deadline))
            start += rows
        queue.submit(tasks)
        answers = [task.done.result() for task in tasks]
        if len(answers) == 1:
            return answers[0]
        return [np.concatenate(parts) for parts in zip(*answers, strict=True)]

    def _queue(self, outputs: tuple[OutputOf, ...]) -> BatchQueue:
        with self._lock:
            if outputs not in self._queues:
                self._queues[outputs] = self._scheduler.add_queue(
                    self._parameters, lambda tasks: self._compute(outputs, tasks)
                )
            return self._queues[outputs]

    def _compute(self, outputs: tuple[OutputOf, ...], tasks: Sequence[BatchTask]) -> None:
        try:
            answers = self._answers(outputs, tasks)
        except StatusError as error:
            _fail(tasks, error)
        except Exception as error:  # one batch must not end the thread of all
            logger.exception("a batch of %d requests failed", len(tasks))
            _fail(tasks, StatusError(Code.INTERNAL, f"{type(error).__name__}: {error}"))
        else:
            for task, answer in zip(tasks, answers, strict=True):
                task.done.set_result(answer)

    def _answers(self, outputs: tuple[OutputOf, ...], tasks: Sequence[BatchTask]) -> list[list[Any]]:
        now = time.monotonic()
        for task in tasks:
            self._on_queued(now - task.enqueued_at)
        if all(task.deadline is not None and task.deadline <= now for task in tasks):
            raise StatusError(Code.RESOURCE_EXHAUSTED, "Run() timeout exceeded while waiting in batching queue")
        tensors = self.signatures[outputs[0].signature].inputs
        sizes = [task.size for task in tasks]
        total = self._parameters.rounded(sum(sizes))
        batch = joined(
            [task.inputs for task in tasks],
            {alias: info.name for alias, info in tensors.items()},
            size=total,
            is_padded=self._parameters.pads_variable_length_inputs,
        )
        with computing("Predict", deadline=_latest_deadline(tasks)):  # this thread has no request of its own
            return split(self._run(batch, outputs), sizes, total)

    def _run(self, batch: Tensors, outputs: Sequence[OutputOf]) -> list[Any]:
        names = {output.signature for output in outputs}
        if len(names) > 1:
            return self._servable.run_together(batch, outputs)
        values = self._servable.run(names.pop(), batch, [output.alias for output in outputs])
        return [values[output.alias] for output in outputs]


def why_not_batched(signature: Any) -> str:
    """What in a signature's declared shapes keeps its requests from being computed together; empty if nothing does."""
    for kind, tensors in (("input", signature.inputs), ("output", signature.outputs)):
        for alias, info in sorted(tensors.items()):
            shape = info.tensor_shape
            if shape.unknown_rank:
                continue
            if not shape.dim:
                return f"its {kind} {alias!r} is a scalar"
            if shape.dim[0].size >= 0:
                return f"the first dimension of its {kind} {alias!r} is always {shape.dim[0].size}"
    return "" if signature.inputs else "it has no inputs"


def _kinds_of_inputs(signature: Any) -> dict[str, Any]:
    """NumPy's type of each input that has one."""
    kinds = {}
    for alias, info in signature.inputs.items():
        with contextlib.suppress(KeyError, TypeError):  # a resource, or a type that is not known here
            kinds[alias] = np.dtype(tf.as_dtype(info.dtype).base_dtype.as_numpy_dtype)
    return kinds


def _say_why_not_batched(name: str, signature: Any) -> bool:
    reason = why_not_batched(signature)
    if reason:
        logger.warning(
            "requests of signature %r are computed one by one, not in batches: %s. Export it with a first dimension "
            "of None on all inputs and outputs",
            name,
            reason,
        )
    return bool(reason)


def _latest_deadline(tasks: Sequence[BatchTask]) -> float | None:
    """Until when the run is of use to any of the tasks; None if one of them may wait for ever."""
    deadlines = [task.deadline for task in tasks if task.deadline is not None]
    return max(deadlines) if len(deadlines) == len(tasks) else None


def _fail(tasks: Sequence[BatchTask], error: StatusError) -> None:
    for task in tasks:
        task.done.set_exception(StatusError(error.code, error.message))


if TYPE_CHECKING:
    _: type[Servable] = BatchedServable
