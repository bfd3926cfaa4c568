"""A lightweight component in a forked process finds what it would find in a new one, whatever ran before it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from trainwright_pipelines.engine.contract import StepFolder, build_executor_input, write_executor_input
from trainwright_pipelines.engine.isolation.launch import Launch, plan_launch
from trainwright_pipelines.engine.isolation.light_parent import ENTRY, LIGHT_PRELOAD, start_light_parent
from trainwright_pipelines.engine.isolation.process import Processes, StepProcess
from trainwright_pipelines.engine.own_python import make_own_python
from trainwright_pipelines.engine.records import Values
from trainwright_pipelines.ir.placeholders import Placeholders
from trainwright_pipelines.ir.spec import Component, ParameterSlot

PROBE = '''
import sys
_MODULES = sorted(sys.modules)  # before anything here is imported

def helper(number):
    return number + 1

def probe() -> dict:
    """What a program can find out about its process."""
    import builtins, ctypes, faulthandler, gc, inspect, json, locale, logging, os, pickle, resource, signal, stat
    import tempfile, threading, time, warnings, __main__

    status = dict(line.split(":", 1) for line in open("/proc/self/status").read().splitlines())
    streams = {name: getattr(sys, name) for name in ("stdin", "stdout", "stderr")}
    death_signal = ctypes.c_int()
    ctypes.CDLL(None).prctl(2, ctypes.byref(death_signal))
    root = logging.root
    return {
        "modules": _MODULES,
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "umask": [os.umask(0o22), os.umask(0o22)][0],
        "limits": [resource.getrlimit(kind) for kind in range(16)],
        "nice": os.getpriority(os.PRIO_PROCESS, 0),
        "locale": locale.setlocale(locale.LC_ALL),
        "time zone": [time.tzname, time.timezone],
        "path": sys.path,
        "arguments": [sys.argv, sys.orig_argv, sys.executable],
        "flags": [repr(sys.flags), sys.warnoptions, sys._xoptions, sys.dont_write_bytecode],
        "warnings": repr(warnings.filters),
        "main": [sorted(vars(__main__).keys() - {"__annotations__"}), __main__.__name__, __main__.__spec__.name],
        "builtins": sorted(vars(builtins)),
        "threads": [[each.name, each.daemon] for each in threading.enumerate()] + [len(os.listdir("/proc/self/task"))],
        "descriptors": {fd: stat.S_IFMT(os.stat(fd).st_mode) for fd in range(1000) if _is_open(fd)},
        "handlers": {number: repr(signal.getsignal(number)) for number in signal.valid_signals()},
        "signals": {name: status[name].strip() for name in ("SigBlk", "SigIgn", "SigCgt", "ShdPnd", "SigPnd")},
        "privileges": {name: status[name].strip() for name in ("Seccomp", "NoNewPrivs", "CapEff", "Groups")},
        "wake-up": signal.set_wakeup_fd(-1),
        "timer": signal.getitimer(signal.ITIMER_REAL),
        "death signal": death_signal.value,
        "leads": [os.getsid(0) == os.getpid(), os.getpgid(0) == os.getpid()],
        "logging": [[type(each).__name__ for each in root.handlers], root.level, root.manager.disable],
        "collector": [gc.isenabled(), gc.get_threshold(), gc.get_debug()],
        "faults": faulthandler.is_enabled(),
        "streams": {
            name: [each.encoding, each.errors, each.line_buffering, each.write_through, type(each.buffer).__name__]
            for name, each in streams.items()
        },
        "recursion": sys.getrecursionlimit(),
        "hooks": [type(each).__name__ for each in (sys.gettrace(), sys.getprofile())],
        "at an exception": [sys.excepthook is sys.__excepthook__, sys.getswitchinterval()],
        "temporary": tempfile.gettempdir(),
        "patched": [json.dumps([1]), print.__module__, "harmless" in sys.modules],
        "source": inspect.getsource(helper),
        "pickled": pickle.loads(pickle.dumps(helper))(1),
    }

def _is_open(fd):
    import os
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True
'''

WORST = '''
def worst() -> dict:
    """All that a component can do to its process, and to what is around it."""
    import atexit, builtins, faulthandler, gc, json, locale, logging, os, random, resource, signal, socket, sys
    import tempfile, threading, time, types, warnings

    kept = [open("/dev/null"), socket.socket(), *os.pipe()]
    for each in (2, 3):
        os.set_inheritable(kept[each], True)
    os.environ.update(LEAKED="1", PATH="/nowhere", TZ="Asia/Tokyo")
    time.tzset()
    os.chdir("/")
    os.umask(0)
    os.nice(3)
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))
    locale.setlocale(locale.LC_ALL, "C")
    sys.path.insert(0, "/nowhere")
    sys.argv.append("more")
    sys.modules["harmless"] = types.ModuleType("harmless")
    json.dumps = lambda *_, **__: "patched"
    builtins.print = lambda *_, **__: None
    builtins.leaked = kept
    warnings.simplefilter("error")
    logging.disable(logging.CRITICAL)
    gc.disable()
    gc.set_threshold(1)
    faulthandler.enable()
    sys.setrecursionlimit(200)
    sys.excepthook = sys.unraisablehook = lambda *_: None
    sys.setswitchinterval(1)
    tempfile.tempdir = "/nowhere"
    random.seed(1)
    atexit.register(os.write, 1, b"the end\\n")
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2, signal.SIGTERM])
    signal.setitimer(signal.ITIMER_REAL, 1000)
    threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            time.sleep(3)
        os._exit(0)
    os.closerange(0, 3)
    return {}
'''

DRAWS = '''
def draws() -> dict:
    """Numbers that no two processes may share."""
    import random, secrets, tempfile, uuid

    import numpy

    return {
        "random": random.random(),
        "numpy": numpy.random.random(),
        "secrets": secrets.token_hex(8),
        "uuid1": str(uuid.uuid1()),
        "uuid4": str(uuid.uuid4()),
        "file": tempfile.mktemp(dir="/nowhere"),
        "hash": str(random.SystemRandom().random()),
    }
'''

POOLS = '''
def pools() -> dict:
    """Processes that are made in every way that Python knows."""
    import multiprocessing, os, subprocess, sys

    results = {}
    for method in multiprocessing.get_all_start_methods():
        with multiprocessing.get_context(method).Pool(1) as pool:
            results[method] = pool.map(abs, [-1, 2])
    told = subprocess.run([sys.executable, "-c", "print(6 * 7)"], capture_output=True, text=True, check=True)
    return results | {"subprocess": told.stdout, "shell": os.popen("echo yes").read()}
'''

ENDS = {
    "leaves at once": "os._exit(4)",
    "leaves with a code": "sys.exit(3)",
    "leaves well": "sys.exit()",
    "leaves with words": "sys.exit('told why')",
    "leaves with a large code": "sys.exit(2**40)",
    "leaves with an object": "sys.exit([1])",
    "raises": "raise ValueError('wrong number')",
    "is interrupted": "raise KeyboardInterrupt",
    "raises what nobody catches": "raise GeneratorExit",
    "kills itself": "os.kill(os.getpid(), signal.SIGKILL)",
    "aborts": "os.abort()",
    "is terminated": "os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)",
    "becomes another program": "os.execvp('sh', ['sh', '-c', 'echo other; exit 7'])",
    "leaves words half said": "print('half', end=''); os._exit(0)",
    "forks": "child = os.fork(); child or os._exit(5); print(os.waitpid(child, 0)[1])",
    "forks and both go on": "child = os.fork(); child and os.waitpid(child, 0); print('both')",
    "closes its output": "sys.stdout.close()",
    "has files left open": "globals()['kept'] = open('kept', 'w'); kept.write('all of it')",
    "has a generator left open": "globals()['kept'] = left(); next(kept)",
    "has words left in C": "import ctypes; globals()['c'] = ctypes.CDLL(None); c.printf(b'from C')",
    "has things to do at the end": "atexit.register(print, 'the end'); globals()['kept'] = Last()",
    "has a thread that goes on": "threading.Thread(target=lambda: (time.sleep(0.05), print('later'))).start()",
    "has a thread that never ends": "threading.Thread(target=time.sleep, args=(60,), daemon=True).start()",
    "has a thread that fails": "each = threading.Thread(target=lambda: 1 / 0); each.start(); each.join()",
    "warns": "import warnings; warnings.warn('careful', DeprecationWarning); logging.warning('careful too')",
    "recurses": "exec('def deep(n): return deep(n + 1) if n < 940 else n', globals()); print(deep(0))",
}

ENDING = """
import atexit, logging, os, signal, sys, threading, time

