"""Walks the DAG: starts what can start, in parallel, and turns the ends of tasks into the end of the run."""

import asyncio
import contextlib
import functools
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from trainwright_components.errors import TrainwrightError
from trainwright_pipelines.engine.attempts import end_last_attempt, next_retry
from trainwright_pipelines.engine.execution import IN_EXIT_TASK, Execution, now
from trainwright_pipelines.engine.isolation.python_source import is_python
from trainwright_pipelines.engine.platform_settings import Resolve
from trainwright_pipelines.engine.records import Attempt, State, Task, TaskKind, Values, without_numbered_groups
from trainwright_pipelines.engine.resolve import (
    Outcome,
    collect,
    dag_outputs,
    fill_defaults,
    holds,
    loop_items,
    platform_value,
    resolve_inputs,
    why_not,
)
from trainwright_pipelines.engine.resuming import CONDITION_IS_FALSE, again, is_done
from trainwright_pipelines.engine.root_artifacts import read_root_artifacts
from trainwright_pipelines.engine.slots import Opening
from trainwright_pipelines.engine.steps import Step
from trainwright_pipelines.ir.expressions import readable
from trainwright_pipelines.ir.parsing import parse_source
from trainwright_pipelines.ir.spec import Component, Dag, TaskSpec

_SHOWN_FAILURES = 5
_DEBUG_PAUSE = "ARGO_DEBUG_PAUSE_"  # what PipelineTask.set_debug_pause of kfp sets, for Argo Workflows


