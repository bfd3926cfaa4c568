"""Pipelines from Python: run, submit and compile them, and look at their runs."""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy.exc import DBAPIError

from trainwright_components.errors import InvalidSetting, RunFailed, RunNotFound
from trainwright_components.files import write_whole
from trainwright_components.hints import did_you_mean
from trainwright_components.home import Home, find_home, home_folder, is_read_only, make_home
from trainwright_components.settings import check_mapping
from trainwright_pipelines.cli.configuration import make_target
from trainwright_pipelines.cli.outcome import failed_steps, try_page
from trainwright_pipelines.cli.progress import PlainProgress
from trainwright_pipelines.engine import runs as engine
from trainwright_pipelines.engine.isolation.choices import parse_isolation
from trainwright_pipelines.engine.records import Event, Run, RunSettings, State, Task, Values
from trainwright_pipelines.engine.repeating import repeat_from
from trainwright_pipelines.engine.store import Store
from trainwright_pipelines.requests.compiling import load_pipeline
from trainwright_pipelines.requests.finding import KfpPipeline, find_pipeline
from trainwright_pipelines.requests.preparing import load_edited, prepare_run
from trainwright_pipelines.service.pages.run_page import PAGE_NAME, write_run_page
from trainwright_pipelines.targets import DEFAULT_TARGET
from trainwright_pipelines.targets.local.target import Local
from trainwright_pipelines.targets.protocol import Submission, Target
from trainwright_pipelines.views.warnings import gather_warnings
from trainwright_pipelines.views.wording import short_seconds

STATES = (*(str(each) for each in State if each is not State.SKIPPED), engine.INTERRUPTED)


@dataclass(frozen=True, kw_only=True)
class PipelineRun:
    """A run on this machine as it was when it was looked at.

    Args:
        run: Its record: id, name, pipeline, parameters, times, error and what it was made of.
        state: PENDING, RUNNING, SUCCEEDED, FAILED, CANCELING, CANCELED, or INTERRUPTED: its process is gone.
        tasks: Its steps, and the groups that hold them, in the order of the pipeline.
        page: The HTML file that shows it; written when the run ends, and when `get_run` is asked for it.
    """

    run: Run
    state: str
    tasks: tuple[Task, ...]
    page: Path

    def __repr__(self) -> str:
        """What a notebook shows for it: not the whole record, which names every package of the environment."""
        error = f", error={self.run.error!r}" if self.run.error else ""
        artifacts = {name: [each.uri for each in found] for name, found in self.outputs.artifacts.items()}
        outputs = {**self.outputs.parameters, **artifacts}
        return f"PipelineRun(id={self.id!r}, state={self.state!r}{error}, outputs={outputs!r}, page={str(self.page)!r})"

    @property
    def id(self) -> str:
        """What `get_run` and `resume` take."""
        return self.run.id

    @property
    def is_successful(self) -> bool:
        """Whether every step that had to run succeeded."""
        return self.run.state is State.SUCCEEDED

    @property
    def failed_steps(self) -> tuple[Task, ...]:
        """The steps that failed themselves, not the groups around them: each has `error`, `error_detail` and `log`."""
        return tuple(failed_steps(self.tasks))

    @property
    def warnings(self) -> tuple[str, ...]:
        """What it went on without, each with the steps that it concerns; a task has its own in `warnings`."""
        return tuple(each.text for each in gather_warnings(self.run, self.tasks))

    @property
    def outputs(self) -> Values:
        """What the pipeline returns: `parameters` by name, and tuples of `artifacts` by name."""
        return self.run.outputs

    def task(self, name: str) -> Task:
        """The step of this name.

        Raises:
            RunNotFound: There is no such step.
        """
        found = [task for task in self.tasks if name in (task.name, task.path, task.label)]
        if not found:
            raise RunNotFound(
                f"run {self.run.id} has no step {name!r}{did_you_mean(name, [t.name for t in self.tasks])}"
            )
        return found[0]


class PipelineRunFailed(RunFailed):
    """A run that ended without success, where `raise_on_error` asks for an exception.

    Args:
        run: The run as it ended, with its `failed_steps`.
    """

    def __init__(self, run: PipelineRun) -> None:
        super().__init__(_why_failed(run))
        self.run = run
        for task in run.failed_steps[:1]:
            if task.error_detail.strip():  # Python prints it below its own traceback
                self.add_note(task.error_detail.strip())

    def __reduce__(self) -> tuple[type["PipelineRunFailed"], tuple[PipelineRun]]:
        """A process of a pool hands it to the one that waits."""
        return type(self), (self.run,)


