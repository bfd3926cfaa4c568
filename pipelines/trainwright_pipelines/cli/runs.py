"""`trainwright runs`: look at runs, go on with them, repeat them, cancel them."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import click

from trainwright_components.errors import InvalidSetting
from trainwright_components.home import find_home, home_folder, is_read_only, make_home
from trainwright_pipelines.cli.lazy import ExampleCommand, LazyGroup
from trainwright_pipelines.cli.options import json_option
from trainwright_pipelines.cli.output import print_json, print_table

if TYPE_CHECKING:
    from trainwright_pipelines.engine.records import Run
    from trainwright_pipelines.engine.store import Store

_HERE = "trainwright_pipelines.cli.runs"
RUNS_COMMANDS = {
    "list": (f"{_HERE}:list_runs", "List runs, newest first."),
    "show": (f"{_HERE}:show", "Show a run: steps, results, failures."),
    "logs": (f"{_HERE}:logs", "Print the logs of a run or of one step."),
    "open": (f"{_HERE}:open_page", "Open a run's page in the browser."),
    "rerun": (f"{_HERE}:rerun", "Run one step, or everything, again."),
    "resume": (f"{_HERE}:resume", "Go on with a run that was stopped or failed."),
    "cancel": (f"{_HERE}:cancel", "Stop a run; what is finished stays finished."),
    "compare": ("trainwright_pipelines.cli.compare:compare", "Show what differs between runs."),
    "export": ("trainwright_pipelines.cli.export:export", "Write a run into one archive that opens elsewhere."),
    "delete": ("trainwright_pipelines.cli.retention:delete", "Delete runs by name, or old ones, with their folders."),
}
STATES = ("pending", "running", "succeeded", "failed", "canceling", "canceled", "interrupted")
_RUN = click.argument("run", default="latest", metavar="[RUN]")


@click.group(
    cls=LazyGroup,
    table=RUNS_COMMANDS,
    examples="""\
trainwright runs list
trainwright runs show                        the newest run
trainwright runs show train_and_deploy       the newest run of that pipeline
trainwright runs logs RUN --step train-distributed --follow
trainwright runs rerun RUN --step evaluate --pdb
""",
)
def runs() -> None:
    """Look at runs; resume, repeat, cancel or delete them.

    RUN is an id, the beginning of one, a name, the name of a pipeline for its newest run, or latest.
    """


@click.command(
    "list",
    cls=ExampleCommand,
    examples="""\
trainwright runs list
trainwright runs list --pipeline train-and-deploy --state failed --limit 5
""",
)
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="Maximum number of runs to list.")
@click.option("--pipeline", help="Only runs of this pipeline.")
@click.option(
    "--state",
    type=click.Choice(STATES, case_sensitive=False),
    help="Only runs in this state; interrupted: the process that executed it is gone.",
)
@json_option
def list_runs(limit: int, pipeline: str | None, state: str | None, as_json: bool) -> None:
    """List runs, newest first."""
    from trainwright_pipelines.engine.runs import find_runs
    from trainwright_pipelines.views.wording import short_seconds, short_time

    with opened_store(only_reads=True) as store:
        found = list(islice(find_runs(store, pipeline=pipeline or "", state=state or ""), limit))
    if as_json:
        print_json([{**_short_document(each), "live_state": live} for each, live in found])
        return
    if not found:
        is_any = not (state or pipeline)
        click.echo("no runs yet. Start one: trainwright run train_and_deploy" if is_any else "no such run")
        return
    rows = [
        (
            each.id,
            "" if each.name == each.id else each.name,
            each.pipeline,
            live,
            short_time(each.created),
            short_seconds(each.duration_s),
            each.error,
        )
        for each, live in found
    ]
    header = ("RUN", "NAME", "PIPELINE", "STATE", "CREATED", "TIME", "")
    are_named = any(name for _, name, *_ in rows)
    shown = [row if are_named else (row[0], *row[2:]) for row in rows]
    print_table(shown, header=header if are_named else (header[0], *header[2:]), fold_last=False)


@click.command(
    cls=ExampleCommand,
    examples="""\
trainwright runs show
trainwright runs show RUN --json
""",
)
@_RUN
@json_option
def show(run: str, as_json: bool) -> None:
    """Show a run: its steps, why each ran or was taken from an earlier run, warnings, results and failures.

    pipelines/README.md lists the fields of --json, which `trainwright run --json` prints too.
    """
    from trainwright_pipelines.cli.outcome import print_outcome, try_page
    from trainwright_pipelines.engine.runs import live_state
    from trainwright_pipelines.views.run_document import run_document

    with opened_store(only_reads=True) as store:
        found = store.run(run)
        tasks = store.tasks(found.id)
        page = try_page(store, found.id)
        state = live_state(found, store=store)
    if as_json:
        print_json(run_document(found, tasks, page=page, live_state=state))
        return
    click.echo(f"{found.id}  {found.pipeline}  {state}")
    print_outcome(found, tasks, page, live_state=state, tells_reuse=True)


@click.command(
    cls=ExampleCommand,
    examples="""\
