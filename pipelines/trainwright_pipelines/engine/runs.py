"""What the command line and the service do with runs: create, execute, resume, cancel, delete."""

import contextlib
import os
import re
import shutil
import signal
import threading
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from trainwright_components.cluster.tf_config import refuse_foreign_cluster
from trainwright_components.errors import InvalidSetting, RunNotFound
from trainwright_components.files import is_utf8, write_whole
from trainwright_components.images import is_logical
from trainwright_components.processes.warm_parent import WarmParent
from trainwright_pipelines.engine.cache import installed_code
from trainwright_pipelines.engine.execution import Execution, Listener, now
from trainwright_pipelines.engine.isolation.admission import check_isolation
from trainwright_pipelines.engine.isolation.choices import differing_images, resolve_isolation
from trainwright_pipelines.engine.leases import acquire_lease, is_held
from trainwright_pipelines.engine.platform_settings import LocalSecrets, missing_secrets
from trainwright_pipelines.engine.provenance import edited_source, gather_provenance
from trainwright_pipelines.engine.records import Event, Run, RunSettings, State, Task
from trainwright_pipelines.engine.resuming import unfinished
from trainwright_pipelines.engine.root_artifacts import check_artifacts
from trainwright_pipelines.engine.store import Store
from trainwright_pipelines.engine.worker import Worker
from trainwright_pipelines.ir.parsing import parse_pipeline
from trainwright_pipelines.ir.spec import Pipeline
from trainwright_pipelines.ir.values import as_json, check_literal, coerce

SPEC_NAME = "pipeline.yaml"
"""The compiled spec in the folder of a run."""
STARTS_WITHIN_S = 60.0
STOPS_WITHIN_S = 30.0
INTERRUPTED = "INTERRUPTED"
"""What a run is whose process is gone, beside the states of the record."""
RESUMABLE = (State.FAILED, State.CANCELED, INTERRUPTED)
"""States in which a run can go on."""
_NOT_ENDED = {State.PENDING, State.RUNNING, State.CANCELING}
_PAGE_OF_RUNS = 100
_NO_SETTINGS = RunSettings()


def create_run(
    spec_text: str,
    parameters: Mapping[str, Any],
    *,
    store: Store,
    name: str = "",
    uses_cache: bool = True,
    scheduled: datetime | None = None,
    command: Sequence[str] = (),
    settings: RunSettings = _NO_SETTINGS,
    begin: Callable[[Run], tuple[Run, Sequence[Task]]] = lambda run: (run, ()),
) -> Run:
    """Record a run of a compiled pipeline; nothing starts yet.

    `spec_text` is compiled YAML, one document or two. Parameters that are missing take their defaults. The name is for
    people, by default the run's id; `command` is the command line that asked for the run. `begin` completes the run,
    and gives the tasks that it begins with: they are recorded together, so that no kill comes between.

    Raises:
        InvalidPipeline: The spec cannot be read.
        InvalidSetting: A parameter or an artifact is unknown, missing, of the wrong type, or not UTF-8 text; this
            machine cannot run a step in what it is to run in; or another launcher started this process as one of
            several, which would each run the pipeline.
    """
    refuse_foreign_cluster(os.environ)
    if not is_utf8(name):
        raise InvalidSetting(f"the name of a run is UTF-8 text, got {name!a}")
    pipeline = parse_pipeline(spec_text)
    checked = check_parameters(pipeline, parameters)
    given = check_artifacts(pipeline, settings.artifacts)
    places = {name: each[0] if len(each) == 1 else dict(enumerate(each)) for name, each in given.items()}
    isolation = resolve_isolation(pipeline, settings.isolation)
    check_isolation(pipeline, isolation, settings.images)
    run_id = _new_id(pipeline.name)
    run = Run(
        id=run_id,
        name=name or run_id,
        pipeline=pipeline.name,
        state=State.PENDING,
        parameters=checked,
        folder=store.home / "runs" / run_id,
        created=now(),
        scheduled=scheduled,
        uses_cache=uses_cache,
        provenance=gather_provenance({**checked, **places}, command=command, source=settings.source),
        artifacts=given,
        requires_outputs=settings.requires_outputs,
        isolation=isolation,
        images=settings.images,
    )
    (run.folder / "workspace").mkdir(parents=True)
    write_whole(run.folder / SPEC_NAME, spec_text)
    run, tasks = begin(run)
    store.add_run(run, spec_text, tasks)
    return run


