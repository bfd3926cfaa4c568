"""What the command line and the service do with runs: create, execute, resume, cancel, delete."""

import asyncio
import os
import re
import shutil
import threading
import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from trainwright_components.errors import InvalidSetting, RunFailed
from trainwright_components.files import write_whole
from trainwright_pipelines.engine.execution import Execution, Listener, now
from trainwright_pipelines.engine.records import Run, State
from trainwright_pipelines.engine.resolve import Outcome
from trainwright_pipelines.engine.scheduler import Scheduler
from trainwright_pipelines.engine.spec import Pipeline, parse_pipeline
from trainwright_pipelines.engine.store import Store
from trainwright_pipelines.engine.values import coerce


def create_run(
    spec_text: str,
    parameters: Mapping[str, Any],
    *,
    store: Store,
    name: str = "",
    uses_cache: bool = True,
    scheduled: datetime | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> Run:
    """Record a run of a compiled pipeline; nothing starts yet.

    `spec_text` is compiled YAML, one document or two. Parameters that are missing take their defaults. The name is for
    people, by default the run's id.

    Raises:
        InvalidPipeline: The spec cannot be read.
        InvalidSetting: A parameter is unknown, missing, or of the wrong type.
    """
    pipeline = parse_pipeline(spec_text)
    run_id = _new_id(pipeline.name)
    run = Run(
        id=run_id,
        name=name or run_id,
        pipeline=pipeline.name,
        state=State.PENDING,
        parameters=check_parameters(pipeline, parameters),
        folder=store.home / "runs" / run_id,
        created=now(),
        scheduled=scheduled,
        uses_cache=uses_cache,
        provenance=dict(provenance or {}),
    )
    run.folder.mkdir(parents=True)
    write_whole(run.folder / "pipeline.yaml", spec_text)
    store.add_run(run, spec_text)
    return run


def check_parameters(pipeline: Pipeline, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The pipeline's inputs with defaults filled in, each of its type.

    Raises:
        InvalidSetting: One is unknown, missing, or of the wrong type.
    """
    slots = pipeline.root.input_parameters
    unknown = [name for name in parameters if name not in slots]
    if unknown:
        known = ", ".join(slots) or "none"
        raise InvalidSetting(f"{pipeline.name} has no parameter {unknown[0]!r}; it has {known}")
    values = {}
    for name, slot in slots.items():
        value = parameters.get(name, slot.default)
        if value is None and not slot.is_optional:
            raise InvalidSetting(f"{pipeline.name} needs a value for its parameter {name!r}")
        if value is not None:
            values[name] = coerce(value, slot.type, name=name)
    return values


def execute(run_id: str, *, store: Store, listener: Listener | None = None, max_parallel: int | None = None) -> Run:
    """Execute a run to its end, and give it back as it ended.

    Blocks. Ctrl-C stops it cleanly: the run comes back CANCELED and can be resumed.

    The listener is called for every change, from another thread but never from two at once. `max_parallel` limits the
    steps that run at once; by default one per core, at least 2.
    """
    run = store.run(run_id)
    execution = Execution(
        store=store,
        run=run,
        pipeline=parse_pipeline(store.spec_text(run.id)),
        listener=listener,
        max_parallel=max_parallel or max(2, os.cpu_count() or 2),
        previous={task.path: task for task in store.tasks(run.id)},
    )
    worker = _Worker(execution)
    worker.start()
    try:
        worker.join()
    except KeyboardInterrupt:
        worker.cancel()
        worker.join()
    if worker.failure is not None:
        raise worker.failure
    return store.run(run.id)


class _Worker(threading.Thread):
    """The scheduler's own thread and loop, so that it runs in notebooks too and the caller stays interruptible."""

    def __init__(self, execution: Execution) -> None:
        super().__init__(name=f"run-{execution.run.id}", daemon=True)
        self.failure: BaseException | None = None
        self._execution = execution
        self._loop = asyncio.new_event_loop()
        self._main: asyncio.Task[Outcome] | None = None

    def run(self) -> None:
        """Execute the run; record what came of it."""
        execution = self._execution
        execution.save_run(state=State.RUNNING, started=execution.run.started or now(), finished=None, error="")
        try:
            self._main = self._loop.create_task(Scheduler(execution).run())
            outcome = self._loop.run_until_complete(self._main)
            execution.save_run(state=outcome.state, finished=now(), error=outcome.error, outputs=outcome.outputs)
        except asyncio.CancelledError:
            execution.save_run(state=State.CANCELED, finished=now(), error="canceled")
        except BaseException as error:
            self.failure = error
            execution.save_run(state=State.FAILED, finished=now(), error=f"internal error: {error!r}")
        finally:
            execution.close()
            self._loop.close()

    def cancel(self) -> None:
        """Stop all tasks."""
        if self._main is not None:
            self._loop.call_soon_threadsafe(self._main.cancel)


def delete(run_id: str, *, store: Store) -> None:
    """Forget a run and remove its folder.

    Raises:
        RunFailed: It is being executed.
    """
    run = store.run(run_id)
    if run.state in {State.RUNNING, State.CANCELING}:
        raise RunFailed(f"run {run.id} is {run.state}; cancel it first: trainwright runs cancel {run.id}")
    store.delete_run(run.id)
    shutil.rmtree(run.folder, ignore_errors=True)


def _new_id(pipeline: str) -> str:
    stem = re.sub(r"[^a-z0-9]+", "-", pipeline.lower()).strip("-")[:40] or "run"
    return f"{stem}-{now():%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:4]}"
