"""Whether an earlier step's results stand for a new one's, and why not: what differs from the nearest one on record."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from trainwright_components.errors import TrainwrightError
from trainwright_components.images import is_logical
from trainwright_components.reuse import NOT_KEPT
from trainwright_pipelines.engine.cache import Fingerprint, NotCacheable, is_unchanged, take_fingerprint
from trainwright_pipelines.engine.contract import lacks_content
from trainwright_pipelines.engine.downloads import with_digests
from trainwright_pipelines.engine.execution import Execution
from trainwright_pipelines.engine.libraries import describe_change
from trainwright_pipelines.engine.platform_settings import PlatformSettings
from trainwright_pipelines.engine.records import Artifact, Run, State, Task, Values
from trainwright_pipelines.engine.store import Remembered, Store
from trainwright_pipelines.ir.spec import Component, TaskSpec

_NUMBER = re.compile(r"-\d+$")
_COMPONENT_CHARS = 64
_SHOWN_CHARS = 40
_SHOWN_DIFFERENCES = 4
_LIBRARY = "libraries."
_SAME_CODE = ("interface", "program")
_WORDS = {
    "program": "the code or command of the component changed",
    "env": "its environment variables differ",
    "code": "the installed components of trainwright changed",
    "interface": "the declared inputs or outputs of the component changed",
    "given": "a secret or config map has other values",
    "undeclared": "a value that its image or resources may depend on differs",
    "key": "the cache key that the pipeline chooses differs",
    "isolation": "what it runs in changed: a process or its image, with another Python or content",
    "packages": "packages that it takes from files of this machine have other content",
    "libraries": "the versions of the packages that it imports are not on record: an older release ran it",
}


@dataclass(frozen=True, kw_only=True)
class Lookup:
    """What came of looking for results of an earlier step. `note` is what `Task.cache` holds of it."""

    note: Mapping[str, Any]
    fingerprint: Fingerprint | None = None
    found: Task | None = None
    unreadable: TrainwrightError | None = None
    """Why an input could not be looked at: the next try would find the same."""


@dataclass(frozen=True, kw_only=True)
class _Nearest:
    entry: Remembered
    differs: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Reuse:
    """A step that is about to run, with all that its results depend on."""

    execution: Execution
    task: Task
    spec: TaskSpec
    component: Component
    container: Mapping[str, Any]
    inputs: Values
    settings: PlatformSettings
    image_id: str

    def look_up(self) -> Lookup:
        """Results of an earlier step that stand for this one's, or why there are none."""
        return look_up(
            self._fingerprint,
            self.task,
            run=self.execution.run,
            store=self.execution.store,
            is_stale=self.execution.is_stale(self.task.path),
        )

    def remember(self, fingerprint: Fingerprint, outputs: Values) -> str:
        """Let the step, which has succeeded, stand for those of the same fingerprint; or say why it does not."""
        for artifact in (each for artifacts in outputs.artifacts.values() for each in artifacts):
            if why := artifact.metadata.get(NOT_KEPT):
                return str(why)
        if not self._is_as_before(fingerprint):
            return "an input, a volume or a package of it changed while it ran"
        component = comparable_component(self.task)
        self.execution.store.remember(fingerprint.key, self.task.id, component=component, parts=fingerprint.parts)
        return ""

    def _is_as_before(self, fingerprint: Fingerprint) -> bool:
        """Whether what the step was given from outside of the runs, such as code, was not edited meanwhile."""
        own = self.execution.store.home / "runs"
        given = [each for artifacts in self.inputs.artifacts.values() for each in artifacts]
        outside = [each for each in given if each.path is not None and not each.path.is_relative_to(own)]
        try:
            return all(map(is_unchanged, outside)) and self._fingerprint() == fingerprint
        except NotCacheable:
            return False

    def _fingerprint(self) -> Fingerprint:
        is_ours = is_logical(str(self.container.get("image") or ""))
        try:
            inputs = with_digests(
                self.inputs,
                check=self.execution.isolations.check_open,
                tell=lambda message: self.execution.tell_of(self.task, message),
            )
        except TrainwrightError as error:
            raise NotCacheable(str(error)) from error
        return take_fingerprint(
            self.spec,
            self.component,
            self.container,
            inputs,
            code_digest=self.execution.components_code() if is_ours else "",  # all of it is read
            find_libraries=lambda: self.execution.libraries.of_step(self.container),
            image_id=self.image_id,
            volumes=self.settings.volumes,
            given=self.settings.given,
            lasting=self.execution.store.home / "volumes",
        )


def look_up(
    make_fingerprint: Callable[[], Fingerprint], task: Task, *, run: Run, store: Store, is_stale: bool = False
) -> Lookup:
    """Results that stand for those of `task`, if all their files are there and unchanged; else why there are none.

    `is_stale` says that a later step found its former results to hold no longer.
    """
    if not run.uses_cache:
        begins = run.provenance.get("repeats")
        why = f"the run begins at {begins['from']}" if begins else "caching is off for the run"
        return Lookup(note=_note("off", why))
    try:
        fingerprint = make_fingerprint()
    except NotCacheable as error:
        unreadable = error.__cause__ if isinstance(error.__cause__, TrainwrightError) else None
        return Lookup(note=_note("off", str(error)), unreadable=unreadable)
    if is_stale:
        why = "a later step found that its former results no longer hold"
        return Lookup(fingerprint=fingerprint, note=_note("miss", why))
    found = store.cached_task(fingerprint.key)
    if found is None:
        return Lookup(fingerprint=fingerprint, note=_missed(fingerprint, task, run=run, store=store))
    if why := _why_unusable(found, requires_outputs=run.requires_outputs):
        return Lookup(fingerprint=fingerprint, note=_note("miss", why, run=found.run_id, step=found.path))
    return Lookup(fingerprint=fingerprint, found=found, note=note_of(found))


