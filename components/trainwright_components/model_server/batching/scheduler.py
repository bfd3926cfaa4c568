"""Queues of requests that wait to be computed together, and the threads that compute them, shared by all queues.

A queue is a row of batches of which the last is open. A thread takes the oldest batch of a queue when it is closed, or
when its first request has waited long enough; queues take turns.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from trainwright_components.model_server.batching.parameters import BatchingParameters
from trainwright_components.model_server.servable import Tensors
from trainwright_components.model_server.status import Code, StatusError, invalid_argument


@dataclass(frozen=True, kw_only=True)
class BatchTask:
    """One request, or a part of one, of `size` rows; `done` gets its outputs."""

    inputs: Tensors
    size: int
    deadline: float | None = None
    enqueued_at: float = field(default_factory=time.monotonic)
    done: "Future[list[Any]]" = field(default_factory=Future)


class _QueuedBatch:
    def __init__(self) -> None:
        self.tasks: list[BatchTask] = []
        self.size = 0

    def add(self, task: BatchTask) -> None:
        self.tasks.append(task)
        self.size += task.size


class BatchQueue:
    """Requests that may be computed together; made by `BatchScheduler.add_queue`."""

    def __init__(
        self,
        parameters: BatchingParameters,
        compute: Callable[[Sequence[BatchTask]], None],
        changed: threading.Condition,
    ) -> None:
        self.parameters = parameters
        self.compute = compute
        self.is_closed = False
        self.running = 0
        self._changed = changed
        self._batches: deque[_QueuedBatch] = deque([_QueuedBatch()])

    def submit(self, tasks: Sequence[BatchTask]) -> None:
        """Queue one request, in as many tasks as `part_sizes` said.

        Raises:
            StatusError: It is larger than a batch may be, or the queue is full.
        """
        size = sum(task.size for task in tasks)
        with self._changed:
            self._check(size)
            for task in tasks:
                if self._batches[-1].size + task.size > self.parameters.execution_size:
                    self._batches.append(_QueuedBatch())
                self._batches[-1].add(task)
            self._changed.notify()

    def part_sizes(self, size: int) -> list[int]:
        """Rows of the parts in which a request of `size` rows is queued; the first fills the open batch."""
        limit = self.parameters.execution_size
        if not self.parameters.splits_large_batches:
            return [size]
        with self._changed:
            room = limit - self._batches[-1].size
        first = min(size, room)
        rest = size - first
        sizes = [first, *[limit] * (rest // limit), rest % limit]
        return [part for part in sizes if part] or [0]

    def take(self, now: float) -> Sequence[BatchTask] | None:
        """The oldest batch, if it should be computed now."""
        due = self.due_at()
        if due is None or due > now:
            return None
        batch = self._batches.popleft()
        if not self._batches:
            self._batches.append(_QueuedBatch())
        self.running += 1
        return batch.tasks

    def due_at(self) -> float | None:
        """When the oldest batch should be computed; None while there is none."""
        oldest = self._batches[0]
        if not oldest.tasks:
            return None
        is_full = len(self._batches) > 1 or oldest.size >= self.parameters.execution_size
        return 0.0 if is_full or self.is_closed else oldest.tasks[0].enqueued_at + self.parameters.batch_timeout_s

    @property
    def is_empty(self) -> bool:
        """Nothing waits and nothing is computed."""
        return not self.running and not self._batches[0].tasks

    def _check(self, size: int) -> None:
        parameters, open_size, waiting = self.parameters, self._batches[-1].size, len(self._batches)
        if self.is_closed:
            raise StatusError(Code.UNAVAILABLE, "The batch scheduling queue is closed")
        if size > parameters.max_batch_size:
            raise invalid_argument(
                f"Task size {size} is larger than maximum input batch size {parameters.max_batch_size}"
            )
        if parameters.splits_large_batches:
            limit = parameters.execution_size
            capacity = (parameters.max_enqueued_batches - waiting) * limit + limit - open_size
            if size > capacity:
                raise StatusError(
                    Code.UNAVAILABLE,
                    "The batch scheduling queue to which this task was submitted is full; "
                    f"task size is {size} but scheduling capacity is only {capacity} (num_enqueued_batches={waiting}, "
                    f"max_enqueued_batches={parameters.max_enqueued_batches}, open_batch_size={open_size}, "
                    f"max_execution_batch_size={limit})",
                )
        elif open_size + size > parameters.max_batch_size and waiting >= parameters.max_enqueued_batches:
            raise StatusError(
                Code.UNAVAILABLE,
                "The batch scheduling queue to which this task was submitted is full; "
                f"currently {waiting} batches enqueued and max_enqueued_batches is {parameters.max_enqueued_batches}",
            )


class BatchScheduler:
    """Computes the batches of its queues in threads of its own.

    Args:
        threads: Batches computed at once.
    """

    def __init__(self, *, threads: int) -> None:
        lock = threading.Lock()
        self._changed = threading.Condition(lock)
        self._emptied = threading.Condition(lock)
        self._queues: deque[BatchQueue] = deque()
        self._is_closing = False
        self._threads = [threading.Thread(target=self._run, name=f"batch-{i}", daemon=True) for i in range(threads)]
        for thread in self._threads:
            thread.start()

    def add_queue(self, parameters: BatchingParameters, compute: Callable[[Sequence[BatchTask]], None]) -> BatchQueue:
        """A queue whose batches are given to `compute`, which must answer every task and raise nothing."""
        queue = BatchQueue(parameters, compute, self._changed)
        with self._changed:
            self._queues.append(queue)
        return queue

    def remove_queue(self, queue: BatchQueue) -> None:
        """Compute what waits in `queue`, refuse more, and forget it."""
        with self._changed:
            queue.is_closed = True
            self._changed.notify_all()
            self._emptied.wait_for(lambda: queue.is_empty)
            self._queues.remove(queue)

    def close(self) -> None:
        """Compute what waits and end the threads."""
        for queue in list(self._queues):
            self.remove_queue(queue)
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while (work := self._next()) is not None:
            queue, tasks = work
            queue.compute(tasks)
            with self._changed:
                queue.running -= 1
                if queue.is_closed:
                    self._emptied.notify_all()

    def _next(self) -> tuple[BatchQueue, Sequence[BatchTask]] | None:
        with self._changed:
            while not self._is_closing:
                now = time.monotonic()
                for _ in range(len(self._queues)):
                    queue = self._queues[0]
                    self._queues.rotate(-1)
                    tasks = queue.take(now)
                    if tasks is not None:
                        return queue, tasks
                due = [at for queue in self._queues if (at := queue.due_at()) is not None]
                self._changed.wait(max(0.0, min(due) - now) if due else None)
        return None