def check_parameters(pipeline: Pipeline, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The pipeline's inputs with defaults filled in, each of its type.

    Raises:
        InvalidSetting: One is unknown, missing, of the wrong type, or not UTF-8 text.
    """
    slots = pipeline.root.input_parameters
    unknown = [name for name in parameters if name not in slots]
    if unknown:
        known = ", ".join(slots) or "none"
        raise InvalidSetting(f"{pipeline.name} has no parameter {unknown[0]!r}; it has {known}")
    values = {}
    for name, slot in slots.items():
        value = as_json(parameters.get(name, slot.default), name=name)
        if value is None and not slot.is_optional:
            raise InvalidSetting(f"{pipeline.name} needs a value for its parameter {name!r}")
        if value is not None:
            values[name] = as_json(coerce(value, slot.type, name=name), name=name)
        if not is_utf8(value):
            raise InvalidSetting(f"parameter {name!r} is not UTF-8 text: {ascii(value)[:200]}")
        if value is not None:
            check_literal(values[name], slot.literals, name=name)
    return values


def execute(
    run_id: str,
    *,
    store: Store,
    listener: Listener | None = None,
    max_parallel: int | None = None,
    light_parent: WarmParent | None = None,
) -> Run:
    """Execute a run to its end, and give it back as it ended; of a run that was executed before, only what is missing.

    Blocks. Ctrl-C and SIGTERM stop it cleanly: the run comes back CANCELED and can be resumed. One that hangs is
    left after `STOPS_WITHIN_S` and as long again, or at the next signals, with KeyboardInterrupt.

    The listener is called for every change, from another thread but never from two at once. `max_parallel` limits the
    steps that run at once; by default one per core, at least 2. `light_parent` is one that was started already, see
    `start_light_parent`; it ends with the run.

    Raises:
        LeaseHeld: Another process executes the run.
        Unwritable: The run cannot be recorded: the disk is full, or the database is away.
        InvalidSetting: Another launcher started this process as one of several, or an older release made the run.
    """
    run = store.run(run_id)
    return _execute(run, store=store, listener=listener, max_parallel=max_parallel, light_parent=light_parent)


def _execute(
    run: Run,
    *,
    store: Store,
    listener: Listener | None,
    max_parallel: int | None,
    light_parent: WarmParent | None = None,
    warnings: Sequence[str] = (),
) -> Run:
    refuse_foreign_cluster(os.environ)
    check_repeatable(run)
    lease = acquire_lease(store.engine, run.id)
    try:
        execution = Execution(
            store=store,
            run=store.run(run.id),
            pipeline=parse_pipeline(store.spec_text(run.id)),
            listener=listener,
            max_parallel=max_parallel or max(2, os.cpu_count() or 2),
            previous={task.path: task for task in store.tasks(run.id)},
            secrets=LocalSecrets.load(store.home, os.environ),
        )
        if execution.previous:
            check_isolation(
                execution.pipeline,
                run.isolation,
                run.images,
                is_left=unfinished(execution.previous),
                resumed=run.id,
            )
        processes = execution.isolations.processes
        processes.needs_warm = any(is_logical(each.image) for each in execution.pipeline.executors.values())
        if light_parent is not None:
            processes.adopt(light_parent)
        for given in run.warnings if run.state == State.PENDING else ():  # on record since it was made, told to nobody
            execution.tell(Event(run_id=run.id, time=now(), state=run.state, message=given, is_warning=True))
        for warning in filter(None, (*warnings, differing_images(execution.pipeline, execution.run.isolation))):
            execution.warn(warning)
        for missing in missing_secrets(execution.pipeline, execution.secrets):
            # told and not recorded: a resumed run may have it
            execution.tell(Event(run_id=run.id, time=now(), state=run.state, message=missing, is_warning=True))
        worker = Worker(execution, lease)
    except BaseException:
        lease.release()
        raise
    worker.start()
    with _terminate_as_interrupt():
        _join(worker)
    if worker.failure is not None:
        raise worker.failure
    return store.run(run.id)


def _join(worker: Worker) -> None:
    """Wait for the end. An interrupt stops the run; where that does not help, it is killed, and then left."""
    try:
        worker.ended.wait()
    except KeyboardInterrupt:
        for stop in (worker.cancel, worker.kill):
            with contextlib.suppress(KeyboardInterrupt):  # another one is as good as having waited
                stop()
                if worker.ended.wait(STOPS_WITHIN_S):
                    return
        raise  # a thread that cannot be stopped: it reads from a disk that is away, or its listener hangs


@contextlib.contextmanager
def _terminate_as_interrupt() -> Iterator[None]:
    """SIGTERM stops the run as Ctrl-C does, where this thread may say so."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def resume(run_id: str, *, store: Store, listener: Listener | None = None, max_parallel: int | None = None) -> Run:
    """Go on with a run that failed, was canceled, or whose process died; steps that succeeded are not repeated.

    Raises:
        InvalidSetting: It succeeded already, an older release made it, or a step that is left cannot run in its image.
        LeaseHeld: Another process executes it.
    """
    run = store.run(run_id)
    check_repeatable(run)
    if run.state == State.SUCCEEDED:
        raise InvalidSetting(f"run {run.id} has succeeded; to run the pipeline again: trainwright run {run.pipeline}")
    if not is_held(store.engine, run.id):
        store.request_cancel(run.id, requested=False)
    return _execute(run, store=store, listener=listener, max_parallel=max_parallel, warnings=_changed_code(run))


def repeat(run_id: str, *, store: Store, command: Sequence[str] = ()) -> Run:
    """Record a new run of the same spec with the same parameters; nothing starts yet.

    Raises:
        InvalidSetting: An older release made the run.
    """
    run = store.run(run_id)
    check_repeatable(run)
    edited = edited_source(run)
    notice = f"{edited} has changed since run {run.id}, whose steps these are; trainwright run {edited} uses it"
    return create_run(
        store.spec_text(run.id),
        run.parameters,
        store=store,
        uses_cache=wants_cache(run),
        command=command,
        settings=RunSettings(
            artifacts=run.artifacts,
            requires_outputs=run.requires_outputs,
            isolation=run.isolation,
            images=run.images,
            source=run.provenance.get("source") or {},
        ),
        begin=lambda new: (replace(new, warnings=(notice,) if edited else ()), ()),
    )


def wants_cache(run: Run) -> bool:
    """Whether the run may take earlier results; one that begins at a step does not, but what it repeats may have."""
    return run.uses_cache or bool(run.provenance.get("repeats", {}).get("uses_cache"))


def check_repeatable(run: Run) -> None:
    """Refuse a run whose steps the installed components cannot run any more.

    Raises:
        InvalidSetting: An older release made it.
    """
    if not run.is_repeatable:
        raise InvalidSetting(
            f"run {run.id} was made by an older release of trainwright, whose components and parameters have other "
            "names: it can be shown, opened and deleted, but not resumed or rerun. Start a new run; "
            f"`trainwright pipelines {run.pipeline.replace('-', '_')}` shows today's parameters"
        )


def _changed_code(run: Run) -> list[str]:
    before = run.provenance.get("components_digest")
    is_changed = before and before != installed_code()
    found = ["the run goes on with another version of the components than it began with"] if is_changed else []
    if edited := edited_source(run):
        found.append(f"{edited} has changed since the run began, whose steps stay; trainwright run {edited} uses it")
    return found


def is_abandoned(run: Run, *, store: Store) -> bool:
    """Whether the process that executes the run is gone, or never came up, though the record says that it goes on."""
    is_late = run.state == State.PENDING and (now() - run.created).total_seconds() > STARTS_WITHIN_S
    return (is_late or run.state in {State.RUNNING, State.CANCELING}) and not is_held(store.engine, run.id)


def live_state(run: Run, *, store: Store) -> str:
    """The recorded state, or INTERRUPTED when the process that executed the run is gone."""
    return INTERRUPTED if is_abandoned(run, store=store) else str(run.state)


def find_runs(
    store: Store, *, pipeline: str = "", state: str = "", states: Collection[str] = ()
) -> Iterator[tuple[Run, str]]:
    """Runs, newest first, with the states that they are in now: the record cannot know that a process was killed.

    Only those in `state`, or in one of `states`, where either is given.
    """
    name, wanted, offset = pipeline.replace("_", "-") or None, {*states, *([state.upper()] if state else [])}, 0
    recorded = {each for each in State if each in wanted} | (_NOT_ENDED if INTERRUPTED in wanted else set())
    while found := store.runs(limit=_PAGE_OF_RUNS, offset=offset, pipeline=name, states=recorded if wanted else None):
        for each in found:
            now_in = live_state(each, store=store)
            if not wanted or now_in in wanted:
                yield each, now_in
        offset += len(found)


def newest_to_resume(store: Store) -> Run:
    """The newest run that can be resumed.

    Raises:
        RunNotFound: There is none.
    """
    older = ""
    for run, _ in find_runs(store, states=RESUMABLE):
        if run.is_repeatable:
            return run
        older = "; runs that an older release made cannot be resumed"
    raise RunNotFound(f"no run can go on: none failed, was canceled or interrupted{older}")


def cancel(run_id: str, *, store: Store) -> Run:
    """Stop a run: at once if nobody executes it, else by asking the process that does; a run that has ended stays."""
    run = store.run(run_id)
    if run.state.is_final:
        return run
    store.request_cancel(run.id)  # also where nobody executes it: somebody may be just about to
    if is_held(store.engine, run.id):
        return store.run(run.id)
    for task in store.tasks(run.id):
        if not task.state.is_final:
            store.save_task(replace(task, state=State.CANCELED, finished=now(), error="canceled"))
    canceled = replace(run, state=State.CANCELED, finished=now(), error="canceled")
    store.save_run(canceled)
    store.add_events([Event(run_id=run.id, time=now(), state=State.CANCELED, message="canceled")])
    return canceled


def delete(run_id: str, *, store: Store) -> None:
    """Forget a run and remove its folder, but for artifacts that other runs use.

    Raises:
        InvalidSetting: It is being executed.
    """
    run = store.run(run_id)
    check_deletable(run, store=store)
    kept = store.delete_run(run.id)
    (run.folder / SPEC_NAME).unlink(
        missing_ok=True
    )  # so that what an interrupt leaves is no run that another record has
    _remove(run.folder, {Path(uri) for uri in kept})


def check_deletable(run: Run, *, store: Store) -> None:
    """Refuse a run that is under way.

    Raises:
        InvalidSetting: It is being executed.
    """
    if is_held(store.engine, run.id):
        raise InvalidSetting(f"run {run.id} is being executed; cancel it first: trainwright runs cancel {run.id}")


def _remove(path: Path, kept: set[Path]) -> None:
    if path in kept:
        return
    if not any(each.is_relative_to(path) for each in kept):
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
        return
    for below in path.iterdir():
        _remove(below, kept)


def _new_id(pipeline: str) -> str:
    stem = re.sub(r"[^a-z0-9]+", "-", pipeline.lower()).strip("-")[:40] or "run"
    return f"{stem}-{now():%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:4]}"
