"""A new run that begins at a step: what comes before it, and beside it, is taken over from another run as it is."""

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from trainwright_components.errors import InvalidSetting
from trainwright_pipelines.engine import provenance
from trainwright_pipelines.engine.cache import is_unchanged
from trainwright_pipelines.engine.execution import now
from trainwright_pipelines.engine.isolation.choices import still_chosen
from trainwright_pipelines.engine.records import Run, RunSettings, State, Task
from trainwright_pipelines.engine.reuse import note_of
from trainwright_pipelines.engine.runs import check_repeatable, create_run, wants_cache
from trainwright_pipelines.engine.store import Store
from trainwright_pipelines.ir.parsing import parse_pipeline
from trainwright_pipelines.ir.spec import Component, Dag, Pipeline

_NO_SOURCE: Mapping[str, str] = {}


def repeat_from(
    run_id: str,
    step: str,
    *,
    store: Store,
    edited_spec: str = "",
    edited_source: Mapping[str, str] = _NO_SOURCE,
    command: Sequence[str] = (),
) -> Run:
    """Record a new run that begins at `step` of another one; nothing starts yet.

    It has the same parameters, and the same spec unless there is an `edited_spec`, compiled from `edited_source`. The
    step and all that comes after it will run, without looking for results of earlier runs; of the others those that
    succeeded are taken over as they are, whatever the edited spec changes of them.

    Raises:
        RunNotFound: There is no such run or step.
        InvalidSetting: A step before it has no results, or they are gone or changed, or the edited spec declares it
            otherwise; or an older release made the run.
    """
    run, task, tasks = store.run(run_id), store.task(run_id, step), store.tasks(run_id)
    check_repeatable(run)
    spec = store.spec_text(run.id)
    before, after = parse_pipeline(spec), parse_pipeline(edited_spec or spec)
    if _component_at(after, task.path) is None:
        raise InvalidSetting(f"the edited pipeline has no step {task.path!r}")
    around = Surroundings.of(before, task.path)
    old = {each.path: each for each in tasks}
    for path in around.earlier:
        if why := _why_not(old.get(path), path, run, before, after):
            raise InvalidSetting(f"a run cannot begin at {task.label}: {why}")
    for path in around.groups:
        if (one := _items_at(before, path)) != (other := _items_at(after, path)):
            raise InvalidSetting(f"the edited pipeline repeats {path} over {other}, not {one}: begin at {path}")
    kept = {each.path: each for each in _to_keep(tasks, around, before, after)}
    origin = {
        "run": run.id,
        "from": task.path,
        "with": "an edited pipeline" if edited_spec else "the same pipeline",
        "uses_cache": wants_cache(run),
    }

    def begin(new: Run) -> tuple[Run, list[Task]]:
        warnings = tuple(_edited(kept.values(), run, before, after) if edited_spec else _not_taken(run))
        in_time_order = sorted(kept.values(), key=lambda each: each.started or new.created)
        new = replace(new, provenance={**new.provenance, "repeats": origin}, warnings=warnings)
        return new, [_taken_over(each, new) for each in in_time_order]

    return create_run(
        edited_spec or spec,
        {name: value for name, value in run.parameters.items() if name in after.root.input_parameters},
        store=store,
        uses_cache=False,
        command=command,
        settings=RunSettings(
            artifacts={name: each for name, each in run.artifacts.items() if name in after.root.input_artifacts},
            requires_outputs=run.requires_outputs,
            isolation=still_chosen(after, run.isolation),
            images=run.images,
            source=edited_source if edited_spec else run.provenance.get("source") or {},
        ),
        begin=begin,
    )


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What lies around a step: paths of what comes before it, of what comes after it, and of the groups around it."""

    step: str
    earlier: tuple[str, ...]
    later: tuple[str, ...]
    groups: tuple[str, ...]

    @classmethod
    def of(cls, pipeline: Pipeline, path: str) -> "Surroundings":
        """The surroundings of the step at `path`."""
        earlier: list[str] = []
        later: list[str] = []
        for place, dag, name in _levels(pipeline, path):
            needed = {task: set(spec.depends_on) for task, spec in dag.tasks.items()}
            users = {task: {each for each in dag.tasks if task in needed[each]} for task in dag.tasks}
            earlier += [_join(place, each) for each in dag.tasks if each in _reached(name, needed)]
            later += [_join(place, each) for each in dag.tasks if each in _reached(name, users)]
        parts = path.split("/")
        groups = tuple("/".join(parts[:end]) for end in range(1, len(parts)))
        return cls(step=path, earlier=tuple(earlier), later=tuple(later), groups=groups)

    def runs(self, path: str) -> bool:
        """Whether what lies at `path` is to run, or a group of which something is."""
        return path in self.groups or any(
            path == each or path.startswith(f"{each}/") for each in (self.step, *self.later)
        )


def _levels(pipeline: Pipeline, path: str) -> Iterator[tuple[str, Dag, str]]:
    """The DAGs around a step from the outermost, each with where it lies, and the task in it that leads to the step."""
    component, place, is_loop = pipeline.root, "", False
    for part in path.split("/"):
        if is_loop:  # the number of an iteration
            is_loop = False
        elif component.dag is not None and part in component.dag.tasks:
            yield place, component.dag, part
            spec = component.dag.tasks[part]
            component, is_loop = pipeline.component_of(spec), spec.iterator is not None
        place = _join(place, part)


def _component_at(pipeline: Pipeline, path: str) -> Component | None:
    levels = list(_levels(pipeline, path))
    if not levels:
        return pipeline.root if pipeline.root.dag is None and path == pipeline.root.name else None
    place, dag, name = levels[-1]
    rest = path.removeprefix(_join(place, name)).strip("/")
    is_there = not rest or (rest.isdigit() and dag.tasks[name].iterator is not None)
    return pipeline.component_of(dag.tasks[name]) if is_there else None


def _items_at(pipeline: Pipeline, path: str) -> Any:
    """What a loop is repeated over: values, or where they come from; None for other groups."""
    _, dag, name = list(_levels(pipeline, path))[-1]
    iterator = dag.tasks[name].iterator
    if iterator is None or iterator.input is None:
        return iterator and iterator.raw
    return dag.tasks[name].parameters.get(iterator.input) or dag.tasks[name].artifacts.get(iterator.input)


def _reached(name: str, edges: Mapping[str, set[str]]) -> set[str]:
    found: set[str] = set()
    waiting = [name]
    while waiting:
        waiting += (new := edges[waiting.pop()] - found)
        found |= new
    return found


def _join(place: str, name: str) -> str:
    return f"{place}/{name}" if place else name


def _why_not(task: Task | None, path: str, run: Run, before: Pipeline, after: Pipeline) -> str:
    """Why what a step before has left cannot be taken over; empty when it can."""
    if task is None or task.state not in {State.SUCCEEDED, State.SKIPPED}:
        state = str(task.state).lower() if task is not None else "not reached"
        label = task.label if task is not None else path
        advice = f"Go on with that run: trainwright runs resume {run.id}"
        return f"step {label} before it is {state} in run {run.id}. {advice}"
    if lost := _lost(task):
        advice = f"Run it all again: trainwright runs rerun {run.id}"
        return f"the results of step {task.label} before it are {lost}. {advice}"
    if not _is_same_interface(path, before, after):
        return f"the edited pipeline has no step {path!r} with the same inputs and outputs, whose results it needs"
    return ""


def _lost(task: Task) -> str:
    for artifacts in task.outputs.artifacts.values():
        for each in artifacts:
            if not is_unchanged(each):
                return f"{'changed' if each.path is not None and each.path.exists() else 'gone'}: {each.uri}"
    return ""


def _is_same_interface(path: str, before: Pipeline, after: Pipeline) -> bool:
    one, other = _component_at(before, path), _component_at(after, path)
    return one is not None and other is not None and one.interface == other.interface


def _to_keep(tasks: Iterable[Task], around: Surroundings, before: Pipeline, after: Pipeline) -> Iterator[Task]:
    """What succeeded and does not run; of a group that is kept, all that is in it."""
    whole: set[str] = set()
    for task in tasks:
        if around.runs(task.path):
            continue
        is_inside = task.parent_path in whole
        has_succeeded = task.state == State.SUCCEEDED and not _lost(task)
        if is_inside or (has_succeeded and _is_same_interface(task.path, before, after)):
            whole |= {task.path} if task.is_group else set()
            yield task


def _edited(kept: Iterable[Task], run: Run, before: Pipeline, after: Pipeline) -> list[str]:
    """What is taken over although the edited pipeline has another program or other inputs for it."""
    changed = [task for task in kept if not task.is_group and _meaning(before, task) != _meaning(after, task)]
    advice = "begin at that step to change them"
    return [
        f"the edited pipeline changes {each.label}, whose results of run {run.id} stay: {advice}" for each in changed
    ]


def _not_taken(run: Run) -> list[str]:
    """What the new run does not take of a file that was edited since, where nobody named it."""
    edited = provenance.edited_source(run)
    return [f"{edited} has changed since run {run.id}, whose steps these are; --pipeline {edited} uses it"] * bool(
        edited
    )


def _meaning(pipeline: Pipeline, task: Task) -> Any:
    """What a step runs, and where its inputs come from."""
    component, levels = _component_at(pipeline, task.path), list(_levels(pipeline, task.path))
    if component is None or component.dag is not None or not levels:
        return None
    _, dag, name = levels[-1]
    spec, executor = dag.tasks[name], pipeline.executors[component.executor]
    return executor.container, executor.importer, spec.parameters, spec.artifacts


def _taken_over(task: Task, run: Run) -> Task:
    moment = now()
    return replace(
        task,
        id=uuid.uuid4().hex,
        run_id=run.id,
        is_cached=True,
        cached_from=task.cached_from or task.id,
        cache={**note_of(task), "is_taken_over": True},
        folder=run.folder / "steps" / Path(task.path) if task.folder is not None else None,
        log=None,
        attempts=(),
        created=moment,
        started=moment if task.started else None,
        finished=moment if task.finished else None,
    )
