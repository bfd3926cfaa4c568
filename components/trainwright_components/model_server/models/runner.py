"""One set of tensors to feed and to fetch, computed in the way that its own measured cost makes the cheapest.

A run in TensorFlow's thread pool, with a limit on its time, costs more than a small model itself. So runs are timed;
once the best of a few is quick, and if the graph has no loops, later ones stay in the caller's thread without a limit.
One that then takes long ends this, until the best of many more is quick: what was long may have been the machine.
"""

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

from tensorflow.core.protobuf import config_pb2

from trainwright_components.model_server.status import Code, StatusError

QUICK_S = 0.5e-3
"""The best run of what counts as quick: a busy machine makes runs longer, never shorter."""
_NO_LONGER_QUICK_S = 50e-3  # far above what a busy machine adds to a quick run
_TIMED_RUNS = 8
_DISTRUST = 16  # times as many runs are timed after each long one
_TIMEOUTS_MS = tuple(128 * 4**power for power in range(8))  # up to 35 minutes
_IN_CALLERS_THREAD = -1

Compute = Callable[..., list[Any]]


class Runner:
    """Computes one set of fetches from one set of feeds.

    Args:
        prepare: Makes the callable of a session for given RunOptions.
        has_loops: The graph may compute for any time, whatever it took before.
    """

    def __init__(self, prepare: Callable[[Any], Compute], *, has_loops: bool) -> None:
        self._prepare = prepare
        self._limited: dict[int, Compute] = {}
        self._direct: Compute | None = None
        self._timed, self._best_s = 0, math.inf
        self._wanted_runs = _TIMED_RUNS
        self._may_be_quick = not has_loops

    @property
    def is_quick(self) -> bool:
        """Whether runs were measured to be quick."""
        return self._direct is not None

    def run(self, values: Sequence[Any], deadline: float | None) -> list[Any]:
        """Compute the fetches.

        Args:
            values: One array per feed.
            deadline: On the monotonic clock; none for no limit.

        Raises:
            StatusError: The deadline is over.
            tf.errors.OpError: The computation failed.
        """
        direct = self._direct
        compute = self._with_limit(_timeout_ms(deadline)) if direct is None else direct
        started = time.perf_counter()
        fetched = compute(*values)
        seconds = time.perf_counter() - started
        if direct is not None and seconds > _NO_LONGER_QUICK_S:
            self._direct = None
            self._wanted_runs *= _DISTRUST
        elif direct is None and self._may_be_quick:
            self._decide(seconds)
        return fetched

    def _with_limit(self, timeout_ms: int) -> Compute:
        if timeout_ms not in self._limited:
            self._limited[timeout_ms] = self._prepare(config_pb2.RunOptions(timeout_in_ms=timeout_ms))
        return self._limited[timeout_ms]

    def _decide(self, seconds: float) -> None:
        self._timed, self._best_s = self._timed + 1, min(self._best_s, seconds)
        if self._timed < self._wanted_runs:
            return
        if self._best_s < QUICK_S:
            self._direct = self._prepare(config_pb2.RunOptions(inter_op_thread_pool=_IN_CALLERS_THREAD))
        self._timed, self._best_s = 0, math.inf


def _timeout_ms(deadline: float | None) -> int:
    """The next of a few limits on a run, since a callable has its limit for good; 0 for none."""
    if deadline is None:
        return 0
    left_ms = (deadline - time.monotonic()) * 1000
    if left_ms <= 0:
        raise StatusError(Code.DEADLINE_EXCEEDED, "Timed out waiting for notification")
    return next((limit for limit in _TIMEOUTS_MS if left_ms <= limit), 0)
