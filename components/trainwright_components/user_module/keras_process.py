"""Run a function in a process where tf_keras rules, since TensorFlow decides on import which Keras it works with.

The child reads the call from a file and leaves its result or its error in another; it ends when this process does.
"""

import logging
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from trainwright_components.errors import TrainingFailed, TrainwrightError
from trainwright_components.files import write_whole
from trainwright_components.processes.die_with_parent import STDIN, watch_pipe
from trainwright_components.processes.exit_codes import DONE, FAILED, describe_exit_code
from trainwright_components.processes.warm_parent import SOCKET_VARIABLE
from trainwright_components.user_module.keras_kind import LEGACY_VARIABLE, uses_tf_keras

logger = logging.getLogger(__name__)

_Result = TypeVar("_Result")
_CALL, _RETURNED, _RAISED = "call", "returned", "raised"


def call_beside_its_keras(location: str | Path, function: Callable[..., _Result], *args: Any, **kwargs: Any) -> _Result:
    """Call `function`, which loads the module at `location`; one for tf_keras gets a process of its own.

    The function is found by its name in its module; its arguments, its result and its errors can be pickled.

    Raises:
        TrainingFailed: The process was killed.
        SystemExit: It ended with a code of its own, as after SIGTERM.
    """
    if os.environ.get(LEGACY_VARIABLE) == "1" or not uses_tf_keras(location):
        return function(*args, **kwargs)
    logger.info("%s is written for tf_keras: it runs in a process of its own", Path(location).name)
    return call_in_new_process(function, *args, _env={LEGACY_VARIABLE: "1"}, **kwargs)


def call_in_new_process(
    function: Callable[..., _Result], *args: Any, _env: Mapping[str, str] | None = None, **kwargs: Any
) -> _Result:
    """Call `function` in a process of its own, with `_env` over this one's; see `call_beside_its_keras`.

    Raises:
        TrainingFailed: The process was killed.
        SystemExit: It ended with a code of its own.
    """
    with tempfile.TemporaryDirectory(prefix="trainwright-call-") as folder:
        Path(folder, _CALL).write_bytes(pickle.dumps((function, args, kwargs)))
        code = _run(Path(folder), _env or {})
        if Path(folder, _RAISED).is_file():
            raise pickle.loads(Path(folder, _RAISED).read_bytes())  # noqa: S301  # our own child wrote it
        if code == DONE:
            result: _Result = pickle.loads(Path(folder, _RETURNED).read_bytes())  # noqa: S301  # as above
            return result
    if code > 0:
        raise SystemExit(code)
    raise TrainingFailed(f"a process of its own ended: {describe_exit_code(code)}; its log is above")


def _run(folder: Path, more: Mapping[str, str]) -> int:
    env = {name: value for name, value in os.environ.items() if name != SOCKET_VARIABLE} | dict(more)
    command = [sys.executable, "-P", "-m", __name__, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, env=env) as child, _passing_on_sigterm(child):
        try:
            return child.wait()
        except BaseException:
            child.kill()
            raise


@contextmanager
def _passing_on_sigterm(child: subprocess.Popen[bytes]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set handlers
        return
    before = signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before if before is not None else signal.SIG_DFL)


def _main(folder: Path) -> None:
    watch_pipe(STDIN, lambda: os._exit(FAILED))
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    code = DONE
    try:
        function, args, kwargs = pickle.loads((folder / _CALL).read_bytes())  # noqa: S301  # our own parent wrote it
        write_whole(folder / _RETURNED, pickle.dumps(function(*args, **kwargs)))
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else FAILED
    except TrainwrightError as error:
        write_whole(folder / _RAISED, pickle.dumps(error))
    except Exception as error:
        write_whole(folder / _RAISED, pickle.dumps(_portable(error)))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # TensorFlow may linger after a training run with several members


def _portable(error: Exception) -> Exception:
    """`error` with its traceback as a note, since frames cannot be pickled; in words where it cannot be either."""
    trace = "".join(traceback.format_exception(error))
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301  # made in this line
    except Exception as reason:
        logger.debug("%r cannot be pickled: %r", error, reason)
        error = RuntimeError(f"{type(error).__name__}: {error}")
    error.add_note(f"in a process of its own:\n{trace}")
    return error


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
