"""A freshly forked child: cut loose from its parent, it calls one function and ends."""

import atexit
import contextlib
import importlib
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

from trainwright_components.processes.die_with_parent import ask_kernel, watch_pipe
from trainwright_components.processes.quiet_devices import find_devices_quietly

ASKED_TO_END = (signal.SIGTERM, signal.SIGINT)
"""Signals that are held back while a process is forked."""


def run_child(
    request: Mapping[str, Any], *, child_end: int, parent_end: int, forget_parent: Callable[[], None]
) -> NoReturn:
    """Run what was asked for and end the process, once the parent's handlers and descriptors are gone.

    Args:
        request: `target`, `arguments`, `env`, `cwd` and `log` of the child.
        child_end: The child's end of the die-with-parent pipe; at its end of file the process group is killed.
        parent_end: The parent's end of it.
        forget_parent: Closes what the parent holds open.
    """
    code = 1
    try:
        os.setsid()
        os.close(parent_end)
        forget_parent()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ASKED_TO_END)
        _redirect(Path(request["log"]))
        ask_kernel(signal.SIGKILL)
        watch_pipe(child_end, lambda: os.killpg(0, signal.SIGKILL))  # the group too, which the kernel leaves alone
        os.chdir(request["cwd"])
        os.environ.clear()
        os.environ.update(request["env"])
        if "numpy" in sys.modules:
            sys.modules["numpy"].random.seed()  # else every child draws the same numbers
        if "tensorflow" in sys.modules:
            find_devices_quietly()
        code = _call(request["target"], request["arguments"])
        threading._shutdown()  # type: ignore[attr-defined]  # what the interpreter does first at its end: joins threads
        atexit._run_exitfuncs()
    except BaseException:
        traceback.print_exc()
        code = code or 1
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _redirect(log: Path) -> None:
    nothing = os.open(os.devnull, os.O_RDONLY)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(nothing, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(nothing)
    os.close(output)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # the interpreter's own text stream
    sys.stderr.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # the same


def _call(target: str, arguments: Mapping[str, Any]) -> int:
    module, _, name = target.partition(":")
    try:
        result = getattr(importlib.import_module(module), name)(**arguments)
    except SystemExit as error:
        if isinstance(error.code, str):
            sys.stderr.write(f"{error.code}\n")
            return 1
        return error.code or 0
    except BaseException:
        traceback.print_exc()
        return 1
    return result if isinstance(result, int) else 0