def _why_failed(ended: PipelineRun) -> str:
    home = ended.run.folder.parents[1]
    place = "" if home == home_folder() else f", home={str(home)!r}"
    go_on = f"trainwright.resume({ended.id!r}{place})"
    advice = f"See it: {ended.page}. Go on with it: {go_on}"
    if not ended.failed_steps:
        return f"run {ended.id} {ended.state.lower()}: {ended.run.error}. {advice}"
    first, *others = ended.failed_steps
    more = f" (and {len(others)} more failed)" if others else ""
    return f"step {first.label} of run {ended.id} failed: {first.error}{more}. {advice}"


def run(
    pipeline: str | Path | KfpPipeline,
    parameters: Mapping[str, Any] | None = None,
    *,
    artifacts: Mapping[str, Any] | None = None,
    name: str = "",
    use_cache: bool = True,
    require_outputs: bool = False,
    isolation: str | Mapping[str, str] = "",
    listener: Callable[[Event], None] | None = None,
    show_progress: bool = True,
    raise_on_error: bool = False,
    home: str | Path | None = None,
) -> PipelineRun:
    """Run `pipeline` on this machine and wait for its end.

    Args:
        pipeline: A shipped pipeline's name, `file.py:function`, a compiled YAML file, or a function under
            `@dsl.pipeline` itself, as in a notebook.
        parameters: Values by name; a dotted name goes into a mapping: `{"training.epochs": 5}`. Relative paths start
            at the current folder.
        artifacts: Paths or addresses of the artifacts that the pipeline itself takes, by input; a list for several.
        name: A name for the run; its id when empty.
        use_cache: Whether steps whose inputs did not change are taken from earlier runs.
        require_outputs: Whether a step that leaves a declared artifact unwritten has failed; as on Kubeflow, only our
            own components have otherwise, and the others are warned of.
        isolation: What steps run in: `process` or `container` for all, or a mapping of steps to one of these, with all
            others under the empty name. Else lightweight components run as processes of this machine, steps whose code
            is in their image in containers.
        listener: Called for every change of state, from another thread.
        show_progress: Whether to write to standard error what `trainwright run` does: a line for each change of a
            step's state, and one for each warning.
        raise_on_error: Whether a run that did not succeed raises `PipelineRunFailed`, as `kfp.local` does unless told
            otherwise; else it is in the `state` of what comes back.
        home: The folder of state; what TRAINWRIGHT_HOME says when absent.

    Returns:
        The run as it ended; a step that failed raises nothing, unless `raise_on_error` is set.

    Raises:
        PipelineRunFailed: It did not succeed, with `raise_on_error`.
        InvalidPipeline: The pipeline cannot be found or compiled.
        InvalidSetting: A parameter is unknown, missing or of another type, or a step cannot be run in what it should.
        RunFailed: The run cannot be recorded: the disk is full, or the database is away.
    """
    state = find_home(home)
    prepared = prepare_run(pipeline, given=parameters, home=state, artifacts=artifacts)
    here = _target(DEFAULT_TARGET, None, state)
    assert isinstance(here, Local)
    settings = RunSettings(
        artifacts=prepared.artifacts,
        requires_outputs=require_outputs,
        isolation=_isolation(isolation),
        source=prepared.source,
    )
    with Store(state.root) as store:
        created = engine.create_run(
            prepared.pipeline.to_yaml(),
            prepared.values,
            store=store,
            name=name,
            uses_cache=use_cache,
            settings=here.complete(settings),
        )
        return _execute(created.id, store, engine.execute, listener, show_progress, raise_on_error)


def resume(
    run_id: str = "",
    *,
    listener: Callable[[Event], None] | None = None,
    show_progress: bool = True,
    raise_on_error: bool = False,
    home: str | Path | None = None,
) -> PipelineRun:
    """Resume a run that failed, was canceled or whose process died, and wait for its end.

    Args:
        run_id: What `get_run` takes; the newest run that can be resumed when empty.
        listener: As in `run`.
        show_progress: As in `run`.
        raise_on_error: As in `run`.
        home: The folder of state; what TRAINWRIGHT_HOME says when absent.

    Returns:
        The run as it ended; steps that had succeeded were not repeated.

    Raises:
        PipelineRunFailed: It did not succeed, with `raise_on_error`.
        RunNotFound: There is no such run.
        InvalidSetting: It succeeded already, or an older release made it.
        RunFailed: Another process executes it, or it cannot be recorded.
    """
    with Store(find_home(home).root) as store:
        found = store.run(run_id) if run_id else engine.newest_to_resume(store)
        return _execute(found.id, store, engine.resume, listener, show_progress, raise_on_error)