class Last:
    def __del__(self):
        os.write(1, b"last of all\\n")

def left():
    try:
        yield
    finally:
        os.write(1, b"closed\\n")

def ending() -> str:
    {statement}
    return "done"
"""


IMPORTING = """
import importlib, json, os, sys
before, read, get = set(sys.modules), set(), os._Environ.__getitem__
os._Environ.__getitem__ = lambda self, name: (read.add(name), get(self, name))[1]
for name in sys.argv[1:]:
    importlib.import_module(name)
print(json.dumps({"modules": sorted(set(sys.modules) - before), "read": sorted(read)}))
"""

COMPONENT = Component(
    name="c",
    input_parameters={},
    input_artifacts={},
    output_parameters={"Output": ParameterSlot(type="STRUCT")},
    output_artifacts={},
)


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a component ended, with what it gave and said."""

    code: int | None
    log: str
    output: str
    files: dict[str, str]


Run = Callable[..., Callable[[], Ended]]


@pytest.fixture(scope="module")
def processes() -> Iterator[Processes]:
    processes = Processes()
    with tempfile.TemporaryDirectory(dir="/tmp") as short:  # as on most machines
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(tempfile, "tempdir", short)
            processes.adopt(start_light_parent())
        yield processes
        processes.close()


@pytest.fixture
def plan(tmp_path: Path) -> Callable[..., Launch]:
    """What would be started for a component, in a step's folder of its own."""

    def plan(source: str, *, is_forked: bool, **env: str) -> Launch:
        name = next(
            name for name in re.findall(r"^def ([a-z]\w*)", source, re.MULTILINE) if name not in ("helper", "left")
        )
        folder = StepFolder(tmp_path / str(len(list(tmp_path.iterdir()))))
        folder.make()
        container = {
            "image": "python:3.11",
            "command": ["sh", "-ec", "python3 -m kfp.dsl.executor_main", f"from kfp import dsl\n{source}"],
            "args": ["--executor_input", "{{$}}", "--function_to_execute", name],
            "env": [{"name": name, "value": value} for name, value in env.items()],
        }
        executor_input = build_executor_input(COMPONENT, Values(), folder, folder.artifacts)
        write_executor_input(executor_input, folder)
        placeholders = Placeholders(executor_input, {})
        python = make_own_python(folder.scratch / "python", tmp_path / "shared")
        return plan_launch(container, placeholders, folder, extra_env={}, python=python, in_warm_process=is_forked)

    return plan


