"""What the engine remembers: runs, tasks, attempts, artifacts and events, as the store gives them back."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from trainwright_components.storage.addresses import is_remote

COMPONENTS_REVISION = 2
"""Raised by a release that renames what compiled steps import, or the parameters of shipped pipelines."""
_NUMBERED_GROUP = re.compile(r"(condition|condition-branches|exit-handler)-\d+")


class State(StrEnum):
    """KFP's names."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    SKIPPED = "SKIPPED"
    FAILED = "FAILED"
    CANCELING = "CANCELING"
    CANCELED = "CANCELED"

    @property
    def is_final(self) -> bool:
        """Whether nothing changes any more unless someone resumes the run."""
        return self in {State.SUCCEEDED, State.SKIPPED, State.FAILED, State.CANCELED}


class TaskKind(StrEnum):
    """What a task is made of."""

    PYTHON = "python"
    """A lightweight or containerized Python component."""
    CONTAINER = "container"
    """A command of any image."""
    IMPORTER = "importer"
    DAG = "dag"
    """A sub-pipeline, a condition or an exit handler's body: tasks inside it have it as parent."""
    LOOP = "loop"
    """A ParallelFor: its children are its iterations."""
    ITERATION = "iteration"


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """A versioned result. `path` is where it lies on this machine, None for what lies elsewhere."""

    id: str
    name: str
    type: str
    """Schema title: `system.Dataset`."""
    uri: str
    metadata: Mapping[str, Any] = field(default_factory=dict)
    digest: str | None = None
    """SHA-256 of the content, None for what lies elsewhere or has no file (metrics)."""
    producer_task_id: str | None = None
    created: datetime | None = None

    @property
    def path(self) -> Path | None:
        """Where the content lies on this machine; it may be missing (metrics have no file)."""
        return None if is_remote(self.uri) else Path(self.uri)


