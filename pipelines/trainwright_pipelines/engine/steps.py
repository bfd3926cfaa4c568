"""One step: its folder, its process, its attempts, its outputs."""

import asyncio
import contextlib
import functools
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil

from trainwright_components.errors import InvalidPipeline, TrainwrightError
from trainwright_components.files import legible
from trainwright_components.processes.ending import SAVE_S
from trainwright_components.processes.identity import start_of
from trainwright_pipelines.engine.attempts import AttemptEnd, describe_end, next_retry
from trainwright_pipelines.engine.contract import LeftBehind, StepFolder, build_executor_input, import_artifact
from trainwright_pipelines.engine.downloads import beyond_reach
from trainwright_pipelines.engine.execution import Execution, now
from trainwright_pipelines.engine.isolation.choices import (
    PROCESS,
    ignored_by_process,
    isolation_of,
    step_at,
)
from trainwright_pipelines.engine.isolation.container_engine import Image
from trainwright_pipelines.engine.isolation.expansion import names_in
from trainwright_pipelines.engine.isolation.masked import MaskedStep
from trainwright_pipelines.engine.isolation.protocol import StartedStep
from trainwright_pipelines.engine.masking import MaskedLog
from trainwright_pipelines.engine.platform_settings import PlatformSettings, Resolve
from trainwright_pipelines.engine.preparing import PreparedStep, fill_placeholders, prepare_step, take_own_part
from trainwright_pipelines.engine.records import Attempt, State, Task, Values
from trainwright_pipelines.engine.resolve import Outcome
from trainwright_pipelines.engine.reuse import Reuse
from trainwright_pipelines.engine.secret_outputs import disclosed
from trainwright_pipelines.engine.slots import Share
from trainwright_pipelines.engine.step_logs import end_of, read_warnings
from trainwright_pipelines.engine.volumes import change_claim
from trainwright_pipelines.ir.placeholders import Placeholders
from trainwright_pipelines.ir.resources import Resources, read_resources
from trainwright_pipelines.ir.spec import Component, Importer, TaskSpec
from trainwright_pipelines.ir.values import to_text

STOP_GRACE_S = SAVE_S + 5.0  # a cluster saves first; Kubernetes gives a pod 30 s, and `STOPS_WITHIN_S` is that too
_MAX_LOGGED_WARNINGS = 20
LIMITS_DO_NOT_HOLD = (
    "limits of CPU and memory do not hold for steps that run as processes: a step that goes beyond one is not stopped; "
    "they hold with --isolation container"
)


