"""The thread that executes a run: its event loop, its heartbeat, and how it is stopped."""

import asyncio
import contextlib
import logging
import os
import signal
import threading
from dataclasses import replace

import psutil

from trainwright_components.processes.identity import is_same_process
from trainwright_pipelines.engine.dag import DagRunner
from trainwright_pipelines.engine.execution import Execution, now
from trainwright_pipelines.engine.isolation.container_engine import remove_containers_of
from trainwright_pipelines.engine.leases import Lease
from trainwright_pipelines.engine.records import State
from trainwright_pipelines.engine.resolve import Outcome
from trainwright_pipelines.engine.unwritable import Unwritable

_LOG = logging.getLogger(__name__)
_HEARTBEAT_S = 1.0


class Worker(threading.Thread):
    """Executes one run in a loop of its own, so that it works in notebooks too and the caller stays interruptible."""

    def __init__(self, execution: Execution, lease: Lease) -> None:
        super().__init__(name=f"run-{execution.run.id}", daemon=True)
        self.failure: BaseException | None = None
        self.ended = threading.Event()
        """To wait on: an interrupted `join` takes a living thread for ended before Python 3.13."""
        self._execution = execution
        self._lease = lease
        self._loop = asyncio.new_event_loop()
        self._main: asyncio.Task[Outcome] | None = None
        self._is_canceled = False

    def run(self) -> None:
        """Execute the run; record what came of it."""
        try:
            with contextlib.ExitStack() as ending:  # all of it is done, whichever part fails
                for part in (self._give_up_lease, self._loop.close, self._execution.close):
                    ending.callback(part)
                self._to_the_end()
        except BaseException as error:
            self.failure = self._explained(error)
        finally:
            self.ended.set()

    def _give_up_lease(self) -> None:
        try:
            self._lease.release()
        except Exception as error:  # the run has ended all the same, and a dead or released lease is nobody's
            reason = self._execution.why_unwritable(error) or repr(error)
            _LOG.warning("the lease of run %s could not be given up: %s", self._execution.run.id, reason)

    def _to_the_end(self) -> None:
        execution = self._execution
        try:
            _end_leftovers(execution)
            execution.save_run(state=State.RUNNING, started=execution.run.started or now(), finished=None, error="")
            outcome = self._loop.run_until_complete(self._execute())
            if outcome is None:
                execution.save_run(state=State.CANCELED, finished=now(), error="canceled")
            else:
                execution.save_run(state=outcome.state, finished=now(), error=outcome.error, outputs=outcome.outputs)
        except BaseException as error:
            reason = execution.why_unwritable(error) or f"internal error: {error!r}"
            with contextlib.suppress(Exception):  # what cannot be recorded now is shown as interrupted
                execution.save_run(state=State.FAILED, finished=now(), error=reason)
            raise

    def _explained(self, error: BaseException) -> BaseException:
        """What the caller is told: a full disk is not a fault of the engine, and the run goes on once there is room."""
        reason = self._execution.why_unwritable(error)
        if not reason:
            return error
        explained = Unwritable(f"{reason}. Mend that, then go on: trainwright runs resume {self._execution.run.id}")
        explained.__cause__ = error
        return explained

    def cancel(self) -> None:
        """Stop all steps and end the run as CANCELED. From any thread."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: the run has just ended by itself
            self._loop.call_soon_threadsafe(self._cancel)

    def kill(self) -> None:
        """Kill all that the run has started, without waiting for it to end by itself. From any thread."""
        self._execution.isolations.close()

    def _cancel(self) -> None:
        if self._is_canceled:
            return
        self._is_canceled = True
        if self._main is not None:
            self._main.cancel()
            with contextlib.suppress(Exception):  # what cannot be recorded must not keep the run from being stopped
                self._execution.save_run(state=State.CANCELING)

    async def _execute(self) -> Outcome | None:
        if await self._execution.in_thread(self._is_cancel_requested):
            return None
        heartbeat = asyncio.create_task(self._beat())
        self._main = asyncio.create_task(DagRunner(self._execution).run())
        if self._is_canceled:
            self._main.cancel()
        deadline_s = self._execution.pipeline.deadline_s
        timer = self._loop.call_later(deadline_s, self._execution.pass_deadline) if deadline_s else None
        try:
            outcome = await self._main
        except asyncio.CancelledError:
            return None
        finally:
            heartbeat.cancel()
            if timer is not None:
                timer.cancel()
        overdue = self._execution.overdue if outcome.state == State.FAILED else ""
        return replace(outcome, error=overdue) if overdue else outcome

    async def _beat(self) -> None:
        is_failing = False
        while True:
            try:
                await self._execution.in_thread(self._execution.isolations.end_frozen)
                is_ours = await self._execution.in_thread(self._lease.renew)
                is_unwanted = await self._execution.in_thread(self._is_cancel_requested)
            except Exception as error:  # a full disk, a database that is away: the next beat may come through
                if not is_failing:
                    reason = self._execution.why_unwritable(error) or repr(error)
                    _LOG.warning("the heartbeat of run %s failed: %s", self._execution.run.id, reason)
                is_failing = True
            else:
                is_failing = False
                if not is_ours:
                    self._execution.has_lost_lease.set()
                if not is_ours or is_unwanted:
                    self._cancel()
                    return
            await asyncio.sleep(_HEARTBEAT_S)

    def _is_cancel_requested(self) -> bool:
        return self._execution.store.is_cancel_requested(self._execution.run.id)


def _end_leftovers(execution: Execution) -> None:
    """Kill what a dead process of this run left running, and say so in its attempts."""
    tasks = [task for task in execution.previous.values() if task.attempts]
    left = [task for task in tasks if task.attempts[-1].state == State.RUNNING]
    if any(task.attempts[-1].image for task in left):
        remove_containers_of(execution.run.id)
    for task in left:
        last = task.attempts[-1]
        if last.pid is not None and last.pid_created is not None and is_same_process(last.pid, last.pid_created):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(last.pid, signal.SIGKILL)
            with contextlib.suppress(psutil.NoSuchProcess):
                psutil.Process(last.pid).wait()
        ended = replace(last, state=State.CANCELED, finished=now(), error="its process was lost")
        execution.save(replace(task, attempts=(*task.attempts[:-1], ended)))