class DagRunner:
    """Executes the tasks of one run."""

    def __init__(self, execution: Execution) -> None:
        self._execution = execution
        self._pipeline = execution.pipeline

    async def run(self) -> Outcome:
        """Execute the whole pipeline."""
        for warning in self._unheeded():
            self._execution.warn(warning)
        try:
            return await self._root(self._pipeline.root)
        except TrainwrightError as error:
            return Outcome(state=State.FAILED, error=str(error))

    def _unheeded(self) -> Iterator[str]:
        """What the pipeline asks for as a whole, or by a variable, and does not get on this machine."""
        run = self._execution.run
        if root := self._pipeline.pipeline_root:
            yield f"results are in {run.folder / 'steps'} and not in {root}, the pipeline's root"
        if self._pipeline.has_time_to_live:
            yield f"a time to live has no effect on this machine: runs stay until `trainwright runs delete {run.id}`"
        for name, executor in self._pipeline.executors.items():
            variables = [str(each.get("name")) for each in (executor.container or {}).get("env") or []]
            if any(each.startswith(_DEBUG_PAUSE) for each in variables):
                step = name.removeprefix("exec-")
                yield (
                    f"the debug pause of {step} has no effect on this machine; to look into it where it raises: "
                    f"trainwright runs rerun {run.id} --step {step} --pdb"
                )

    async def _root(self, root: Component) -> Outcome:
        run = self._execution.run
        artifacts = await self._execution.in_thread(lambda: read_root_artifacts(self._pipeline, run))
        inputs = fill_defaults(Values(parameters=run.parameters, artifacts=artifacts), root, self._pipeline.name)
        if root.dag is not None:
            return await self._dag("", root.dag, inputs)
        spec = TaskSpec(
            name=root.name, display_name=root.name, component=root.name, parameters={}, artifacts={}, depends_on=()
        )
        record = self._planned("", spec, root)
        self._announce([record])
        return await self._work(record, spec, root, inputs, _constant)

    async def _dag(self, path: str, dag: Dag, scope: Values, *, begun: Task | None = None) -> Outcome:
        """Do all tasks of a DAG; `begun` is the group that holds them where it is just beginning, and not recorded."""
        records = {
            name: self._planned(path, spec, self._pipeline.component_of(spec), begun=begun)
            for name, spec in dag.tasks.items()
        }
        self._announce([*([begun] if begun is not None else []), *records.values()])
        futures: dict[str, asyncio.Task[Outcome]] = {}
        async with asyncio.TaskGroup() as group:
            for name, spec in dag.tasks.items():
                futures[name] = group.create_task(self._node(records[name], spec, scope, futures))
        outcomes = {name: future.result() for name, future in futures.items()}
        shown_names = {name: spec.display_name for name, spec in dag.tasks.items()}
        return _verdict(outcomes, dag_outputs(dag, outcomes), shown_names)

    def _announce(self, records: Iterable[Task]) -> None:
        """Record what is to come, before anything of it begins; what was done before stays as it is."""
        if new := [record for record in records if record is not self._execution.previous.get(record.path)]:
            self._execution.save_all(new)

    def _planned(
        self,
        parent: str,
        spec: TaskSpec,
        component: Component,
        *,
        kind: TaskKind | None = None,
        name: str = "",
        begun: Task | None = None,
    ) -> Task:
        name = name or spec.name
        path = f"{parent}/{name}" if parent else name
        known = self._execution.previous.get(path)
        if known is not None:
            return known if known.state == State.SUCCEEDED else again(known)
        executor = self._pipeline.executor_of(component)
        return Task(
            id=uuid.uuid4().hex,
            run_id=self._execution.run.id,
            name=name,
            path=path,
            parent_path=parent,
            kind=kind or self._kind(spec, component),
            component=component.name,
            display_name=spec.display_name,
            title=self._titled(parent, name if kind == TaskKind.ITERATION else spec.display_name, begun),
            depends_on=tuple(f"{parent}/{each}" if parent else each for each in spec.depends_on) if not kind else (),
            image=executor.image if executor is not None else "",
            created=now(),
        )

    def _titled(self, group: str, name: str, begun: Task | None = None) -> str:
        """`name` behind the names of the groups around it, but for those that are only numbered."""
        if not group:
            return name
        around = begun or self._execution.previous[group]
        if around.is_only_numbered:
            return self._titled(around.parent_path, name)
        own = around.name if around.kind == TaskKind.ITERATION else around.display_name
        return self._titled(around.parent_path, f"{own or around.name}/{name}")

    def _kind(self, spec: TaskSpec, component: Component) -> TaskKind:
        if spec.iterator is not None:
            return TaskKind.LOOP
        executor = self._pipeline.executor_of(component)
        if executor is None:
            return TaskKind.DAG
        if executor.importer is not None:
            return TaskKind.IMPORTER
        return TaskKind.PYTHON if is_python(executor.container or {}) else TaskKind.CONTAINER

    async def _node(
        self, record: Task, spec: TaskSpec, scope: Values, siblings: Mapping[str, asyncio.Task[Outcome]]
    ) -> Outcome:
        upstream = {name: await siblings[name] for name in spec.depends_on}
        component = self._pipeline.component_of(spec)
        if reason := why_not(spec, upstream):
            return self._skip(record, reason)
        if spec.runs_after_failures:
            IN_EXIT_TASK.set(True)
        try:
            inputs = resolve_inputs(
                spec,
                component,
                scope=scope,
                upstream=upstream,
                constants=self._execution.constants
                | {"pipeline_task_name": record.name, "pipeline_task_uuid": record.id},
                job=self._execution.run.id,
            )
            if spec.condition and not holds(spec.condition, component, inputs):
                return self._skip(record, f"{CONDITION_IS_FALSE}: {readable(spec.condition)}")
            if not self._is_outdated_exit(record, spec) and await self._is_done(record, inputs):
                return Outcome(state=State.SUCCEEDED, outputs=record.outputs)
            resolve = functools.partial(platform_value, scope=scope, upstream=upstream)
            if spec.iterator is not None:
                return await self._loop(again(record), spec, component, inputs, resolve)
            return await self._work(again(record), spec, component, inputs, resolve)
        except TrainwrightError as error:
            return self._fail(record.path, str(error))
        except Exception as error:
            self._fail(record.path, self._execution.why_unwritable(error) or f"internal error: {error!r}")
            raise

    def _fail(self, path: str, error: str) -> Outcome:
        self._execution.finish(self._execution.previous[path], State.FAILED, error=error)
        return Outcome(state=State.FAILED, error=error)

    async def _is_done(self, record: Task, inputs: Values) -> bool:
        if record.state != State.SUCCEEDED or self._execution.is_stale(record.path):
            return False
        return await self._execution.look(lambda: is_done(record, inputs))

    def _is_outdated_exit(self, record: Task, spec: TaskSpec) -> bool:
        """Whether an exit task has run already, and what it runs after has been done again since: it cleans up anew."""
        if not spec.runs_after_failures or record.started is None:
            return False
        before = [self._execution.previous[path] for path in record.depends_on]
        return any(each.finished is not None and each.finished > record.started for each in before)

    def _skip(self, record: Task, reason: str) -> Outcome:
        for inside in self._execution.inside(record.path):  # they may have run before the run was resumed
            if inside.state != State.SKIPPED:
                self._execution.finish(again(inside), State.SKIPPED, error=reason)
        self._execution.finish(again(record), State.SKIPPED, error=reason)
        return Outcome(state=State.SKIPPED, error=reason)

    async def _work(
        self, record: Task, spec: TaskSpec, component: Component, inputs: Values, resolve: Resolve
    ) -> Outcome:
        if component.dag is not None:
            return await self._group(record, spec, component.dag, inputs)
        step = Step(
            execution=self._execution,
            record=record,
            spec=spec,
            component=component,
            inputs=inputs,
            resolve=resolve,
        )
        try:
            with self._canceling(record.path), self._execution.subject_to_deadline():
                return await step.run()
        except asyncio.CancelledError as error:
            state, reason = self._execution.why_stopped(error)
            if state == State.CANCELED:
                raise
            if (current := asyncio.current_task()) is not None:
                current.uncancel()
            return Outcome(state=state, error=reason)

    async def _group(self, record: Task, spec: TaskSpec, dag: Dag, inputs: Values) -> Outcome:
        record = _begun(record, inputs)
        with self._canceling(record.path):
            if not spec.retry.count:
                outcome = await self._dag(record.path, dag, inputs, begun=record)
            else:
                record, outcome = await self._repeated_group(self._execution.save(record), spec, dag, inputs)
        self._execution.finish(record, outcome.state, outputs=outcome.outputs, error=outcome.error)
        return outcome

    async def _repeated_group(self, record: Task, spec: TaskSpec, dag: Dag, inputs: Values) -> tuple[Task, Outcome]:
        """Try a group until it succeeds; what succeeded in it stays.

        KFP puts the policy on the group's template, so that Argo does all of it again, while steps that succeeded are
        taken from KFP's cache (kubeflow/pipelines, pull request 11908: retryStrategy for nested pipelines).
        """
        first, wait_s = next_retry(record, spec.retry, now())
        for retry in range(first, spec.retry.count + 1):
            if await self._execution.wait(wait_s if retry == first else spec.retry.wait_s(retry)):
                return record, Outcome(state=State.FAILED, error=self._execution.overdue)
            attempt = Attempt(number=len(record.attempts) + 1, retry=retry, state=State.RUNNING, started=now())
            record = self._execution.save(replace(record, attempts=(*record.attempts, attempt)))
            try:
                outcome = await self._dag(record.path, dag, inputs)
            except asyncio.CancelledError:
                self._execution.save(end_last_attempt(record, State.CANCELED, "canceled"))
                raise
            record = end_last_attempt(record, outcome.state, outcome.error)
            if outcome.state != State.FAILED or retry == spec.retry.count or self._execution.overdue:
                return record, outcome
            self._execution.save(record)
        raise AssertionError("a group is tried at least once")

    async def _loop(
        self, record: Task, spec: TaskSpec, component: Component, inputs: Values, resolve: Resolve
    ) -> Outcome:
        if spec.iterator is None:
            raise AssertionError("a loop has an iterator")
        items = loop_items(spec.iterator, inputs, constants=self._execution.constants)
        record = self._execution.save(replace(_begun(record, inputs), item_count=len(items)))
        self._execution.forget_beyond(record, len(items))
        free = asyncio.Semaphore(spec.iterator.parallelism or max(len(items), 1))
        outcomes: dict[int, Outcome] = {}
        with self._canceling(record.path):
            async with asyncio.TaskGroup() as group:
                for index, item in enumerate(items):
                    await free.acquire()
                    opening = await self._execution.slots.open(record.path.count("/"))
                    iteration = self._iteration(record.path, index, spec, component, item, resolve, opening)
                    task = group.create_task(iteration)
                    task.add_done_callback(functools.partial(_close, opening, free, outcomes, index))
        named = {str(index): outcomes[index] for index in range(len(items))}
        outcome = _verdict(named, collect(component, [*named.values()]), {})
        self._execution.finish(record, outcome.state, outputs=outcome.outputs, error=outcome.error)
        return outcome

    async def _iteration(
        self,
        loop: str,
        index: int,
        spec: TaskSpec,
        component: Component,
        inputs: Values,
        resolve: Resolve,
        opening: Opening,
    ) -> Outcome:
        opening.enter()
        self._execution.bring_back(f"{loop}/{index}")  # tried before, in a group that is tried again
        kind = TaskKind.ITERATION if component.dag is not None else None
        record = self._planned(loop, replace(spec, iterator=None), component, kind=kind, name=str(index))
        if component.dag is None:  # a group is recorded as it begins, with what it holds
            self._announce([record])
        try:
            filled = fill_defaults(inputs, component, spec.name)
            if await self._is_done(record, filled):
                outcome = Outcome(state=State.SUCCEEDED, outputs=record.outputs)
            else:
                outcome = await self._work(again(record), spec, component, filled, resolve)
            if outcome.state == State.SUCCEEDED:  # of others, a thread may still have something to tell
                self._execution.put_away(record.path)
            return outcome
        except TrainwrightError as error:
            if record.path not in self._execution.previous:
                self._announce([record])
            return self._fail(record.path, str(error))

    @contextlib.contextmanager
    def _canceling(self, path: str) -> Iterator[None]:
        try:
            yield
        except asyncio.CancelledError as error:
            latest = self._execution.previous[path]
            if not latest.state.is_final:
                state, reason = self._execution.why_stopped(error)
                self._execution.finish(latest, state, error=reason)
            raise


