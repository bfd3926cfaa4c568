"""Run one step of a run again, or a whole run with the same parameters."""

import os
import sys

import click

from trainwright_components.home import Home
from trainwright_pipelines.cli.local_run import execute_and_tell
from trainwright_pipelines.cli.output import print_json
from trainwright_pipelines.engine.records import Run
from trainwright_pipelines.engine.repeating import repeat_from
from trainwright_pipelines.engine.replay import Replay, rerun_step
from trainwright_pipelines.engine.runs import repeat
from trainwright_pipelines.engine.store import Store
from trainwright_pipelines.requests.preparing import load_edited


def repeat_run(run: Run, *, store: Store, as_json: bool) -> int:
    """Execute a new run of the same spec with the same parameters; the exit code."""
    again = repeat(run.id, store=store, command=["trainwright", *sys.argv[1:]])
    return execute_and_tell(again, store=store, as_json=as_json)


def repeat_run_from(run: Run, step: str, *, pipeline: str | None, store: Store, home: Home, as_json: bool) -> int:
    """Execute a new run that begins at a step of `run`, of the spec of `pipeline` where one is named; the exit code."""
    spec, source = load_edited(pipeline, home) if pipeline else ("", {})
    command = ["trainwright", *sys.argv[1:]]
    again = repeat_from(run.id, step, store=store, edited_spec=spec, edited_source=source, command=command)
    kept = sum(not task.is_group for task in store.tasks(again.id))
    click.echo(f"begins at {step}; taken over from run {run.id}: {kept} {'step' if kept == 1 else 'steps'}", err=True)
    return execute_and_tell(again, store=store, as_json=as_json)


def repeat_step(run: Run, step: str, *, store: Store, use_debugger: bool, as_json: bool) -> int:
    """Run one step with its recorded inputs, into a folder of its own; the exit code. The record stays as it is."""
    replay = _replay(run, step, store=store, use_debugger=use_debugger, as_json=as_json)
    if as_json:
        print_json(
            {
                "run": run.id,
                "step": replay.step,
                "exit_code": replay.exit_code,
                "error": replay.error,
                "error_detail": replay.detail,
                "folder": replay.folder,
                "outputs": dict(replay.outputs.parameters),
            }
        )
        return 1 if replay.error else 0
    click.echo()
    if replay.error:
        click.secho(f"step {replay.step} failed: ", fg="red", bold=True, nl=False, err=True)
        click.echo(replay.error, err=True)
    else:
        click.echo(f"step {replay.step} succeeded")
        for name, value in replay.outputs.parameters.items():
            click.echo(f"{name:<15}{value}")
    click.echo(f"{'folder':<15}{replay.folder}")
    return 1 if replay.error else 0


def _replay(run: Run, step: str, *, store: Store, use_debugger: bool, as_json: bool) -> Replay:
    """Run the step; what it prints goes to standard error when standard output is for JSON."""
    if not as_json:
        return rerun_step(run.id, step, store=store, pdb=use_debugger)
    sys.stdout.flush()
    kept = os.dup(1)
    try:
        os.dup2(2, 1)
        return rerun_step(run.id, step, store=store, pdb=use_debugger)
    finally:
        os.dup2(kept, 1)
        os.close(kept)
