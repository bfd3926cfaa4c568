"""The warm process and its children: results, logs, and that nothing outlives whoever asked for it."""

import contextlib
import os
import resource
import select
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from trainwright_components.processes.warm_parent import (
    SOCKET_VARIABLE,
    NoMoreProcesses,
    WarmParent,
    WarmParentLost,
)

TARGETS = """
import os, signal, subprocess, sys, time

def say(text, code=0):
    print(text, os.environ.get("COLOUR"), os.getcwd())
    return code

def raise_error():
    raise ValueError("wrong number")

def has_variable(name):
    return int(name in os.environ)

def leave(code):
    raise SystemExit(code)

def kill_self(number):
    os.kill(os.getpid(), number)

def hang(pids):
    below = subprocess.Popen(["sleep", "600"])
    with open(pids, "w") as file:
        file.write(f"{os.getpid()} {below.pid}")
    signal.pause()

def leave_child_behind(pid_file):
    below = subprocess.Popen(["sleep", "600"])
    with open(pid_file, "w") as file:
        file.write(str(below.pid))

def nest(log):
    from pathlib import Path
    from trainwright_components.processes.warm_parent import WarmParent
    with WarmParent.connect_or_start(()) as parent:
        return parent.spawn("targets:say", {"text": "nested", "code": 5}, log=Path(log)).wait(30)

def at_exit(text):
    import atexit
    atexit.register(print, text)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("warm")
    (folder / "targets.py").write_text(TARGETS)
    return folder


@pytest.fixture(scope="module")
def parent(folder: Path) -> Iterator[WarmParent]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(folder))
        with WarmParent.start(("targets",)) as parent:
            yield parent


@pytest.fixture
def pids(tmp_path: Path) -> Path:
    """A FIFO that a hanging child writes its process ids to."""
    os.mkfifo(tmp_path / "pids")
    return tmp_path / "pids"


def read_pids(pids: Path) -> list[psutil.Process]:
    with os.fdopen(os.open(pids, os.O_RDONLY | os.O_NONBLOCK)) as file:
        assert select.select([file], [], [], 60)[0], "no child wrote its process ids"
        os.set_blocking(file.fileno(), True)
        return [psutil.Process(int(pid)) for pid in file.read().split()]


def assert_gone(processes: list[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(processes, timeout=20)
    assert not [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]


def test_a_child_runs_the_target_with_arguments_environment_folder_and_log(parent: WarmParent, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with parent.spawn(
        "targets:say", {"text": "hello", "code": 3}, env={"COLOUR": "red"}, cwd=tmp_path, log=log
    ) as child:
        assert child.wait(30) == 3
        assert child.pid != os.getpid()
    assert log.read_text().split("\n")[0] == f"hello red {tmp_path}"


@pytest.mark.parametrize(
    ("target", "arguments", "code", "text"),
    [
        ("targets:raise_error", {}, 1, "ValueError: wrong number"),
        ("targets:leave", {"code": 7}, 7, ""),
        ("targets:leave", {"code": "told why"}, 1, "told why"),
        ("targets:leave", {"code": None}, 0, ""),
        ("targets:kill_self", {"number": 9}, -9, ""),
        ("targets:kill_self", {"number": 15}, -15, ""),
        ("targets:nowhere", {}, 1, "AttributeError"),
        ("targets:at_exit", {"text": "at the end"}, 0, "at the end"),
    ],
)
def test_how_a_child_ended_is_told_truly(
    parent: WarmParent, tmp_path: Path, target: str, arguments: dict[str, object], code: int, text: str
) -> None:
    with parent.spawn(target, arguments, log=tmp_path / "log") as child:
        assert child.wait(30) == code
    assert text in (tmp_path / "log").read_text()


def test_a_child_may_have_an_environment_of_its_own(
    parent: WarmParent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLOUR", "red")
    cases = {("COLOUR", True): 1, ("COLOUR", False): 0, ("SHAPE", False): 1, (SOCKET_VARIABLE, False): 0}
    for (name, inherits_env), has_it in cases.items():
        asked = {"name": name}
        env = {"SHAPE": "round"}
        log = tmp_path / "log"
        child = parent.spawn("targets:has_variable", asked, env=env, inherits_env=inherits_env, log=log)
        assert child.wait(30) == has_it


def test_many_children_run_at_once_and_leave_no_zombies(parent: WarmParent, tmp_path: Path) -> None:
    children = [parent.spawn("targets:say", {"text": str(n), "code": n}, log=tmp_path / str(n)) for n in range(20)]
    assert [child.wait(30) for child in children] == list(range(20))
    assert parent._process is not None
    warm = psutil.Process(parent._process.pid)
    assert warm.children() == []


def test_closing_the_connection_kills_the_child_and_what_it_started(
    parent: WarmParent, tmp_path: Path, pids: Path
) -> None:
    with parent.spawn("targets:hang", {"pids": str(pids)}, log=tmp_path / "log") as child:
        processes = read_pids(pids)
        with pytest.raises(TimeoutError):
            child.wait(0.01)
        assert child.poll() is None
    assert_gone(processes)


def test_terminate_is_told_as_the_signal(parent: WarmParent, tmp_path: Path, pids: Path) -> None:
    with parent.spawn("targets:hang", {"pids": str(pids)}, log=tmp_path / "log") as child:
        processes = read_pids(pids)
        child.terminate()
        assert child.wait(30) == -signal.SIGTERM
    assert_gone(processes)


def test_a_child_that_is_asked_to_end_at_once_does(parent: WarmParent, tmp_path: Path) -> None:
    """Also before it has let go of the parent's handlers, which would take the signal for one to the parent."""
    for number in range(50):
        with parent.spawn(
            "targets:hang", {"pids": str(tmp_path / f"{number}.pids")}, log=tmp_path / f"{number}.log"
        ) as child:
            child.terminate()
            assert child.wait(10) == -signal.SIGTERM


