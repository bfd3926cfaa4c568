"""Run on this machine and tell how it went."""

import sys

import click

from trainwright_components.home import Home
from trainwright_components.processes.warm_parent import WarmParent
from trainwright_pipelines.cli.outcome import print_outcome, try_page
from trainwright_pipelines.cli.output import print_json
from trainwright_pipelines.cli.progress import make_progress
from trainwright_pipelines.engine.records import Run, RunSettings, State
from trainwright_pipelines.engine.runs import create_run, execute, resume
from trainwright_pipelines.engine.store import Store
from trainwright_pipelines.requests.preparing import PreparedRun
from trainwright_pipelines.views.run_document import run_document

_EXIT_CODES = {State.SUCCEEDED: 0, State.CANCELED: 130}


def run_here(
    prepared: PreparedRun,
    *,
    home: Home,
    name: str,
    use_cache: bool,
    settings: RunSettings,
    as_json: bool,
    light_parent: WarmParent | None,
) -> int:
    """Record a run, execute it in this process and print its outcome; the exit code."""
    store = Store(home.root)
    try:
        run = create_run(
            prepared.pipeline.to_yaml(),
            prepared.values,
            store=store,
            name=name,
            uses_cache=use_cache,
            settings=settings,
            command=["trainwright", *sys.argv[1:]],
        )
        return execute_and_tell(run, store=store, as_json=as_json, light_parent=light_parent)
    finally:
        store.close()


def execute_and_tell(
    run: Run, *, store: Store, as_json: bool, is_resumed: bool = False, light_parent: WarmParent | None = None
) -> int:
    """Execute a recorded run to its end, or go on with it, write its page, print its outcome; the exit code."""
    click.echo(f"run {run.id}", err=True)
    try:
        with make_progress() as progress:
            if is_resumed:
                ended = resume(run.id, store=store, listener=progress)
            else:
                ended = execute(run.id, store=store, listener=progress, light_parent=light_parent)
    finally:
        page = try_page(store, run.id)  # also when the engine itself failed
    tasks = store.tasks(run.id)
    if as_json:
        print_json(run_document(ended, tasks, page=page, live_state=str(ended.state)))
    else:
        has_seen_warnings = sys.stdout.isatty() and sys.stderr.isatty()
        print_outcome(ended, tasks, page, tells_warnings=not has_seen_warnings)
    return _EXIT_CODES.get(ended.state, 1)