@pytest.fixture
def run(processes: Processes, plan: Callable[..., Launch]) -> Run:
    """Start a component, forked or not; what comes back waits for its end. Paths are told from the step's folder on."""

    def run(source: str, *, is_forked: bool, **env: str) -> Callable[[], Ended]:
        launch = plan(source, is_forked=is_forked, **env)
        folder = StepFolder(launch.cwd.parent)
        step = StepProcess(processes=processes, launch=launch, log=folder.log(1), timeout_s=60)
        step.start()

        def wait() -> Ended:
            code = step.wait().code
            said = re.sub(r"\d\d:\d\d:\d\d", "TIME", folder.log(1).read_text()).replace(str(folder.path), "FOLDER")
            said = re.sub(r'(?s)(?<=last\):\n).*?(?=  File "FOLDER)', "", said)  # frames below the component's own
            output = folder.executor_output.read_text() if folder.executor_output.exists() else ""
            output = re.sub(r'/[^"]*/trainwright-warm-\w+/[0-9a-f]{16}', "TEMPORARY", output)
            files = {each.name: each.read_text(errors="replace") for each in folder.work.iterdir()}
            return Ended(code=code, log=said, output=output.replace(str(folder.path), "FOLDER"), files=files)

        return wait

    return run


def found_by(ended: Ended) -> dict[str, Any]:
    assert ended.code == 0, ended.log
    found = json.loads(ended.output)["parameterValues"]["Output"]
    assert isinstance(found, dict)
    return found


