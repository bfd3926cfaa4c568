"""What runs inside a task's own process. Imported by the warm process: nothing slow at the top."""

import importlib.util
import json
import logging
import os
import sys
import traceback
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import TracebackType
from typing import NoReturn

from trainwright_components.errors import TrainwrightError, UserCodeError
from trainwright_components.processes.quiet_devices import find_devices_quietly
from trainwright_pipelines.engine.contract import CUSTOM_PATH, PDB_VARIABLE, QUIET_VARIABLE, WARNING_MARK
from trainwright_pipelines.engine.masking import Mask

_OF_LIBRARIES = ("absl", "tensorflow")


def run_command(command: list[str]) -> NoReturn:
    """Become another program."""
    os.execvp(command[0], command)  # noqa: S606  the command of the user's own pipeline


def run_component(source: str, function: str, executor_input: str, report: str) -> int:
    """Call a lightweight Python component through KFP's own executor.

    Args:
        source: File with the component's function.
        function: Its name.
        executor_input: File with KFP's ExecutorInput.
        report: Where to say, in JSON, what went wrong: `error`, one line, its `kind`, `detail`, and `stale_input`.

    Returns:
        The exit code.
    """
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(_LogFormatter("%(asctime)s", datefmt="%H:%M:%S"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    mask = Mask.of_environment(os.environ)
    if os.environ.get(QUIET_VARIABLE):
        find_devices_quietly()
    try:
        _execute(Path(source), function, Path(executor_input))
    except TrainwrightError as error:
        _debug((error.__cause__ if isinstance(error, UserCodeError) else None) or error)
        return _report(Path(report), error, str(error), error.user_traceback, code=error.exit_code, mask=mask)
    except Exception as error:
        _debug(error)
        trace = "".join(traceback.format_exception(error.with_traceback(_below(error, source))))
        message = "".join(traceback.format_exception_only(error)).strip()
        return _report(Path(report), error, message, trace, code=1, mask=mask)
    return 0


class _LogFormatter(logging.Formatter):
    """The time and the message; warnings are marked, so that whoever follows the log can pick them out."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  the name that logging calls
        is_warning = record.levelno >= logging.WARNING and record.name.partition(".")[0] not in _OF_LIBRARIES
        return f"{record.asctime} {WARNING_MARK if is_warning else ''}{record.message}"


class _Source(SourceFileLoader):
    """Code that is read once: its compiled form is worth no file."""

    def set_data(self, *_: object, **__: object) -> None:
        """Leave out the file of compiled code."""


def _execute(source: Path, function: str, executor_input: Path) -> None:
    from kfp.dsl import executor  # 0.1 s in a process that has _KFP_RUNTIME set, 5 s elsewhere

    loader = _Source("trainwright_task", str(source))
    spec = importlib.util.spec_from_file_location("trainwright_task", source, loader=loader)
    if spec is None or spec.loader is None:
        raise ImportError(f"{source} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    given = json.loads(executor_input.read_text())
    step = executor.Executor(executor_input=given, function_to_execute=getattr(module, function))
    for name, found in step.input_artifacts.items():
        artifacts = found if isinstance(found, list) else [found]
        for artifact, told in zip(artifacts, given["inputs"]["artifacts"][name]["artifacts"], strict=False):
            artifact.custom_path = told.get(CUSTOM_PATH, "")  # kfp 2.17 reads it from outputs only
    step.execute()


def _debug(error: BaseException) -> None:
    if os.environ.get(PDB_VARIABLE):
        import pdb

        traceback.print_exception(error)
        pdb.post_mortem(error.__traceback__)


def _below(error: BaseException, source: str) -> TracebackType | None:
    """The traceback from the component's own frame on; all of it if it never got there."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename != source:
        trace = trace.tb_next
    return trace or error.__traceback__


def _report(report: Path, error: Exception, message: str, detail: str, *, code: int, mask: Mask) -> int:
    message, detail = mask.text(message), mask.text(detail)
    stale_input = error.stale_input if isinstance(error, TrainwrightError) else ""
    said = {"error": message, "kind": type(error).__name__, "detail": detail, "stale_input": stale_input}
    report.write_text(json.dumps(said))
    sys.stdout.flush()
    sys.stderr.write(f"{detail or message}\n")
    return code


def main() -> None:
    """A lightweight component in a process of its own: the arguments of `run_component` as flags."""
    values = dict(zip(sys.argv[1::2], sys.argv[2::2], strict=True))
    sys.exit(run_component(**{name.removeprefix("--"): value for name, value in values.items()}))


if __name__ == "__main__":
    main()