def test_what_a_child_left_behind_in_its_group_ends_with_it(parent: WarmParent, tmp_path: Path) -> None:
    with parent.spawn("targets:leave_child_behind", {"pid_file": str(tmp_path / "pid")}, log=tmp_path / "log") as child:
        assert child.wait(30) == 0
    pid = int((tmp_path / "pid").read_text())
    if psutil.pid_exists(pid):
        assert_gone([psutil.Process(pid)])


def test_a_child_finds_the_parent_that_it_came_from(parent: WarmParent, tmp_path: Path) -> None:
    with parent.spawn("targets:nest", {"log": str(tmp_path / "nested")}, log=tmp_path / "log") as child:
        assert child.wait(30) == 5, (tmp_path / "log").read_text()
    assert (tmp_path / "nested").read_text().startswith("nested")


def test_a_stale_address_starts_a_new_parent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(SOCKET_VARIABLE, str(tmp_path / "gone"))
    with WarmParent.connect_or_start(()) as parent, parent.spawn("os:getpid", log=tmp_path / "log") as child:
        assert child.wait(30) == child.pid % 256


def test_a_preload_that_fails_is_told_with_its_reason(tmp_path: Path) -> None:
    with (
        WarmParent.start(("no_such_module_anywhere",)) as parent,
        pytest.raises(WarmParentLost, match="No module named 'no_such_module_anywhere'"),
    ):
        parent.spawn("os:getpid", log=tmp_path / "log")


def test_kill_9_of_the_requester_ends_the_parent_and_all_children(folder: Path, tmp_path: Path, pids: Path) -> None:
    script = """
        import sys
        from pathlib import Path
        from trainwright_components.processes.warm_parent import WarmParent
        parent = WarmParent.start(("targets",))
        child = parent.spawn("targets:hang", {"pids": sys.argv[1]}, log=Path(sys.argv[1] + ".log"))
        print(parent._process.pid, parent.address, flush=True)
        child.wait()
    """
    requester = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), str(pids)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(folder)},
    )
    with requester:
        assert requester.stdout is not None
        pid, address = requester.stdout.readline().split()
        processes = [psutil.Process(int(pid)), *read_pids(pids)]
        requester.kill()
    assert_gone(processes)
    assert not Path(address).parent.exists()


def test_kill_9_of_the_parent_ends_the_children(
    folder: Path, tmp_path: Path, pids: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(folder))
    with (
        WarmParent.start(("targets",)) as parent,
        parent.spawn("targets:hang", {"pids": str(pids)}, log=tmp_path / "log") as child,
    ):
        hanging, _ = processes = read_pids(pids)
        assert parent._process is not None
        parent._process.kill()
        assert child.wait(30) == -signal.SIGKILL
        assert child.lost_parent
        assert_gone([hanging])
        for process in processes[1:]:  # the kernel ends only the child; what it started ends if the child had time to
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


def test_children_live_on_where_there_is_no_room_for_another(
    tmp_path: Path, pids: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second fork fails, as at a limit of processes, which root has none of."""
    lines = ["import errno, itertools, os", "fork, forks = os.fork, itertools.count(1)", "def limited():"]
    lines += [
        "    if next(forks) == 2: raise OSError(errno.EAGAIN, 'no more')",
        "    return fork()",
        "os.fork = limited",
    ]
    (tmp_path / "limited.py").write_text("\n".join(lines))
    (tmp_path / "targets.py").write_text(TARGETS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with (
        WarmParent.start(("limited", "targets")) as parent,
        parent.spawn("targets:hang", {"pids": str(pids)}, log=tmp_path / "first") as first,
    ):
        pids.read_text()
        with pytest.raises(NoMoreProcesses, match="no process could be started: no more"):
            parent.spawn("targets:say", {"text": "x"}, log=tmp_path / "second")
        assert first.poll() is None
        with parent.spawn("targets:leave", {"code": 3}, log=tmp_path / "third") as third:
            assert third.wait(30) == 3


def test_children_live_on_where_no_more_files_can_be_open(
    tmp_path: Path, pids: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the warm process's own limit, and at that of whoever asks it for a child."""
    (tmp_path / "targets.py").write_text(TARGETS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def end(parent: WarmParent, log: str) -> int:
        with parent.spawn("targets:leave", {"code": 3}, log=tmp_path / log) as child:
            return child.wait(30)

    with (
        WarmParent.start(("targets",)) as parent,
        parent.spawn("targets:hang", {"pids": str(pids)}, log=tmp_path / "first") as first,
    ):
        pids.read_text()
        assert parent._process is not None
        for process in (parent._process.pid, os.getpid()):
            if process == os.getpid():
                os.close(room := os.dup(0))
            else:
                taken = {int(each.name) for each in Path(f"/proc/{process}/fd").iterdir()}
                room = min(set(range(len(taken) + 1)) - taken)
            before = resource.prlimit(process, resource.RLIMIT_NOFILE)
            resource.prlimit(process, resource.RLIMIT_NOFILE, (room, before[1]))
            try:
                for _ in range(3):
                    with pytest.raises(NoMoreProcesses, match="could be started: Too many open files"):
                        end(parent, "second")
            finally:
                resource.prlimit(process, resource.RLIMIT_NOFILE, before)
            assert first.poll() is None
            assert end(parent, "third") == 3