@dataclass(kw_only=True)
class Step:
    """A leaf of the DAG on its way."""

    execution: Execution
    record: Task
    spec: TaskSpec
    component: Component
    inputs: Values
    resolve: Resolve
    settings: PlatformSettings = field(default_factory=PlatformSettings)
    unreadable: TrainwrightError | None = None
    """Why an input could not be looked at, until the next try tells it."""
    share: Share = field(default_factory=Share)
    image: Image | None = None

    def __post_init__(self) -> None:
        self.folder = StepFolder(self.execution.folder_of(self.record.path))
        self.executor = self.execution.pipeline.executors[self.component.executor]

    async def run(self) -> Outcome:
        """Do the step, again if its policy says so, and record how it went."""
        asked = self._asked()
        self.record = replace(self.record, inputs=self.inputs, folder=self.folder.path, resources=asked.told)
        if self.execution.slots.would_wait(asked):
            self.record = self.execution.save(self.record)
        async with self.execution.slots.take(asked) as self.share:
            self.record = replace(self.record, state=State.RUNNING, started=now())
            if not self._begins_at_once:
                self.record = self.execution.save(self.record)
            try:
                return await self._execute()
            except TrainwrightError as error:  # before its first try
                return self._fail(AttemptEnd(exit_code=None, error=str(error)))

    async def _execute(self) -> Outcome:
        if self.executor.importer is not None:
            return await self._import(self.executor.importer)
        if self.executor.container is None:
            kind = self.executor.kind
            raise InvalidPipeline(f"{self.record.name} is a {kind} step, which only Vertex AI Pipelines can run")
        return await self._container(self.executor.container)

    @property
    def _begins_at_once(self) -> bool:
        """Whether the record of the first attempt can say as well that the step is running."""
        is_tried_again = self.record.attempts and self.spec.retry.count
        return self.executor.container is not None and not self.execution.run.uses_cache and not is_tried_again

    async def _container(self, container: Mapping[str, Any]) -> Outcome:
        image, lasting = str(container.get("image") or ""), self.execution.store.home / "volumes"
        claim = change_claim(image, self.inputs.parameters, lasting=lasting, run=self.execution.run.id)
        if claim is not None:
            return self._succeed(Values(parameters=dict.fromkeys(self.component.output_parameters, claim)))
        platform = self.execution.pipeline.platform_settings.get(self.component.executor) or {}
        own = take_own_part(
            self.component,
            container,
            platform,
            self.inputs,
            run=self.execution.run,
            task=self.record,
            folder=self.folder,
            resolve=self.resolve,
        )
        container, self.inputs = own.container, own.inputs
        self.settings = self.execution.settings_of(own.platform, self.record, self.resolve)
        for warning in beyond_reach(self.inputs):
            self.execution.warn(warning, self.record)
        self.image = await self._find_image(container)
        reuse = Reuse(
            execution=self.execution,
            task=self.record,
            spec=self.spec,
            component=self.component,
            container=container,
            inputs=self.inputs,
            settings=self.settings,
            image_id=self.image.id if self.image is not None else "",
        )
        lookup = await self.execution.in_thread(reuse.look_up) if self.execution.run.uses_cache else reuse.look_up()
        self.record, self.unreadable = replace(self.record, cache=lookup.note), lookup.unreadable
        if (found := lookup.found) is not None:
            given = found.attempts[-1].warnings if found.attempts else ()
            self.record = replace(self.record, is_cached=True, cached_from=found.id, warnings=given)
            return self._succeed(found.outputs)
        outcome = await self._attempts(container)
        if (fingerprint := lookup.fingerprint) is not None and outcome.state == State.SUCCEEDED:
            why = await self.execution.in_thread(lambda: reuse.remember(fingerprint, outcome.outputs))
            if why:
                self.record = self.execution.save(replace(self.record, cache={**self.record.cache, "not_kept": why}))
        return outcome

    async def _find_image(self, container: Mapping[str, Any]) -> Image | None:
        """The image that the step runs in; None for a process, which is told what it leaves out."""
        step = step_at(self.execution.pipeline, self.record.path, container)
        is_process = isolation_of(step, self.execution.run.isolation) == PROCESS
        if is_process and not step.needs_image:
            return None
        placeholders = self._placeholders()
        if is_process:
            self.execution.warn(ignored_by_process(placeholders.text(step.image)), self.record)
            return None
        found: Image = await self.execution.in_thread(
            lambda: self.execution.isolations.image_of(
                step,
                placeholders,
                images=self.execution.run.images,
                pull_policy=self.settings.pull_policy,
                tell=lambda message: self.execution.tell_of(self.record, message),
            )
        )
        return found

    def _placeholders(self) -> Placeholders:
        """KFP's placeholders with the step's inputs as they are now."""
        executor_input = build_executor_input(self.component, self.inputs, self.folder, self.folder.artifacts)
        return fill_placeholders(executor_input, run=self.execution.run, task=self.record)

    async def _import(self, importer: Importer) -> Outcome:
        uri = importer.uri
        given = uri.constant if uri.input is None else self.inputs.parameters.get(uri.input)
        placeholders = self._placeholders()
        metadata = placeholders.anywhere(importer.metadata)
        slot_name, slot = next(iter(self.component.output_artifacts.items()))
        address = placeholders.text(to_text(given))
        artifact = await self.execution.in_thread(
            lambda: import_artifact(slot, address, metadata, task_id=self.record.id, name=slot_name)
        )
        return self._succeed(Values(artifacts={slot_name: (artifact,)}))

    def _asked(self) -> Resources:
        """What the step asks of its machine; not what its component only hands on to a workload of its own."""
        container = self.executor.container or {}
        if not container.get("resources") or not self.component.passthroughs.get("RESOURCES", True):
            return Resources()
        return read_resources(container, self._placeholders().text)

    def _warn_of_resources(self) -> None:
        """Tell what a process does not get of what the step asks for."""
        if self.image is not None:
            return
        asked = self.share.asked
        if self.share.lacks:
            self.execution.warn(f"{self.share.lacks}: it runs alone, with what there is", self.record)
        if asked.cpu_limit is not None or asked.memory_limit_bytes is not None:
            self.execution.warn(LIMITS_DO_NOT_HOLD)

    def _warn_of_secrets(self, container: Mapping[str, Any]) -> None:
        """Tell of secrets that its author puts on a command line: whoever runs `ps` sees those of containers, too."""
        own = {str(each["name"]) for each in container.get("env") or []}
        parts = [*(container.get("command") or []), *(container.get("args") or [])]
        named = set[str]().union(*(names_in(str(part)) for part in parts)) - own
        if shown := [name for name in self.settings.secret_variables if name in named]:
            self.execution.warn(
                f"its command names $({shown[0]}), which puts that secret where every user of this machine can read it "
                f"while the step runs (ps): leave it out, and have the program read the variable {shown[0]}",
                self.record,
            )

    async def _attempts(self, container: Mapping[str, Any]) -> Outcome:
        self._warn_of_resources()
        self._warn_of_secrets(container)
        policy = self.spec.retry
        end = AttemptEnd(exit_code=None)
        first, wait_s = next_retry(self.record, policy, now())
        for retry in range(first, policy.count + 1):
            if wait := wait_s if retry == first else policy.wait_s(retry):
                async with self.execution.slots.give_up(self.share):
                    await asyncio.sleep(wait)
            end, outputs = await self._attempt(container, retry)
            if outputs is not None:
                return self._succeed(outputs)
            if retry < policy.count:
                pause_s = policy.wait_s(retry + 1)
                when = f"the next one begins in {pause_s:g} s" if pause_s else "trying again"
                told = f"try {retry + 1} of {policy.count + 1} failed: {end.error}; {when}"
                self.record = self.execution.save(self.record, told)
        return self._fail(end)

    async def _attempt(self, container: Mapping[str, Any], retry: int) -> tuple[AttemptEnd, Values | None]:
        """Try once. How it ended is in the record, and not saved: the end of the last attempt is that of the task."""
        number = len(self.record.attempts) + 1
        log = self.folder.log(number)
        image = self.image.id if self.image is not None else ""
        self._save_attempt(
            Attempt(number=number, retry=retry, state=State.RUNNING, started=now(), log=log, image=image)
        )
        outputs = left = told = None
        try:
            started = await self._begin(container, log)
            end, left, told = await self._wait(started, log)
            outputs = None if left is None else left.values
        except (TrainwrightError, OSError) as error:
            reason = self.execution.why_unwritable(error) or str(error)
            end = self._masked(AttemptEnd(exit_code=None, error=reason, detail=end_of(log)))
        except asyncio.CancelledError as error:
            state, reason = self.execution.why_stopped(error)
            self._end_attempt(state, AttemptEnd(exit_code=None, error=reason))
            self.record = self.execution.finish(self.record, state, error=reason)
            raise
        finally:
            told = told if told is not None else await self.execution.in_thread(lambda: self._clear(log))
            self._keep_warnings(() if left is None else left.warnings, told)
        self._end_attempt(State.FAILED if end.error else State.SUCCEEDED, end)
        return end, outputs

    def _keep_warnings(self, of_outputs: Sequence[str], logged: Sequence[str]) -> None:
        """Record what the attempt has warned of by its outputs and in its log."""
        kept = [*of_outputs, *logged[:_MAX_LOGGED_WARNINGS]]
        if len(logged) > _MAX_LOGGED_WARNINGS:
            kept.append(f"{len(logged) - _MAX_LOGGED_WARNINGS} more warnings are in its log")
        self._note_attempt(replace(self.record.attempts[-1], warnings=tuple(map(legible, kept))))
        for warning in kept:
            self.execution.warn(warning, self.record)

    def _clear(self, log: Path) -> Sequence[str]:
        """Remove what an attempt needs no more; gives what it has warned of."""
        for folder in (self.folder.scratch, self.folder.brought):
            shutil.rmtree(folder, ignore_errors=True)
        if self._mounts_in_memory:
            shutil.rmtree(self.execution.memory / self.record.id, ignore_errors=True)
        return list(dict.fromkeys(read_warnings(log)[0]))

    def _prepare(self, container: Mapping[str, Any], log: Path) -> PreparedStep:
        if (error := self.unreadable) is not None:  # a storage that is away was waited for already
            self.unreadable = None
            raise error
        gpus = self.share.gpus
        visible = {} if gpus is None or self.image is not None else {"CUDA_VISIBLE_DEVICES": ",".join(gpus)}
        return prepare_step(
            container,
            self.inputs,
            run=self.execution.run,
            task=self.record,
            component=self.component,
            folder=self.folder,
            settings=replace(self.settings, fields={**self.settings.fields, **visible}),
            home=self.execution.store.home,
            log=log,
            isolations=self.execution.isolations,
            image=self.image,
            gpus=self.share.gpus or (),
            secret=self.execution.memory / self.record.id if self._mounts_in_memory else None,
            tell=lambda message: self.execution.tell_of(self.record, message),
        )

    @property
    def _mounts_in_memory(self) -> bool:
        """Whether files of secrets are kept from the disk; engines of containers may not see this memory."""
        return bool(self.settings.secret_mounts) and self.image is None

    async def _begin(self, container: Mapping[str, Any], log: Path) -> "_Started":
        """Start the process; one that is only just starting when the step is canceled ends as soon as it is there."""
        starting = asyncio.ensure_future(self.execution.in_thread(lambda: self._start(container, log)))
        try:
            started: _Started = await asyncio.shield(starting)
        except asyncio.CancelledError:
            starting.add_done_callback(functools.partial(_abandon, self.execution.threads))
            raise
        try:
            if (packages := started.prepared.packages) is not None:
                took_s = None if packages.is_reused else packages.took_s
                self._note_attempt(replace(self.record.attempts[-1], packages=packages.versions, installed_s=took_s))
            self._remember_process(started.pid)
        except BaseException:
            started.process.abandon()
            raise
        return started

    def _start(self, container: Mapping[str, Any], log: Path) -> "_Started":
        try:
            prepared = self._prepare(container, log)
        finally:
            self.settings.mask.file(log)  # where the installation of packages is told

        def process(output: Path) -> StartedStep:
            return self.execution.isolations.step(prepared.launch, log=output, timeout_s=self.settings.timeout_s)

        mask = self.settings.mask
        started = MaskedStep(process, MaskedLog(log, self.folder.scratch / "log", mask)) if mask else process(log)
        return _Started(prepared=prepared, process=started, pid=started.start())

    async def _wait(self, started: "_Started", log: Path) -> tuple[AttemptEnd, LeftBehind | None, Sequence[str]]:
        waiting = asyncio.ensure_future(self.execution.in_thread(lambda: self._end(started, log)))
        try:
            ended: tuple[AttemptEnd, LeftBehind | None, Sequence[str]] = await asyncio.shield(waiting)
        except asyncio.CancelledError:
            started.process.stop(at_once=False)
            if not await _ends_within(STOP_GRACE_S, waiting):
                started.process.stop(at_once=True)
                await asyncio.wait({waiting})
            waiting.exception()  # what it left unwritten is nobody's loss: it would be printed as never retrieved
            raise
        return ended

    def _end(self, started: "_Started", log: Path) -> tuple[AttemptEnd, LeftBehind | None, Sequence[str]]:
        """Wait for the end of the process; gives what it left behind, and what it has warned of."""
        brought: Mapping[str, Path] = {}
        try:
            ended = started.process.wait()
            last = self.record.attempts[-1]
            self._note_attempt(replace(last, peak_memory_bytes=ended.peak_memory_bytes, cpu_s=ended.cpu_s))
            end, brought = describe_end(ended, self.folder, log), ended.brought
        except TimeoutError:
            error = f"took longer than {self.settings.timeout_s:g} s and was stopped"
            end = AttemptEnd(exit_code=None, error=error, detail=end_of(log))
        end = self._masked(end)
        left = None if end.error else started.prepared.read_outputs(brought)
        if left is not None:
            left = replace(left, warnings=(*left.warnings, *disclosed(left.values, self.settings.secrets)))
        return end, left, self._clear(log)

    def _masked(self, end: AttemptEnd) -> AttemptEnd:
        mask = self.settings.mask
        return replace(end, error=mask.text(end.error), detail=mask.text(end.detail))

    def _remember_process(self, pid: int | None) -> None:
        try:
            created = None if pid is None else start_of(pid)
        except psutil.NoSuchProcess:
            return
        self._save_attempt(replace(self.record.attempts[-1], pid=pid, pid_created=created))

    def _save_attempt(self, attempt: Attempt) -> None:
        self._note_attempt(attempt)
        self.record = self.execution.save(self.record)

    def _note_attempt(self, attempt: Attempt) -> None:
        others = tuple(each for each in self.record.attempts if each.number != attempt.number)
        self.record = replace(self.record, attempts=(*others, attempt), log=attempt.log)

    def _end_attempt(self, state: State, end: AttemptEnd) -> None:
        last = self.record.attempts[-1]
        ended = replace(last, state=state, finished=now(), exit_code=end.exit_code)
        stale = self.execution.find_stale(self.record.path, end.stale_input) if end.stale_input else {}
        self._note_attempt(replace(ended, error=end.error, error_kind=end.kind, stale=stale))

    def _fail(self, end: AttemptEnd) -> Outcome:
        self.record = self.execution.finish(self.record, State.FAILED, error=end.error, error_detail=end.detail)
        return Outcome(state=State.FAILED, error=end.error)

    def _succeed(self, outputs: Values) -> Outcome:
        self.record = self.execution.finish(self.record, State.SUCCEEDED, outputs=outputs, error="", error_detail="")
        return Outcome(state=State.SUCCEEDED, outputs=outputs)


@dataclass(frozen=True, kw_only=True)
class _Started:
    prepared: PreparedStep
    process: StartedStep
    pid: int | None


async def _ends_within(seconds: float, waiting: "asyncio.Future[Any]") -> bool:
    """Whether something ends in time. Who stops the run while a step saves, takes from it nothing of that time."""
    clock = asyncio.get_running_loop().time
    until = clock() + seconds
    while not waiting.done() and (left_s := until - clock()) > 0:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait({waiting}, timeout=left_s)
    return waiting.done()


def _abandon(threads: ThreadPoolExecutor, starting: "asyncio.Future[_Started]") -> None:
    """End what nobody waits for, in a thread: an engine of containers may take long, and heartbeats go on meanwhile."""
    if not starting.cancelled() and starting.exception() is None:
        with contextlib.suppress(RuntimeError):  # no thread is taken on any more: the run ends, and this with it
            threads.submit(starting.result().process.abandon)
