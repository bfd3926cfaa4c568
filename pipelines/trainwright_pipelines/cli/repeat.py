"""Run one step of a run again, or a whole run with the same parameters."""

import sys

from trainwright_pipelines.cli.local_run import execute_and_tell
from trainwright_pipelines.engine.records import Run
from trainwright_pipelines.engine.runs import create_run
from trainwright_pipelines.engine.store import Store


def repeat_run(run: Run, *, store: Store, as_json: bool) -> int:
    """Execute a new run of the same spec with the same parameters; the exit code."""
    again = create_run(
        store.spec_text(run.id),
        run.parameters,
        store=store,
        uses_cache=run.uses_cache,
        command=["trainwright", *sys.argv[1:]],
    )
    return execute_and_tell(again, store=store, as_json=as_json)


def repeat_step(run: Run, step: str, *, store: Store, use_debugger: bool, as_json: bool) -> int:
    """Run one step with its recorded inputs, into a folder of its own; the exit code."""
    raise NotImplementedError
