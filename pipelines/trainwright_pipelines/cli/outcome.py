"""What a person or a script is told about a run: steps, headline results, and after a failure what to do."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import click
from sqlalchemy.exc import DBAPIError

from trainwright_components.errors import InvalidSetting
from trainwright_pipelines.cli.output import print_table
from trainwright_pipelines.engine.records import Run, State, Task, Values
from trainwright_pipelines.engine.runs import INTERRUPTED
from trainwright_pipelines.engine.store import Store
from trainwright_pipelines.engine.unwritable import why_unwritable
from trainwright_pipelines.service.pages.run_page import write_run_page
from trainwright_pipelines.views.headlines import Headlines, find_headlines, in_time_order
from trainwright_pipelines.views.logs import last_lines
from trainwright_pipelines.views.warnings import gather_warnings
from trainwright_pipelines.views.wording import (
    has_own_code,
    iterations_to_come,
    packages_note,
    plain_value,
    reuse_note,
    short_line,
    short_seconds,
    short_size,
    shown_state,
    step_option,
)

_LOG_LINES = 15
_ABSENT_MODULE = re.compile(r"^ModuleNotFoundError: No module named '([\w.]+)'")
_SHOWN_CHARS = 300
_SHOWN_ARTIFACTS = 5
_SHOWN_WARNINGS = 20


def try_page(store: Store, run_id: str) -> Path | None:
    """Write the run's page; None, and a message, where the disk does not take it: the rest is told anyway."""
    try:
        return write_run_page(store, run_id)
    except (OSError, DBAPIError) as error:
        reason = why_unwritable(error, store.home)
        if not reason:
            raise
        click.echo(f"the page of run {run_id} is not written: {reason}", err=True)
        return None


def print_outcome(
    run: Run,
    tasks: Sequence[Task],
    page: Path | None,
    *,
    live_state: str = "",
    tells_warnings: bool = True,
    tells_reuse: bool = False,
) -> None:
    """Print the table of steps, then warnings, results or the failure, then where to look further.

    `live_state` is the run's state where it may not have ended: INTERRUPTED when its process is gone. With
    `tells_reuse` the table says why each step was taken from an earlier run, or was not.
    """
    state = live_state or str(run.state)
    to_come = iterations_to_come(tasks)
    steps = [
        task
        for task in in_time_order(tasks)
        if not task.is_group or task.state == State.SKIPPED or task.path in to_come
    ]
    click.echo()
    rows = [_row(task, to_come, is_interrupted=state == INTERRUPTED) for task in steps]
    if tells_reuse and any(task.cache for task in steps):
        notes = [(*row, reuse_note(task)) for row, task in zip(rows, steps, strict=True)]
        print_table(notes, header=("STEP", "STATE", "TIME", "CACHE"))
    else:
        print_table(rows, header=("STEP", "STATE", "TIME"))
    click.echo()
    warned = gather_warnings(run, in_time_order(tasks)) if tells_warnings else []
    warnings = _first([each.text for each in warned], _SHOWN_WARNINGS, f"more: trainwright runs show {run.id} --json")
    told = _titled("warnings", warnings) + _titled("returned", _returned(run.outputs))
    if tells_reuse:
        told += _titled("packages", [f"{each.label}: {note}" for each in steps if (note := packages_note(each))])
    for title, text in [*told, *_headline_lines(find_headlines(tasks))]:
        click.echo(f"{title:<15}{text}")
    for task in failed_steps(tasks):
        print_failure(run, task, tasks)
    if page is not None:
        click.echo(f"{'page':<15}{page}")
    if state == State.SUCCEEDED:
        return
    click.echo()
    if state not in {State.FAILED, State.CANCELED, INTERRUPTED}:
        click.echo(f"follow: trainwright runs logs {run.id} --follow", err=True)
        return
    took = f" after {short_seconds(run.duration_s)}" if run.duration_s is not None else ""
    click.secho(f"run {run.id} {state.lower()}{took}", fg="red" if state == State.FAILED else "yellow", err=True)
    if state == State.FAILED and not failed_steps(tasks):
        click.echo(run.error, err=True)
    if not run.is_repeatable:
        click.echo("an older release made it: it cannot be resumed or rerun", err=True)
        return
    if any(_needs_other_settings(task) for task in failed_steps(tasks)):
        click.echo("correct the setting and run again", err=True)
        return
    click.echo(f"go on with it: trainwright runs resume {run.id}", err=True)
    if any(task.attempts and has_own_code(task) for task in failed_steps(tasks)):
        click.echo("after an edit: run the pipeline again; resume and rerun --step keep the code as it was", err=True)