def note_of(found: Task) -> dict[str, Any]:
    """What `Task.cache` of a step holds that has the results of `found`."""
    why = f"taken from step {found.label} of run {found.run_id}"
    return _note("hit", why, run=found.run_id, step=found.path)


def comparable_component(task: Task) -> str:
    """The component of a step without the number that the compiler gives its second use, and its place in loops."""
    places = [part for part in task.path.split("/") if part.isdigit()]
    return " ".join([_NUMBER.sub("", task.component), *places])[:_COMPONENT_CHARS]


def _note(result: str, why: str, *, run: str = "", step: str = "", differs: tuple[str, ...] = ()) -> dict[str, Any]:
    return {"result": result, "why": why, "run": run, "step": step, "differs": list(differs)}


def _why_unusable(found: Task, *, requires_outputs: bool) -> str:
    of = f"the results of step {found.label} of run {found.run_id}"
    if found.state != State.SUCCEEDED:
        return f"{of} are being made anew"
    for artifacts in found.outputs.artifacts.values():
        for artifact in artifacts:
            if requires_outputs and lacks_content(artifact):
                return f"{of} lack what it left unwritten, which this run requires: {artifact.name}"
            if not is_unchanged(artifact):
                is_there = artifact.path is not None and artifact.path.exists()
                return f"{of} {'were changed' if is_there else 'are gone'}: {artifact.uri}"
    return ""


def _missed(fingerprint: Fingerprint, task: Task, *, run: Run, store: Store) -> dict[str, Any]:
    nearest = _find_nearest(fingerprint, task, run=run, before=run.started or run.created, store=store)
    before = None if nearest is None else store.task_by_id(nearest.entry.task_id)
    if nearest is None or before is None:
        return _note("miss", "no earlier results of this step are on record")
    words = [
        describe_change(part.partition(".")[2], nearest.entry.parts.get(part), fingerprint.parts.get(part))
        if part.startswith(_LIBRARY)
        else _difference(part, before, task)
        for part in nearest.differs
    ]
    shown = words[:_SHOWN_DIFFERENCES]
    if len(words) > len(shown):
        shown.append(f"{len(words) - len(shown)} more differences")
    step = "" if before.path == task.path else f"step {before.label} of "
    why = f"{'; '.join(shown)}, compared with {step}run {before.run_id}"
    return _note("miss", why, run=before.run_id, step=before.path, differs=tuple(nearest.differs))


def _find_nearest(fingerprint: Fingerprint, task: Task, *, run: Run, before: datetime, store: Store) -> _Nearest | None:
    """The newest entry with the fewest other parts; of another pipeline only one of the same code or interface."""
    found = []
    for age, entry in enumerate(store.remembered(comparable_component(task), before=before)):
        differs = list(_differing(entry.parts, fingerprint.parts))
        if differs and (entry.pipeline == run.pipeline or not set(_SAME_CODE) <= set(differs)):
            found.append((len(differs), entry.path != task.path, age, _Nearest(entry=entry, differs=differs)))
    return min(found, key=lambda each: each[:3])[3] if found else None


def _differing(before: Mapping[str, str], now: Mapping[str, str]) -> Iterator[str]:
    names = dict.fromkeys([*now, *before])
    if ("key" in before) != ("key" in now):
        names = dict.fromkeys(["key"])
    knows = [any(name.startswith(_LIBRARY) for name in parts) for parts in (before, now)]
    if "key" not in names and knows == [False, True]:  # an older release recorded it
        names = dict.fromkeys(name for name in names if not name.startswith(_LIBRARY))
        yield _LIBRARY.rstrip(".")
    yield from (name for name in sorted(names, key=_rank) if before.get(name) != now.get(name))


def _rank(part: str) -> tuple[int, str]:
    """What people change themselves comes first."""
    kinds = ("parameters", "artifacts", "program", "env", "key", "code", "libraries")
    kind = part.partition(".")[0]
    return kinds.index(kind) if kind in kinds else len(kinds), part


def _difference(part: str, before: Task, now: Task) -> str:
    kind, _, name = part.partition(".")
    match kind:
        case "parameters":
            return _parameter_difference(name, before, now)
        case "artifacts":
            is_same = _contents(before, name) == _contents(now, name)
            return f"the artifact {name!r} has other {'metadata' if is_same else 'content'}"
        case "volumes":
            return f"the volume at {name} has other content"
        case "image":
            return f"the image differs ({before.image} -> {now.image})"
    return _WORDS.get(kind, f"its {kind} differs")


def _parameter_difference(name: str, before: Task, now: Task) -> str:
    if name not in before.inputs.parameters and name not in now.inputs.parameters:  # a TaskConfig
        return f"what is filled into the parameter {name!r} differs"
    if name not in before.inputs.parameters:
        return f"the parameter {name!r} is new"
    if name not in now.inputs.parameters:
        return f"the parameter {name!r} is not given any more"
    one, other = _short(before.inputs.parameters[name]), _short(now.inputs.parameters[name])
    if before.inputs.parameters[name] == now.inputs.parameters[name]:
        return f"what the parameter {name!r} names has other content: {other}"
    return f"the parameter {name!r} differs ({one} -> {other})"


def _short(value: Any) -> str:
    if isinstance(value, str) and Path(value).is_absolute():
        return value
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN_CHARS else f"{text[: _SHOWN_CHARS - 1]}…"


def _contents(task: Task, name: str) -> list[str | None]:
    artifacts: tuple[Artifact, ...] = task.inputs.artifacts.get(name, ())
    return [artifact.digest or artifact.uri for artifact in artifacts]
