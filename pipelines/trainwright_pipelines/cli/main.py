"""The `trainwright` command: its commands, and what a person sees when one fails."""

import gc
import os
import sys
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import click

from trainwright_components.errors import TrainwrightError
from trainwright_pipelines.cli.lazy import LazyGroup

COMMANDS = {
    "new": ("trainwright_pipelines.cli.new:new", "Write a project to edit: model module, parameters, README."),
    "run": ("trainwright_pipelines.cli.run:run", "Run a pipeline here, on Kubeflow or on Vertex AI."),
    "submit": ("trainwright_pipelines.cli.run:submit", "Start a pipeline and return at once."),
    "train": (
        "trainwright_pipelines.cli.train:train",
        "Train a model module, alone, on a cluster, or as a member of one.",
    ),
    "compile": ("trainwright_pipelines.cli.pipelines:compile_pipeline", "Write what a target would be sent."),
    "pipelines": ("trainwright_pipelines.cli.pipelines:pipelines", "List the shipped pipelines, or describe one."),
    "components": ("trainwright_pipelines.cli.pipelines:components", "List the components, or describe one."),
    "runs": ("trainwright_pipelines.cli.runs:runs", "Look at runs; resume, repeat, cancel or delete them."),
    "serve": ("trainwright_pipelines.cli.serve:serve", "Start, stop and look at the model server of this machine."),
    "predict": ("trainwright_pipelines.cli.predict:predict", "Ask a served model."),
    "tensorboard": (
        "trainwright_pipelines.cli.tensorboard:tensorboard",
        "Show training curves in TensorBoard.",
    ),
    "gc": ("trainwright_pipelines.cli.retention:collect", "Remove what nobody needs any more; see how much it is."),
    "drill": ("trainwright_pipelines.cli.drill:drill", "Inject a fault into a training run, and measure the recovery."),
    "doctor": ("trainwright_pipelines.cli.doctor:doctor", "Check this installation and say what to mend."),
    "devices": ("trainwright_pipelines.cli.doctor:devices", "Show the processors that TensorFlow sees."),
}

FAILED, WRONG_USAGE, UNEXPECTED, INTERRUPTED = 1, 2, 70, 130
_COLLECTED_AT = 20_000  # at Python's 700 the collector looks through what is imported so often that it takes a tenth
EXIT_CODES = """\
0    it worked; for run also when the model was not good enough to be served
1    something that ran has failed: a step, a server, a target
2    the command, a setting or a file is wrong; nothing was started
3    serve status: the server does not run
70   a fault of trainwright itself
130  interrupted or canceled
138  train: another member of the cluster is missing; start it again
143  train: ended by SIGTERM, with a checkpoint
"""
EXAMPLES = """\
trainwright run train_and_deploy                     train on bundled data, serve the model
trainwright new my_project --source my.csv --label target
trainwright run train_and_deploy --params my_project/params.yaml
trainwright runs list
trainwright serve stop
"""


@click.group(
    cls=LazyGroup,
    table=COMMANDS,
    examples=EXAMPLES,
    exit_codes=EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(package_name="trainwright", message="trainwright %(version)s")
def cli() -> None:
    """TensorFlow at scale on Kubeflow Pipelines: train, tune, evaluate, export, quantize, serve."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and leave the process with its exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    gc.set_threshold(_COLLECTED_AT)
    _replace_closed_streams()
    code = run_command(arguments)
    if code == INTERRUPTED and threading.active_count() > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # Python waits for threads of pools, one of which may never end and keep the run's lease
    sys.exit(code)


def _replace_closed_streams() -> None:
    """Have what is printed go nowhere where whoever called has closed a stream, which Python then has as None."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode))  # noqa: SIM115  as long as the process lives


def run_command(arguments: list[str]) -> int:
    """Run one command; the exit code. A failure that a person can act on is told without a traceback."""
    # kfp 2.17 says it anew for each component without an image; appended, so that -W and PYTHONWARNINGS win
    warnings.filterwarnings("once", "The default base_image used by", FutureWarning, append=True)
    try:
        code = cli.main(args=arguments, prog_name="trainwright", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except click.UsageError as error:
        _say_error(error.format_message(), kind="usage", arguments=arguments)
        if error.ctx is not None:
            click.echo(f"Help: {error.ctx.command_path} --help", err=True)
        return WRONG_USAGE
    except click.ClickException as error:
        _say_error(error.format_message(), kind="usage", arguments=arguments)
        return WRONG_USAGE
    except TrainwrightError as error:
        _say_error(str(error), kind=type(error).__name__, arguments=arguments)
        if error.user_traceback:
            click.echo(error.user_traceback, err=True)
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo("stopped", err=True)
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python complains again while leaving
        return 0
    except Exception as error:  # the border: whatever is left becomes a message and a file
        return _say_rest(error, arguments=arguments)


def _say_rest(error: Exception, *, arguments: list[str]) -> int:
    from trainwright_components.home import home_folder
    from trainwright_pipelines.engine.unwritable import why_unwritable

    try:
        folder = home_folder()
    except (TrainwrightError, RuntimeError):  # the home itself cannot be used, or found
        folder = Path.cwd()
    reason = why_unwritable(error, folder)
    if reason:
        _say_error(reason, kind="Unwritable", arguments=arguments)
        return FAILED
    _say_unexpected(error, arguments=arguments)
    return UNEXPECTED


def _say_error(message: str, *, kind: str, arguments: list[str]) -> None:
    click.secho("error: ", fg="red", bold=True, nl=False, err=True)
    click.echo(message, err=True)
    if "--json" in arguments:
        import json

        click.echo(json.dumps({"error": {"kind": kind, "message": message}}))


def _say_unexpected(error: Exception, *, arguments: list[str]) -> None:
    import traceback

    from trainwright_components.files import legible

    text = legible(f"trainwright {' '.join(arguments)}\n\n{''.join(traceback.format_exception(error))}")
    file = _write_traceback(text)
    _say_error(f"{type(error).__name__}: {error}", kind="unexpected", arguments=arguments)
    if file is None:
        click.echo(text, err=True)
    else:
        click.echo(f"This should not happen; the full traceback is in {file}", err=True)


def _write_traceback(text: str) -> Path | None:
    """Keep `text` in the home, else where temporary files go; None when the disk takes neither."""
    import tempfile

    from trainwright_components.home import find_home

    name = f"trainwright-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.txt"
    places: tuple[Callable[[], Path], ...] = (lambda: find_home().root / "errors", lambda: Path(tempfile.gettempdir()))
    for find_folder in places:
        try:
            file = find_folder() / name
            file.parent.mkdir(exist_ok=True)
            file.write_text(text)
        except (OSError, TrainwrightError):
            continue
        return file
    return None


if __name__ == "__main__":
    main()