def rerun(
    run_id: str = "latest",
    *,
    from_step: str = "",
    pipeline: str | Path | KfpPipeline | None = None,
    listener: Callable[[Event], None] | None = None,
    show_progress: bool = True,
    raise_on_error: bool = False,
    home: str | Path | None = None,
) -> PipelineRun:
    """Run the pipeline of a run again with the same parameters, all of it or from a step, and wait for its end.

    Args:
        run_id: What `get_run` takes.
        from_step: The step that the new run begins at, by its label or path: this one and all after it run, and the
            results of all others are those of the earlier run. All steps when empty.
        pipeline: With `from_step`: the pipeline with its steps as edited since, in any form that `run` takes. Else
            the steps are those of the earlier run.
        listener: As in `run`.
        show_progress: As in `run`.
        raise_on_error: As in `run`.
        home: The folder of state; what TRAINWRIGHT_HOME says when absent.

    Returns:
        The new run as it ended.

    Raises:
        PipelineRunFailed: It did not succeed, with `raise_on_error`.
        RunNotFound: There is no such run or step.
        InvalidSetting: A step before `from_step` has no results, or they are gone or changed, or the edited pipeline
            declares it otherwise; or an older release made the run.
        InvalidPipeline: The edited pipeline cannot be found or compiled.
        RunFailed: The run cannot be recorded.
    """
    if pipeline is not None and not from_step:
        raise InvalidSetting("pipeline needs from_step; to run an edited pipeline: trainwright.run(pipeline)")
    state = find_home(home)
    with Store(state.root) as store:
        found = store.run(run_id)
        if from_step:
            spec, source = ("", {}) if pipeline is None else load_edited(pipeline, state)
            created = repeat_from(found.id, from_step, store=store, edited_spec=spec, edited_source=source)
        else:
            created = engine.repeat(found.id, store=store)
        return _execute(created.id, store, engine.execute, listener, show_progress, raise_on_error)


def list_runs(
    *, limit: int = 20, pipeline: str = "", state: str = "", home: str | Path | None = None
) -> list[PipelineRun]:
    """Runs on this machine, newest first.

    Args:
        limit: Maximum number of runs.
        pipeline: Only runs of this pipeline; all when empty.
        state: Only runs in this state, such as FAILED or INTERRUPTED; all when empty.
        home: The folder of state; what TRAINWRIGHT_HOME says when absent.

    Raises:
        InvalidSetting: There is no such state, or `limit` is negative.
    """
    if state and str(state).upper() not in STATES:
        raise InvalidSetting(f"state must be one of {', '.join(STATES)}; got {state!r}")
    if not isinstance(limit, int) or limit < 0:
        raise InvalidSetting(f"limit must be a whole number, at least 0; got {limit}")
    with _opened(home) as store:
        found = engine.find_runs(store, pipeline=pipeline, state=state)
        return [_seen(each, store) for each, _ in islice(found, limit)]


def get_run(run_id: str = "latest", *, home: str | Path | None = None) -> PipelineRun:
    """A run on this machine as it is now; its page is written again, where the disk takes it.

    Args:
        run_id: An id, the beginning of one, a name, the name of a pipeline for its newest run, or `latest`.
        home: The folder of state; what TRAINWRIGHT_HOME says when absent.

    Raises:
        RunNotFound: There is no such run, or the beginning fits several.
    """
    with _opened(home) as store:
        found = store.run(run_id)
        try_page(store, found.id)
        return _seen(found, store)


def submit(
    pipeline: str | Path | KfpPipeline,
    parameters: Mapping[str, Any] | None = None,
    *,
    target: str = DEFAULT_TARGET,
    options: Mapping[str, str] | None = None,
    artifacts: Mapping[str, Any] | None = None,
    name: str = "",
    use_cache: bool = True,
    require_outputs: bool = False,
    isolation: str | Mapping[str, str] = "",
    home: str | Path | None = None,
) -> Submission:
    """Start `pipeline` and return at once; on this machine it runs in a process of its own.

    Args:
        pipeline: A shipped pipeline's name, `file.py:function`, a compiled YAML file, or a function under
            `@dsl.pipeline` itself, as in a notebook.
        parameters: Values by name; a dotted name goes into a mapping. Relative paths start at the current folder.
        target: `local`, `kubeflow` or `vertex`.
        options: Settings of the target, such as `host` or `pipeline_root`, over those of the configuration file.
        artifacts: Paths or addresses of the artifacts that the pipeline itself takes, by input; on this machine only.
        name: A name for the run; else one is made.
        use_cache: Whether steps whose inputs did not change are taken from earlier runs.
        require_outputs: As in `run`; on this machine only.
        isolation: As in `run`; on this machine only.
        home: The folder of state and configuration; what TRAINWRIGHT_HOME says when absent.

    Returns:
        The target, the run's id there, and the address of its page.

    Raises:
        InvalidPipeline: The pipeline cannot be found or compiled, or the target cannot run it.
        InvalidSetting: A parameter or an option is unknown, missing or of another type.
        TargetUnavailable: The target refuses, or cannot be reached.
    """
    state = find_home(home)
    there = _target(target, options, state)
    prepared = prepare_run(pipeline, given=parameters, home=state, runs_here=there.runs_here, artifacts=artifacts)
    settings = RunSettings(
        artifacts=prepared.artifacts,
        requires_outputs=require_outputs,
        isolation=_isolation(isolation),
        source=prepared.source,
    )
    return there.submit(prepared.pipeline, prepared.values, name=name, use_cache=use_cache, settings=settings)