@dataclass(frozen=True, kw_only=True)
class Values:
    """Inputs or outputs of a task."""

    parameters: Mapping[str, Any] = field(default_factory=dict)
    artifacts: Mapping[str, tuple[Artifact, ...]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One try of a task that runs a process."""

    number: int
    """From 1."""
    retry: int = 0
    """How many times its policy had it tried again before: where the waiting goes on after a kill."""
    state: State
    started: datetime
    finished: datetime | None = None
    pid: int | None = None
    pid_created: float | None = None
    """Its `start_of`, so that a reused process id is not taken for it."""
    exit_code: int | None = None
    error: str = ""
    error_kind: str = ""
    """The class of the error, such as `InvalidSetting`; empty where nobody told."""
    stale: Mapping[str, int] = field(default_factory=dict)
    """Paths of steps before it whose results no longer held, with the number of attempts that each had had by then."""
    log: Path | None = None
    image: str = ""
    """Id of the image whose container it ran in; empty for a process."""
    packages: Mapping[str, str] = field(default_factory=dict)
    """Versions by name of what was installed for it, beside what this environment has."""
    installed_s: float | None = None
    """How long that took; None where nothing was installed, or an earlier step had it installed."""
    peak_memory_bytes: int | None = None
    """The largest resident size of its process or of one below it; pages that it shares with others count in full."""
    cpu_s: float | None = None
    """What its process and those below it, whose end it waited for, have computed."""
    warnings: tuple[str, ...] = ()
    """What it warned of itself, in its log or by its outputs: not what its step asks for in vain."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """A step of a run, a group of steps (`kind` DAG or LOOP), or an iteration."""

    id: str
    run_id: str
    name: str
    """Key in its DAG (`train-distributed`); an iteration's is its index."""
    path: str
    """Unique in the run: `for-loop-1/0/train`. What `--step` takes, beside a name that only one task has."""
    parent_path: str
    """Empty at the top."""
    kind: TaskKind
    component: str
    """`comp-train-distributed`"""
    display_name: str
    title: str = ""
    """Its label, with the groups around it as their author named them; older records have none."""
    state: State = State.PENDING
    is_cached: bool = False
    cached_from: str | None = None
    """Id of the task whose results these are."""
    depends_on: tuple[str, ...] = ()
    """Paths of siblings that come first."""
    image: str = ""
    inputs: Values = field(default_factory=Values)
    outputs: Values = field(default_factory=Values)
    error: str = ""
    """One short message: why it failed, or why it was skipped."""
    error_detail: str = ""
    """The user's traceback, or the end of the log."""
    item_count: int | None = None
    """How many iterations a loop has, those that are not open yet included; None until it begins, and for others."""
    folder: Path | None = None
    log: Path | None = None
    """Of the last attempt."""
    attempts: tuple[Attempt, ...] = ()
    created: datetime | None = None
    started: datetime | None = None
    finished: datetime | None = None
    warnings: tuple[str, ...] = ()
    """What it went on without, in the order in which it was told."""
    resources: Mapping[str, Any] = field(default_factory=dict)
    """What it asks for: `cpu` in cores, `memory_bytes`, `accelerator`, each with a request and a limit."""
    cache: Mapping[str, Any] = field(default_factory=dict)
    """Whether its results were taken from an earlier step: `result` (`hit`, `miss` or `off`), `why`, and the `run` and
    `step` that it was taken from or compared with, with what `differs` by name. Empty for what is never looked up."""

    @property
    def label(self) -> str:
        """What people call it: its path without groups that are only numbered, each part as its author named it.

        Commands take it where it belongs to one task only.
        """
        if self.title:
            return self.title
        *groups, name = self.path.split("/")
        is_named = self.kind != TaskKind.ITERATION and self.display_name
        return without_numbered_groups("/".join([*groups, self.display_name if is_named else name]))

    @property
    def is_only_numbered(self) -> bool:
        """Whether it is a group that its author gave no name, so that labels leave it out."""
        return self.display_name in {"", self.name} and _NUMBERED_GROUP.fullmatch(self.name) is not None

    @property
    def is_group(self) -> bool:
        """Whether it holds other tasks rather than running something itself."""
        return self.kind in {TaskKind.DAG, TaskKind.LOOP, TaskKind.ITERATION}

    @property
    def duration_s(self) -> float | None:
        """Seconds from start to end; None while unknown."""
        return _seconds_between(self.started, self.finished)


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """What this machine's engine can be told of a run beside its parameters; no other target has these."""

    artifacts: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Addresses of the artifacts that the pipeline itself takes, by input; several for a list of artifacts."""
    requires_outputs: bool = False
    """Whether a step that leaves a declared artifact unwritten has failed, also where KFP only warns."""
    isolation: Mapping[str, str] = field(default_factory=dict)
    """`process` or `container` by step, for all others under the empty name; else a step's kind decides."""
    images: Mapping[str, str] = field(default_factory=dict)
    """Real images of logical ones, for steps in containers."""
    source: Mapping[str, str] = field(default_factory=dict)
    """What the pipeline was compiled from: its `file`, the file's `digest`, and the `reference` that names it in a
    command. Empty for what ships, and for what has no file."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One execution of one compiled spec with one set of parameters."""

    id: str
    name: str
    pipeline: str
    """pipelineInfo.name"""
    state: State
    parameters: Mapping[str, Any]
    """With defaults filled in."""
    folder: Path
    outputs: Values = field(default_factory=Values)
    """What the pipeline itself returns."""
    created: datetime
    started: datetime | None = None
    finished: datetime | None = None
    scheduled: datetime | None = None
    error: str = ""
    uses_cache: bool = True
    cancel_requested: bool = False
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """What it was made of: git, packages, python, host, user, command, seed, digests."""
    artifacts: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Addresses of the artifacts that the pipeline itself takes, by input; several for a list of artifacts."""
    isolation: Mapping[str, str] = field(default_factory=dict)
    """`process` or `container` by path of a step, for all others under the empty path; else a step's kind decides."""
    requires_outputs: bool = False
    """Whether a step that leaves a declared artifact unwritten has failed, also where KFP only warns."""
    images: Mapping[str, str] = field(default_factory=dict)
    """Real images of logical ones, for steps in containers."""
    warnings: tuple[str, ...] = ()
    """What the run as a whole went on without."""
    components_revision: int = COMPONENTS_REVISION
    """The revision of the components that its steps were compiled for."""

    @property
    def is_repeatable(self) -> bool:
        """Whether its steps still fit the components that are installed, so that it can be resumed or rerun."""
        return self.components_revision == COMPONENTS_REVISION

    @property
    def duration_s(self) -> float | None:
        """Seconds from start to end; None while unknown."""
        return _seconds_between(self.started, self.finished)


@dataclass(frozen=True, kw_only=True)
class Event:
    """A change of state, as the listener gets it and the store keeps it."""

    run_id: str
    time: datetime
    state: State
    task: Task | None = None
    """None when the run itself changed. The store gives events back with `task_path` only."""
    task_path: str = ""
    message: str = ""
    is_warning: bool = False
    """Whether `message` tells what the task, or the run, goes on without; its state has not changed then."""


def _seconds_between(start: datetime | None, end: datetime | None) -> float | None:
    """None while one is unknown; 0 where the clock was set back meanwhile."""
    return max(0.0, (end - start).total_seconds()) if start and end else None


def without_numbered_groups(path: str) -> str:
    """A task's path without the conditions and exit handlers around it, which the compiler only numbers."""
    *groups, name = path.split("/")
    return "/".join([*(group for group in groups if not _NUMBERED_GROUP.fullmatch(group)), name])