def _close(
    opening: Opening, free: asyncio.Semaphore, outcomes: dict[int, Outcome], index: int, task: asyncio.Task[Outcome]
) -> None:
    """Let another iteration of a loop open once one has ended."""
    free.release()
    opening.arrive()
    if not task.cancelled() and task.exception() is None:
        outcomes[index] = task.result()


def _begun(record: Task, inputs: Values) -> Task:
    return replace(record, state=State.RUNNING, started=now(), inputs=inputs)


def _constant(raw: Mapping[str, Any]) -> Any:
    return parse_source(raw).constant


def _verdict(outcomes: Mapping[str, Outcome], outputs: Values, shown_names: Mapping[str, str]) -> Outcome:
    failed = {name: outcome for name, outcome in outcomes.items() if outcome.state == State.FAILED}
    if not failed:
        return Outcome(state=State.SUCCEEDED, outputs=outputs)
    steps = tuple(
        f"{shown_names.get(name, name)}/{inside}" if inside else shown_names.get(name, name)
        for name, outcome in failed.items()
        for inside in outcome.failed or ("",)
    )
    first = next(iter(failed.values()))
    cause = first.cause or first.error
    shown = ", ".join(map(without_numbered_groups, steps[:_SHOWN_FAILURES])) + (
        ", ..." if len(steps) > _SHOWN_FAILURES else ""
    )
    return Outcome(state=State.FAILED, outputs=outputs, error=f"{shown} failed: {cause}", failed=steps, cause=cause)