def compile(
    pipeline: str | Path | KfpPipeline,
    output: str | Path,
    *,
    target: str = DEFAULT_TARGET,
    options: Mapping[str, str] | None = None,
    home: str | Path | None = None,
) -> list[Path]:
    """Compile `pipeline` and write what a target would be sent.

    Args:
        pipeline: A shipped pipeline's name, `file.py:function`, a compiled YAML file, or a function under
            `@dsl.pipeline` itself, as in a notebook.
        output: The folder that the files go to.
        target: `local`, `kubeflow` or `vertex`.
        options: Settings of the target, over those of the configuration file.
        home: The folder of state and configuration; what TRAINWRIGHT_HOME says when absent.

    Returns:
        The files, the pipeline itself first.

    Raises:
        InvalidPipeline: The pipeline cannot be found or compiled.
        InvalidSetting: An option is unknown, missing or of another type, or `output` cannot be written.
    """
    state = find_home(home)
    files = _target(target, options, state).lower(load_pipeline(find_pipeline(pipeline), state.compiled))
    written = {Path(output) / name: text for name, text in files.items()}
    for path, text in written.items():
        try:
            write_whole(path, text)
        except OSError as error:
            raise InvalidSetting(f"cannot write {path}: {error.strerror}") from error
    return list(written)


@contextmanager
def _opened(home: str | Path | None) -> Iterator[Store]:
    """The record of runs, for a look: also where nothing can be written to it."""
    root = home_folder(home)
    if not is_read_only(root):
        make_home(root)
    with Store.to_read(root) as store:
        yield store


def _target(name: str, options: Mapping[str, str] | None, home: Home) -> Target:
    check_mapping({} if options is None else options, where="options")
    return make_target(name, [f"{option}={value}" for option, value in (options or {}).items()], home)


def _isolation(given: str | Mapping[str, str]) -> dict[str, str]:
    return parse_isolation([given] if isinstance(given, str) else [f"{step}={word}" for step, word in given.items()])


def _execute(
    run_id: str,
    store: Store,
    execute: Callable[..., Run],
    listener: Callable[[Event], None] | None,
    show_progress: bool,
    raise_on_error: bool,
) -> PipelineRun:
    with _listening(run_id, listener, show_progress) as told:
        try:
            ended = execute(run_id, store=store, listener=told)
        except BaseException:
            with suppress(OSError, DBAPIError):  # what ended the run is what the caller should hear of
                write_run_page(store, run_id)
            raise
    write_run_page(store, run_id)
    seen = _seen(ended, store)
    if show_progress:
        took = f" after {short_seconds(ended.duration_s)}" if ended.duration_s is not None else ""
        _print(f"run {run_id} {seen.state.lower()}{took}: {seen.page}")
    if raise_on_error and not seen.is_successful:
        raise PipelineRunFailed(seen)
    return seen


@contextmanager
def _listening(
    run_id: str, listener: Callable[[Event], None] | None, show_progress: bool
) -> Iterator[Callable[[Event], None] | None]:
    """What the engine is to tell: `listener`, and where progress is shown, what prints it."""
    if not show_progress or sys.stderr is None:
        yield listener
        return
    _print(f"run {run_id}")
    # lines also in a terminal: a table there is drawn again in place, and would be torn by what a script prints
    with PlainProgress(sys.stderr) as progress:

        def tell(event: Event) -> None:
            with suppress(OSError, ValueError):  # a closed terminal must not keep the events from the listener
                progress(event)
            if listener is not None:
                listener(event)

        yield tell


def _print(line: str) -> None:
    if sys.stderr is not None:
        with suppress(OSError, ValueError):
            print(line, file=sys.stderr, flush=True)


def _seen(run: Run, store: Store) -> PipelineRun:
    return PipelineRun(
        run=run,
        state=engine.live_state(run, store=store),
        tasks=tuple(store.tasks(run.id)),
        page=run.folder / PAGE_NAME,
    )
