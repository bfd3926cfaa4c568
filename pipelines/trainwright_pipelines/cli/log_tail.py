"""Print logs of steps, once or as they grow."""

import time
from pathlib import Path

import click

from trainwright_components.errors import RunFailed
from trainwright_pipelines.engine.records import Task
from trainwright_pipelines.engine.runs import is_abandoned
from trainwright_pipelines.engine.step_logs import plain_text
from trainwright_pipelines.engine.store import Store
from trainwright_pipelines.views.wording import shown_state

_POLL_S = 0.5


def print_log(task: Task, *, with_title: bool) -> None:
    """Print the whole log of a step's last try."""
    if with_title:
        click.secho(f"== {task.label}: {shown_state(task).lower()}", bold=True)
    if task.log is None or not task.log.is_file():
        click.echo("(no log)")
        return
    click.echo(plain_text(task.log.read_text(errors="replace")).rstrip())


def follow_logs(store: Store, run_id: str, step: str | None) -> None:
    """Print what is in the logs and what is added, until the run, or the one step, has ended.

    Raises:
        RunFailed: The run's process is gone.
    """
    places: dict[Path, int] = {}
    while True:
        run = store.run(run_id)
        tasks = [store.task(run_id, step)] if step else [each for each in store.tasks(run_id) if not each.is_group]
        for task in tasks:
            _print_growth(task, places, prefix="" if step else f"{task.label} | ")
        if run.state.is_final or (step and tasks[0].state.is_final):
            return
        if is_abandoned(run, store=store):
            advice = f"; resume it: trainwright runs resume {run.id}" if run.is_repeatable else ""
            raise RunFailed(f"the process of run {run.id} is gone{advice}")
        time.sleep(_POLL_S)


def _print_growth(task: Task, places: dict[Path, int], *, prefix: str) -> None:
    if task.log is None or not task.log.is_file():
        return
    with task.log.open("rb") as stream:
        stream.seek(places.get(task.log, 0))
        content = stream.read()
    whole, newline, rest = content.rpartition(b"\n")
    if task.state.is_final:
        whole, newline, rest = content, b"", b""
    places[task.log] = places.get(task.log, 0) + len(content) - len(rest)
    for line in plain_text((whole + newline).decode(errors="replace")).splitlines():
        click.echo(f"{prefix}{line}")
