"""`trainwright tensorboard`: the training curves of a run in TensorBoard, until Ctrl-C."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from trainwright_components.errors import InvalidSetting, RunFailed, RunNotFound
from trainwright_pipelines.cli.lazy import ExampleCommand
from trainwright_pipelines.cli.runs import opened_store

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trainwright_pipelines.engine.records import Task

_LOGS = "tensorboard_logs"
_LOOPBACK = "127.0.0.1"


@click.command(
    cls=ExampleCommand,
    examples="""\
trainwright tensorboard                      the newest run
trainwright tensorboard RUN OTHER_RUN --port 6006
""",
)
@click.argument("run", nargs=-1)
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="By default a free one.")
def tensorboard(run: tuple[str, ...], port: int) -> None:
    """Show the training curves of RUN, or of several runs side by side, in TensorBoard on this machine.

    Prints the address and serves until Ctrl-C; a run that still trains can be watched.
    """
    with opened_store(only_reads=True) as store:
        found = {each.id: each for each in map(store.run, run or ("latest",))}
        folders = {name: find_logs(store.tasks(name)) for name in found}
    for name, logs in folders.items():
        if not logs:
            raise RunNotFound(f"run {name} has no logs for TensorBoard: no step of it has trained a model so far")
    named = {
        "-".join(part for part in (name if len(folders) > 1 else "", step if len(logs) > 1 else "") if part): folder
        for name, logs in folders.items()
        for step, folder in logs.items()
    }
    _serve(named, port)


def find_logs(tasks: "Sequence[Task]") -> dict[str, Path]:
    """Folders of TensorBoard's logs by the step that wrote them; of a step that still trains, where it writes them."""
    from trainwright_pipelines.engine.contract import StepFolder

    found = {}
    for task in tasks:
        given = [artifact.path for artifact in task.outputs.artifacts.get(_LOGS, ())]
        planned = [StepFolder(task.folder).artifacts / _LOGS] if task.folder is not None else []
        existing = [path for path in given or planned if path is not None and path.is_dir()]
        if existing:
            found[task.label] = existing[0]
    return found


def _serve(folders: dict[str, Path], port: int) -> None:
    try:
        from tensorboard import program
    except ImportError as error:
        raise InvalidSetting(f"TensorBoard is not installed ({error}): pip install tensorboard") from error
    if any("," in str(folder) for folder in folders.values()):
        raise InvalidSetting("TensorBoard takes no path with a comma: set TRAINWRIGHT_HOME to another folder")
    logs = (
        ("--logdir", str(next(iter(folders.values()))))
        if len(folders) == 1
        else ("--logdir_spec", ",".join(f"{name}:{folder}" for name, folder in folders.items()))
    )
    board = program.TensorBoard()
    board.configure(argv=[sys.argv[0], *logs, "--host", _LOOPBACK, "--port", str(port)])
    try:
        address = board.launch()
    except program.TensorBoardServerException as error:
        raise RunFailed(f"TensorBoard does not start: {error.msg}") from error
    click.echo(f"TensorBoard is at {address} until Ctrl-C")
    sys.stdout.flush()
    _wait()


def _wait() -> None:
    import threading

    threading.Event().wait()