trainwright runs logs
trainwright runs logs RUN --step train-distributed
trainwright runs logs RUN --follow
""",
)
@_RUN
@click.option("--step", help="Only this step.")
@click.option("--follow", is_flag=True, help="Go on printing until the run ends.")
def logs(run: str, step: str | None, follow: bool) -> None:
    """Print the logs of a run's steps, or of one."""
    from trainwright_pipelines.cli.log_tail import follow_logs, print_log

    with opened_store(only_reads=True) as store:
        found = store.run(run)
        if follow:
            follow_logs(store, found.id, step)
            return
        tasks = (
            [store.task(found.id, step)] if step is not None else [each for each in store.tasks(found.id) if each.log]
        )
    for task in tasks:
        print_log(task, with_title=step is None)


@click.command(
    "open",
    cls=ExampleCommand,
    examples="""\
trainwright runs open
trainwright runs open RUN
""",
)
@_RUN
def open_page(run: str) -> None:
    """Open a run's page in the browser, and print where it is."""
    import webbrowser

    from trainwright_pipelines.cli.outcome import try_page
    from trainwright_pipelines.service.pages.run_page import write_run_page

    with opened_store(only_reads=True) as store:
        found = store.run(run)
        page = try_page(store, found.id)  # anew: it may have gone on since
        page = page or write_run_page(store, found.id, Path(tempfile.mkdtemp(prefix="trainwright-page-")))
    click.echo(page)
    if not webbrowser.open(page.as_uri()):
        click.echo("no browser found here: copy the file to a machine that has one; it is complete", err=True)


@click.command(
    cls=ExampleCommand,
    examples="""\
trainwright runs resume                      the newest run that can go on
trainwright runs resume RUN --json
""",
)
@click.argument("run", required=False)
@json_option
def resume(run: str | None, as_json: bool) -> None:
    """Go on with a run that was stopped, killed or failed; finished steps are not repeated.

    Its steps keep the code that they had when it was started: after an edit run the pipeline again.
    """
    from trainwright_pipelines.cli.local_run import execute_and_tell
    from trainwright_pipelines.engine.runs import newest_to_resume

    with opened_store() as store:
        found = store.run(run) if run else newest_to_resume(store)
        code = execute_and_tell(found, store=store, as_json=as_json, is_resumed=True)
    raise click.exceptions.Exit(code)


@click.command(
    cls=ExampleCommand,
    examples="""\
trainwright runs rerun RUN --step evaluate
trainwright runs rerun RUN --step train-distributed --pdb
trainwright runs rerun RUN                                  a new run with the same parameters
trainwright runs rerun RUN --from evaluate                  a new run with the results of the steps before
trainwright runs rerun RUN --from clean --pipeline my_pipelines.py:nightly
""",
)
@_RUN
@click.option("--step", help="Only this step, with the inputs that it had.")
@click.option("--pdb", is_flag=True, help="With --step: stop in the debugger where an exception is raised.")
@click.option(
    "--from",
    "first",
    metavar="STEP",
    help="A new run of this step and all after it, with the results of all others as they are in RUN.",
)
@click.option("--pipeline", help="With --from: the pipeline with its steps as edited since.")
@json_option
def rerun(run: str, step: str | None, pdb: bool, first: str | None, pipeline: str | None, as_json: bool) -> None:
    """Run one step again with its recorded inputs, or the pipeline with the same parameters: all of it, or from a step.

    STEP is a step's label or path, as `runs show` and --json have it; a group of steps or an iteration will do.
    """
    if pdb and step is None:
        raise InvalidSetting("--pdb needs --step: one step at a time can be debugged")
    if step is not None and first is not None:
        raise InvalidSetting("--step runs one step alone, --from runs it and all after it: give one of them")
    if pipeline is not None and first is None:
        raise InvalidSetting("--pipeline needs --from; to run an edited pipeline: trainwright run PIPELINE")
    from trainwright_pipelines.cli.repeat import repeat_run, repeat_run_from, repeat_step

    with opened_store() as store:
        found = store.run(run)
        if step is not None:
            code = repeat_step(found, step, store=store, use_debugger=pdb, as_json=as_json)
        elif first is not None:
            home = find_home()
            code = repeat_run_from(found, first, pipeline=pipeline, store=store, home=home, as_json=as_json)
        else:
            code = repeat_run(found, store=store, as_json=as_json)
    raise click.exceptions.Exit(code)


@click.command(cls=ExampleCommand, examples="trainwright runs cancel RUN")
@click.argument("run")
def cancel(run: str) -> None:
    """Stop a run; what is finished stays finished, and a served model stays served."""
    from trainwright_pipelines.engine.runs import cancel as cancel_run

    with opened_store() as store:
        before = store.run(run)
        if before.state.is_final:
            raise InvalidSetting(f"run {before.id} has ended already: {before.state}")
        store.request_cancel(before.id)  # a process that is about to begin with it sees this
        after = cancel_run(before.id, store=store)
    how = "canceled" if after.state.is_final else "asked to stop"
    advice = f"; resume it later: trainwright runs resume {after.id}" if after.is_repeatable else ""
    click.echo(f"run {after.id} {how}{advice}")


@contextmanager
def opened_store(*, only_reads: bool = False) -> "Iterator[Store]":
    """The record of runs, until the block ends; who `only_reads` it needs no home that can be written to."""
    from trainwright_pipelines.engine.store import Store

    home = home_folder()
    if not is_read_only(home) or not only_reads:
        make_home(home)
    with Store.to_read(home) if only_reads else Store(home) as store:
        yield store


def _short_document(run: "Run") -> dict[str, object]:
    names = ("id", "name", "pipeline", "state", "created", "started", "finished", "duration_s", "error")
    return {name: getattr(run, name) for name in names}