@pytest.fixture(scope="module")
def imported() -> dict[str, list[str]]:
    """The modules that a forking process imports, and the variables that are read meanwhile."""
    command = [sys.executable, "-P", "-c", IMPORTING, "trainwright_components.processes.warm_server", *LIGHT_PRELOAD]
    env = {**os.environ, "_KFP_RUNTIME": "true"}
    told = subprocess.run(command, env=env, stdout=subprocess.PIPE, check=True).stdout
    found: dict[str, list[str]] = json.loads(told)
    return found


def test_nothing_of_a_component_or_of_the_process_that_forks_is_found_by_the_next(
    run: Run, imported: dict[str, list[str]]
) -> None:
    fresh = run(PROBE, is_forked=False)
    first = found_by(run(PROBE, is_forked=True)())
    assert run(WORST, is_forked=True)().output == "patched"
    second, new = found_by(run(PROBE, is_forked=True)()), found_by(fresh())
    modules = [set(found.pop("modules")) for found in (new, first, second)]
    assert first == new
    assert second == new
    assert modules[0] <= modules[1]
    assert modules[1] == modules[2]
    beside = modules[1] - modules[0]
    assert beside <= set(imported["modules"])
    rooms = {name.partition(".")[0] for name in beside}
    assert rooms - sys.stdlib_module_names <= {"trainwright_components", "trainwright_pipelines"}


def test_forks_leave_nothing_in_the_process_that_forks(run: Run, processes: Processes) -> None:
    run(PROBE, is_forked=True)()
    forking = process_of(processes)
    files, memory = forking.num_fds(), forking.memory_info().rss
    for wait in [run(ENDING.format(statement="pass"), is_forked=True) for _ in range(20)]:
        assert wait().code == 0
    assert forking.children() == []
    assert forking.num_fds() - files < 10  # those of the last one may be just being closed
    assert forking.memory_info().rss - memory < 1 << 20


def test_only_a_component_that_leaves_something_behind_is_taken_apart_at_its_end(run: Run) -> None:
    """That takes longer than all else in a small step."""
    looks = "from trainwright_components.processes import forked; print(forked._leaves_something(set(sys.modules)))"
    for statement, is_something in (("pass", False), ("kept = open('kept', 'w')", True), ("kept = Last()", True)):
        ended = run(ENDING.format(statement=f"{statement}; {looks}"), is_forked=True)()
        assert ended.log.startswith(f"{is_something}\n")


def test_a_component_imports_the_libraries_of_the_forking_process_anew(run: Run) -> None:
    ended = run(ENDING.format(statement="import psutil; print(psutil.Process().pid == os.getpid())"), is_forked=True)()
    assert (ended.code, ended.log) == (0, "True\n")


def test_a_process_that_was_started_before_the_run_forks_its_steps_and_ends_with_it(
    plan: Callable[..., Launch], tmp_path: Path
) -> None:
    early, processes = start_light_parent(), Processes()
    processes.adopt(early)
    launch = plan(ENDING.format(statement="print(os.getppid())"), is_forked=True)
    assert processes.start(launch, log=tmp_path / "log").wait(60) == 0
    forking = process_of(processes)
    assert (tmp_path / "log").read_text() == f"{forking.pid}\n"
    processes.close()
    assert not forking.is_running()


