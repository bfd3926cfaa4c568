"""How requests are put together into batches: the settings, and the text proto they are written in."""

import os
from dataclasses import dataclass
from typing import Any

from trainwright_components.model_server.status import invalid_argument

FILE_NAME = "batching_params.pbtxt"
"""Parameters of one model, in its version's folder."""


@dataclass(frozen=True, kw_only=True)
class BatchingParameters:
    """Settings of a queue of requests; the defaults are TensorFlow Serving's.

    Args:
        max_batch_size: Rows of the largest request, and of the largest batch if `max_execution_batch_size` is not less.
        batch_timeout_s: How long the first request of a batch waits for others.
        max_enqueued_batches: Batches that may wait; a request that would start one more is refused.
        num_batch_threads: Batches computed at once, over all models.
        thread_pool_name: Names the queue in metrics.
        allowed_batch_sizes: Ascending; a batch is filled up to the next of them. Empty: any size.
        pads_variable_length_inputs: Inputs of different lengths are filled up to the longest of the batch.
        splits_large_batches: A request may be computed in several batches.
        max_execution_batch_size: Rows of the largest batch where requests are split.
    """

    max_batch_size: int = 1000
    batch_timeout_s: float = 0.0
    max_enqueued_batches: int = 10
    num_batch_threads: int = os.cpu_count() or 1
    thread_pool_name: str = "batch_threads"
    allowed_batch_sizes: tuple[int, ...] = ()
    pads_variable_length_inputs: bool = False
    splits_large_batches: bool = False
    max_execution_batch_size: int = 0

    @property
    def execution_size(self) -> int:
        """Rows of the largest batch that is computed."""
        return (self.splits_large_batches and self.max_execution_batch_size) or self.max_batch_size

    def rounded(self, size: int) -> int:
        """The number of rows to compute for `size` rows."""
        return next((allowed for allowed in self.allowed_batch_sizes if allowed >= size), size)


def parameters_of(proto: Any) -> BatchingParameters:
    """Check a `BatchingParameters` message.

    Raises:
        StatusError: Values that contradict each other, or a number below its least value.
    """
    given: dict[str, Any] = {}
    for name in ("max_batch_size", "max_enqueued_batches", "num_batch_threads", "max_execution_batch_size"):
        if proto.HasField(name):
            given[name] = getattr(proto, name).value
            if given[name] < 1:
                raise invalid_argument(f"{name} must be positive; was {given[name]}")
    if proto.HasField("batch_timeout_micros"):
        micros = proto.batch_timeout_micros.value
        if micros < 0:
            raise invalid_argument(f"batch_timeout_micros must be non-negative; was {micros}")
        given["batch_timeout_s"] = micros / 1e6
    if proto.HasField("thread_pool_name"):
        given["thread_pool_name"] = proto.thread_pool_name.value
    parameters = BatchingParameters(
        allowed_batch_sizes=tuple(proto.allowed_batch_sizes),
        pads_variable_length_inputs=proto.pad_variable_length_inputs,
        splits_large_batches=proto.enable_large_batch_splitting.value,
        **given,
    )
    _check(parameters)
    return parameters


def _check(parameters: BatchingParameters) -> None:
    sizes, largest = parameters.allowed_batch_sizes, parameters.max_batch_size
    if parameters.execution_size > largest:
        raise invalid_argument(
            f"max_execution_batch_size must be at most max_batch_size {largest}; was {parameters.execution_size}"
        )
    if not sizes:
        return
    if list(sizes) != sorted(set(sizes)) or sizes[0] < 1:
        raise invalid_argument("allowed_batch_sizes entries must be monotonically increasing")
    if parameters.splits_large_batches and sizes[-1] != parameters.execution_size:
        raise invalid_argument(
            "Last entry in allowed_batch_sizes must be equal to max_execution_batch_size; "
            f"last entry was {sizes[-1]}; expected {parameters.execution_size}"
        )
    if not parameters.splits_large_batches and sizes[-1] != largest:
        raise invalid_argument(
            "Last entry in allowed_batch_sizes must match max_batch_size; "
            f"last entry was {sizes[-1]}; expected {largest}"
        )
