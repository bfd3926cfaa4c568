"""Which steps of a run may run at once: those whose requests fit beside each other, first come, first served.

And when a loop opens its next iteration: while hardly a step waits, so that few are open and no slot stays empty.
"""

import asyncio
import heapq
import itertools
import math
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from trainwright_pipelines.engine.machine import Machine, has_accelerator, is_gpu, this_machine
from trainwright_pipelines.ir.resources import Resources


@dataclass(kw_only=True, eq=False)
class Share:
    """What one step has of the machine while it runs."""

    asked: Resources = field(default_factory=Resources)
    lacks: str = ""
    """What the machine does not have of it; the step runs alone then."""
    gpus: tuple[str, ...] | None = None
    """Those that are its own; None where it did not ask."""


_OPENING: ContextVar["Opening | None"] = ContextVar("OPENING", default=None)


@dataclass(kw_only=True, eq=False)
class Opening:
    """An iteration of a loop on its way to its first step: it counts as a step that waits for its turn."""

    slots: "Slots"
    has_arrived: bool = False

    def enter(self) -> None:
        """Let what this task of asyncio goes through, and those that it creates, be that of the iteration."""
        _OPENING.set(self)

    def arrive(self) -> None:
        """Note that the iteration has asked for a slot, or has ended, or waits for something else."""
        if not self.has_arrived:
            self.has_arrived = True
            self.slots.note_arrival()


def note_waiting() -> None:
    """Note that what the caller does now may take long without a slot: another iteration may open meanwhile."""
    if (opening := _OPENING.get()) is not None:
        opening.arrive()


class Slots:
    """At most `max_parallel` steps, and together no more than the machine has. One that asks for nothing has a slot.

    Nobody overtakes: a large step that waits holds up those behind it, or it might wait for ever.
    """

    def __init__(self, max_parallel: int, machine: Callable[[], Machine] = this_machine) -> None:
        self._max_parallel = max_parallel
        self._machine = machine
        self._waiting: deque[tuple[Share, asyncio.Future[None]]] = deque()
        self._running: list[Share] = []
        self._openings = 0
        self._unopened: list[tuple[int, int, asyncio.Future[None]]] = []
        self._arrivals = itertools.count()

    async def open(self, depth: int) -> Opening:
        """Wait until an iteration of a loop inside `depth` others is wanted: until fewer wait than could run at once.

        Whoever comes last to a queue of that length finds no slot free before those in front of it have one. What is
        open already goes first: inner loops before those around them.
        """
        note_waiting()
        turn = asyncio.get_running_loop().create_future()
        heapq.heappush(self._unopened, (-depth, next(self._arrivals), turn))
        self._let_open()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.note_arrival()
            raise
        return Opening(slots=self)

    def note_arrival(self) -> None:
        """Count one iteration less on its way; see `Opening`."""
        self._openings -= 1
        self._let_open()

    def _let_open(self) -> None:
        while self._unopened and len(self._waiting) + self._openings < self._max_parallel:
            _, _, turn = heapq.heappop(self._unopened)
            if not turn.cancelled():
                self._openings += 1
                turn.set_result(None)

    def would_wait(self, asked: Resources) -> bool:
        """Whether a step that asks for this would not be let in at once."""
        return bool(self._waiting) or not self._fits(self._share(asked))

    @asynccontextmanager
    async def take(self, asked: Resources) -> AsyncIterator[Share]:
        """Wait for what a step asks for, and hold it."""
        share = self._share(asked)
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((share, turn))
        self._let_in()
        note_waiting()
        try:
            await turn
            yield share
        finally:
            if share in self._running:
                self._running.remove(share)
            elif (share, turn) in self._waiting:
                self._waiting.remove((share, turn))
            self._let_in()

    @asynccontextmanager
    async def give_up(self, share: Share) -> AsyncIterator[None]:
        """Let others in while a step only waits for its next try; then it waits for its turn again."""
        self._running.remove(share)
        self._let_in()
        yield
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((share, turn))
        self._let_in()
        try:
            await turn
        finally:
            if (share, turn) in self._waiting:
                self._waiting.remove((share, turn))

    def _share(self, asked: Resources) -> Share:
        return Share(asked=asked, lacks=self._machine().lacks(asked) if asked != Resources() else "")

    def _let_in(self) -> None:
        while self._waiting and self._fits(self._waiting[0][0]):
            share, turn = self._waiting.popleft()
            if not turn.cancelled():
                share.gpus = self._free_gpus()[: share.asked.accelerator_count] if self._has_gpus(share) else None
                self._running.append(share)
                turn.set_result(None)
        self._let_open()

    def _fits(self, share: Share) -> bool:
        if not self._running:
            return True
        if share.lacks or any(each.lacks for each in self._running) or len(self._running) >= self._max_parallel:
            return False
        asked = [each.asked for each in (*self._running, share)]
        if all(each == Resources() for each in asked):
            return True
        machine = self._machine()
        return (
            math.fsum(each.cpu for each in asked) <= machine.cores
            and sum(each.memory_bytes for each in asked) <= machine.memory_bytes
            and (not self._has_gpus(share) or share.asked.accelerator_count <= len(self._free_gpus()))
        )

    def _has_gpus(self, share: Share) -> bool:
        return not share.lacks and has_accelerator(share.asked) and is_gpu(share.asked)

    def _free_gpus(self) -> tuple[str, ...]:
        taken = {name for each in self._running for name in each.gpus or ()}
        return tuple(name for name in self._machine().gpus if name not in taken)