def print_failure(run: Run, task: Task, tasks: Sequence[Task]) -> None:
    """Print why a step failed, the end of its log, where its files are and how to run it again."""
    click.secho(f"step {task.label} failed: ", fg="red", bold=True, nl=False, err=True)
    shown = task.error_detail.strip()
    click.echo(short_line(task.error) if shown.endswith(task.error) else task.error, err=True)
    if shown:
        click.echo(f"\n{shown}\n", err=True)
    said = f"{shown}\n{task.error}"
    lines = [line for line in last_lines(task.log, _LOG_LINES) if line.strip() not in said]
    if lines:
        click.echo("end of the log:", err=True)
        click.echo("".join(f"  {line}\n" for line in lines), err=True)
    for name, text in _relative_paths(run, task):
        advice = f"it is in the folder that you are in, but a step runs in one of its own: --set {name}=./{text}"
        click.echo(f"{text}: {advice}", err=True)
    if has_own_code(task) and (absent := _ABSENT_MODULE.search(task.error)):
        advice = "name the package that has it in packages_to_install of the component, or in its image"
        click.echo(f"{absent[1]}: {advice}", err=True)
    if task.folder is not None:  # it failed before it had one
        click.echo(f"{'folder':<15}{task.folder}", err=True)
    if run.is_repeatable and not _needs_other_settings(task):
        click.echo(f"{'run it again':<15}trainwright runs rerun {run.id} --step {step_option(task, tasks)}", err=True)
    click.echo(err=True)


def _relative_paths(run: Run, task: Task) -> list[tuple[str, str]]:
    """Parameters of the run that name a file here, which the step did not find."""
    texts = [(name, value) for name, value in run.parameters.items() if isinstance(value, str) and value]
    return [
        (name, text)
        for name, text in texts
        if f"No such file or directory: {text!r}" in task.error and not Path(text).is_absolute() and Path(text).exists()
    ]


def failed_steps(tasks: Sequence[Task]) -> list[Task]:
    """Steps that failed themselves, not the groups around them."""
    return [task for task in tasks if task.state == State.FAILED and not task.is_group]


def _needs_other_settings(task: Task) -> bool:
    return bool(task.attempts) and task.attempts[-1].error_kind == InvalidSetting.__name__


def _row(task: Task, to_come: Mapping[str, str], *, is_interrupted: bool) -> tuple[str, str, str]:
    state = INTERRUPTED if is_interrupted and task.state == State.RUNNING else shown_state(task)
    label = f"{task.label}: {to_come[task.path]}" if task.path in to_come else task.label
    return label, state, "" if task.is_cached else short_seconds(task.duration_s)


def _headline_lines(found: Headlines) -> list[tuple[str, str]]:
    lines = []
    if found.best_params:
        lines.append(
            ("best params", ", ".join(f"{name}={plain_value(value)}" for name, value in found.best_params.items()))
        )
    if found.metric_value is not None:
        note = f"  ({found.metric_note})" if found.metric_note else ""
        lines.append((f"test {found.metric_name}", f"{found.metric_value:.4f}{note}"))
    if found.is_blessed is False:
        lines += _titled("not served", found.reasons or ("the model is not blessed",))
        lines += _titled("what to do", found.advice)
    elif found.deploys is False:
        lines.append(("not served", "serving.enabled is false"))
    if found.tflite_size_bytes is not None:
        lines.append(("TFLite model", f"{short_size(found.tflite_size_bytes)}  ({found.tflite_note})"))
    if found.endpoint:
        version = f"  (version {found.version})" if found.version is not None else ""
        lines.append(("served at", f"{found.endpoint}{version}"))
    if found.curl:
        lines.append(("ask it", found.curl))
    if found.stop_command:
        lines.append(("stop serving", found.stop_command))
    if found.predictions:
        rows = f"  ({found.predicted_rows:,} rows)" if found.predicted_rows is not None else ""
        lines.append(("predictions", f"{found.predictions}{rows}"))
    return lines


def _returned(outputs: Values) -> list[str]:
    """What a pipeline returns, each value on one line."""
    values = [(name, " ".join(plain_value(value).split())) for name, value in outputs.parameters.items()]
    values = [(name, text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}…") for name, text in values]
    found = {name: [each.uri for each in artifacts] for name, artifacts in outputs.artifacts.items()}
    shown = [(name, text) for name, uris in found.items() for text in _first(uris, _SHOWN_ARTIFACTS, "more")]
    return [f"{name}: {text}" for name, text in [*values, *shown]]


def _first(texts: list[str], count: int, more: str) -> list[str]:
    """The first `count`, and how many more there are."""
    return texts if len(texts) <= count else [*texts[:count], f"{len(texts) - count} {more}"]


def _titled(title: str, texts: Sequence[str]) -> list[tuple[str, str]]:
    """One line per text; the title stands before the first."""
    return [(title if index == 0 else "", text) for index, text in enumerate(texts)]