def test_the_imports_of_warm_steps_begin_with_the_first_step_of_any_kind(
    plan: Callable[..., Launch], tmp_path: Path
) -> None:
    processes = Processes(preload=("json",), needs_warm=True)
    launch = plan(ENDING.format(statement="pass"), is_forked=True)
    assert processes.start(launch, log=tmp_path / "log").wait(60) == 0
    assert set(processes._parents) == {False, True}
    processes.close()


@pytest.mark.slow
def test_a_thousand_forks_take_no_more_memory_than_a_few(run: Run, processes: Processes) -> None:
    source, sizes = ENDING.format(statement="pass"), []
    for _ in range(10):
        for wait in [run(source, is_forked=True) for _ in range(100)]:
            assert wait().code == 0
        sizes.append(process_of(processes).memory_info().rss)
    assert sizes[-1] - sizes[0] < 1 << 20
    assert process_of(processes).children() == []


def process_of(processes: Processes) -> psutil.Process:
    started = processes._parents[False]._process
    assert started is not None
    return psutil.Process(started.pid)


def test_what_a_forking_process_imports_reads_no_variable_that_a_component_could_set(
    imported: dict[str, list[str]],
) -> None:
    """Else it would be too late for the variable once the component runs."""
    assert set(imported["read"]) <= {"_KFP_RUNTIME", "PSUTIL_DEBUG"}
    rooms = {name.partition(".")[0] for name in imported["modules"]} - sys.stdlib_module_names
    assert rooms <= {"google", "kfp", "psutil", "trainwright_components", "trainwright_pipelines"}


@pytest.mark.parametrize(
    ("variable", "is_forked"),
    [
        ("GREETING", True),
        ("TZ", True),
        ("PYTHONSAFEPATH", True),
        ("PYTHONHASHSEED", False),
        ("PYTHONPATH", False),
        ("LD_LIBRARY_PATH", False),
        ("LC_ALL", False),
        ("LANG", False),
        ("HOME", False),
        ("OPENSSL_CONF", False),
    ],
)
def test_a_component_with_variables_that_are_read_before_its_first_line_gets_a_new_process(
    plan: Callable[..., Launch], variable: str, is_forked: bool
) -> None:
    launch = plan(ENDING.format(statement="pass"), is_forked=True, **{variable: "1"})
    assert (launch.target == ENTRY) == is_forked


def test_no_two_forks_draw_the_same_numbers(run: Run) -> None:
    waits = [run(DRAWS, is_forked=True) for _ in range(3)]
    drawn = [found_by(wait()) for wait in waits]
    for name in drawn[0]:
        assert len({each[name] for each in drawn}) == len(drawn), name


def test_processes_that_a_component_makes_work_as_in_a_new_process(run: Run) -> None:
    waits = [run(POOLS, is_forked=each) for each in (True, False)]
    found, fresh = (found_by(wait()) for wait in waits)
    assert found == fresh
    assert found["spawn"] == [1, 2]
    assert found["subprocess"] == "42\n"


def test_a_component_ends_as_in_a_new_process(run: Run) -> None:
    sources = {name: ENDING.format(statement=statement) for name, statement in ENDS.items()}
    waits = {name: (run(source, is_forked=True), run(source, is_forked=False)) for name, source in sources.items()}
    ended = {name: (forked(), fresh()) for name, (forked, fresh) in waits.items()}
    assert {name: forked for name, (forked, fresh) in ended.items() if forked != fresh} == {}
    codes = {name: forked.code for name, (forked, _) in ended.items()}
    assert codes["leaves at once"] == 4
    assert codes["is interrupted"] == -signal.SIGINT
    assert codes["becomes another program"] == 7
    assert ended["has a generator left open"][0].log == "closed\n"
    assert ended["has words left in C"][0].log == "from C"
    assert ended["has files left open"][0].files == {"kept": "all of it"}
    assert ended["has things to do at the end"][0].log == "the end\nlast of all\n"
