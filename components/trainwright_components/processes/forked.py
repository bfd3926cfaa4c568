"""A freshly forked child: cut loose from its parent, it calls one function, or becomes a program, and ends."""

import atexit
import contextlib
import ctypes
import gc
import importlib
import importlib.util
import os
import signal
import sys
import threading
import time
import traceback
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from trainwright_components.processes.die_with_parent import ask_kernel, watch_pipe
from trainwright_components.processes.own_python import adopt_own_python
from trainwright_components.processes.quiet_devices import find_devices_quietly

ASKED_TO_END = (signal.SIGTERM, signal.SIGINT)
"""Signals that are held back while a process is forked."""


_ENDED_LATER = (types.GeneratorType, types.CoroutineType, types.AsyncGeneratorType, ctypes.CDLL)
"""Objects that do something when they are taken apart, or may, beside those with a finalizer."""
_BUFFERING = {"_dbm", "_gdbm"}
"""Modules of the standard library whose objects write what they hold back when they are taken apart."""


@dataclass(frozen=True, kw_only=True)
class Forked:
    """What a child is to do: `target`, `arguments`, `env`, `cwd` and `log`.

    `pipe` is its end of the die-with-parent pipe, at whose end of file the process group is killed.
    """

    request: Mapping[str, Any]
    parent: int
    pipe: int


def run_child(child: Forked) -> None:
    """Do what was asked for, once nothing of the parent is left, and end the process.

    For a module that leaves something behind this returns, or raises what it raised, so that the interpreter ends as
    it does after any other program.
    """
    request = child.request
    calls_function = ":" in request["target"]
    try:
        os.setsid()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ASKED_TO_END)
        _redirect(Path(request["log"]))
        ask_kernel(signal.SIGKILL)
        if os.getppid() != child.parent:  # it ended before the kernel was asked
            os._exit(1)
        if calls_function:
            watch_pipe(child.pipe, lambda: os.killpg(0, signal.SIGKILL))  # the group too, which the kernel leaves alone
        else:
            os.close(child.pipe)  # a thread would be seen by the program: Python warns of a fork beside one
        os.chdir(request["cwd"])
        os.environ.clear()
        os.environ.update(request["env"])
        adopt_own_python()
        time.tzset()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    if calls_function:
        _end_with(request["target"], request["arguments"])
    known = set(sys.modules)
    try:
        _become(request["target"], request["arguments"])
        code: Any = 0
    except SystemExit as error:
        code = error.code or 0
    threading._shutdown()  # type: ignore[attr-defined]  # what the interpreter does first at its end: joins threads
    atexit._run_exitfuncs()
    if isinstance(code, int) and not _leaves_something(known):
        os._exit(code & 0xFF)
    sys.exit(code)


def _become(name: str, arguments: Sequence[str]) -> None:
    """Run a module as `python -P -m` does."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None or spec.loader is None:
        raise ImportError(f"there is no program {name}")
    program = importlib.util.module_from_spec(spec)
    program.__name__ = "__main__"
    sys.argv = [spec.origin, *arguments]
    sys.orig_argv = [sys.executable, "-P", "-m", name, *arguments]
    sys.modules["__main__"] = program
    sys.path_importer_cache.clear()  # packages may have been installed since the parent looked
    for module in [each for each in sys.modules if each.partition(".")[0] == "psutil"]:
        del sys.modules[module]  # the parent's only library of its own: the program may install another version
    code = spec.loader.get_code(name)  # type: ignore[attr-defined]  # all loaders of source files have it
    exec(code, vars(program))  # noqa: S102  what -m does


def _leaves_something(known: set[str]) -> bool:
    """Whether the end of the interpreter would do more than give back memory, which takes long: a page at a time.

    Libraries are not looked into, nor is the parent's, which its collector has frozen.
    """
    rooms = {name.partition(".")[0] for name in sys.modules.keys() - known}
    if not rooms <= (sys.stdlib_module_names | {"trainwright_task"}) - _BUFFERING:
        return True
    return any(isinstance(each, _ENDED_LATER) or hasattr(type(each), "__del__") for each in gc.get_objects())


def _end_with(target: str, arguments: Mapping[str, Any]) -> NoReturn:
    """Call a function, and end the process without what the interpreter does at its end, which takes long."""
    code = 1
    try:
        if "numpy" in sys.modules:
            sys.modules["numpy"].random.seed()  # else every child draws the same numbers
        if "tensorflow" in sys.modules:
            find_devices_quietly()
        code = _call(target, arguments)
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


def _call(target: str, arguments: Mapping[str, Any]) -> int:
    module, _, name = target.partition(":")
    try:
        result = getattr(importlib.import_module(module), name)(**dict(arguments))
    except SystemExit as error:
        if isinstance(error.code, int | None):
            return error.code or 0
        sys.stderr.write(f"{error.code}\n")
        return 1
    except BaseException:
        traceback.print_exc()
        return 1
    return result if isinstance(result, int) else 0
