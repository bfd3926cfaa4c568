"""Make chosen system calls of a process tree fail, or kill a process at one: those of Python, SQLite, TensorFlow alike.

The kernel asks before each call: seccomp's user notification, seccomp_unotify(2), without a compiler or any privilege.
Linux on x86-64 only; the numbers of the calls are those of asm/unistd_64.h.
"""

import ctypes
import errno
import fcntl
import os
import select
import signal
import socket
import struct
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

KINDS = ("open", "write", "rename", "mkdir", "sqlite")
KILLS = ("commit", "rename", "unlink")
ERRNOS = {name: getattr(errno, name) for name in ("ENOSPC", "EROFS", "EMFILE", "ENOENT")}

_PATHS = {  # call: kind, and where among its arguments the paths are, each with its folder's descriptor
    2: ("open", ((None, 0),)),  # open
    85: ("open", ((None, 0),)),  # creat
    257: ("open", ((0, 1),)),  # openat
    437: ("open", ((0, 1),)),  # openat2
    82: ("rename", ((None, 0), (None, 1))),  # rename
    264: ("rename", ((0, 1), (2, 3))),  # renameat
    316: ("rename", ((0, 1), (2, 3))),  # renameat2
    83: ("mkdir", ((None, 0),)),  # mkdir
    258: ("mkdir", ((0, 1),)),  # mkdirat
    87: ("unlink", ((None, 0),)),  # unlink
    263: ("unlink", ((0, 1),)),  # unlinkat, which rmdir is too
}
_DESCRIPTORS = {  # call: which argument is the file that is written to
    1: 0,  # write
    18: 0,  # pwrite64
    20: 0,  # writev
    296: 0,  # pwritev
    40: 0,  # sendfile
    326: 2,  # copy_file_range
    77: 0,  # ftruncate
    285: 0,  # fallocate
    74: 0,  # fsync
    75: 0,  # fdatasync
}
_AT_CURRENT_FOLDER = -100
_STORE = "store.db"
_PWRITE = 18
_FRAME_HEADER_BYTES = 24  # before each page of the write-ahead log, https://sqlite.org/fileformat2.html#walformat

_PR_SET_NO_NEW_PRIVS, _SECCOMP, _SET_MODE_FILTER, _NEW_LISTENER = 38, 317, 1, 8
_ONLY_KILLED_WHILE_ASKED = (
    32  # else a signal ends a call that waits for the answer, which opening a local file never does
)
_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _NOTIFY, _CONTINUE = 0x7FFF0000, 0x7FC00000, 1
_RECEIVE, _SEND, _NOTIFICATION_BYTES = 0xC0502100, 0xC0182101, 80


class _Statement(ctypes.Structure):
    _fields_ = (("code", ctypes.c_ushort), ("jt", ctypes.c_ubyte), ("jf", ctypes.c_ubyte), ("k", ctypes.c_uint))


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.POINTER(_Statement)))


def hand_over(connection: socket.socket) -> None:
    """Have the other end of `connection` decide on the calls of this process and its children, for good."""
    numbers = [*_PATHS, *_DESCRIPTORS]
    statements = [_Statement(_LOAD, 0, 0, 0)]
    statements += [_Statement(_JUMP_IF_EQUAL, len(numbers) - place, 0, each) for place, each in enumerate(numbers)]
    statements += [_Statement(_RETURN, 0, 0, _ALLOW), _Statement(_RETURN, 0, 0, _NOTIFY)]
    program = _Program(len(statements), (_Statement * len(statements))(*statements))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    listener = libc.syscall(_SECCOMP, _SET_MODE_FILTER, _NEW_LISTENER | _ONLY_KILLED_WHILE_ASKED, ctypes.byref(program))
    if listener < 0:
        raise OSError(ctypes.get_errno(), "the kernel takes no filter of calls")
    socket.send_fds(connection, [b"x"], [listener])
    os.close(listener)


@dataclass(frozen=True, kw_only=True)
class Moment:
    """The call that fails: the `number`-th of its kind from 1, and with `lasts` all after it that could write."""

    kind: str
    errno_name: str
    number: int
    lasts: bool = False


@dataclass
class Faults:
    """Decides on the calls of a process that did `hand_over`, in a thread of this one."""

    connection: socket.socket
    counts: Counter[str] = field(default_factory=Counter)
    struck_at: float | None = None
    """When the call failed, by the monotonic clock; None while it has not."""
    struck: str = ""
    """Which call failed, and of what file."""
    _folder: str = ""
    _moment: Moment | None = None

    def __post_init__(self) -> None:
        _, descriptors, _, _ = socket.recv_fds(self.connection, 1, 1)
        self._listener = descriptors[0]
        threading.Thread(target=self._decide_all, daemon=True, name="faults").start()

    def arm(self, folder: Path, moment: Moment | None) -> None:
        """Count calls on what lies below `folder` from now on, and let the one of `moment` fail."""
        self.counts, self.struck_at, self.struck = Counter(), None, ""
        self._moment, self._folder = moment, f"{folder}{os.sep}"

    def disarm(self) -> None:
        """Let everything through again."""
        self._moment, self._folder = None, ""

    def _decide_all(self) -> None:
        poll = select.poll()
        poll.register(self._listener, select.POLLIN)
        while all(not what & select.POLLHUP for _, what in poll.poll()):
            asked = bytearray(_NOTIFICATION_BYTES)
            try:
                fcntl.ioctl(self._listener, _RECEIVE, asked)
                identity, thread = struct.unpack_from("QI", asked)
                [call] = struct.unpack_from("i", asked, 16)
                code = self._decide(thread, call, struct.unpack_from("6Q", asked, 32)) if self._folder else 0
                answer = struct.pack("QqiI", identity, 0, -code, 0 if code else _CONTINUE)
                fcntl.ioctl(self._listener, _SEND, bytearray(answer))
            except FileNotFoundError:  # the process was killed while it waited
                continue
        os.close(self._listener)

    def _decide(self, thread: int, call: int, arguments: tuple[int, ...]) -> int:
        try:
            kind, path = _kind_and_path(thread, call, arguments, self._folder)
        except OSError:  # it is gone already
            return 0
        return self._judge(kind, path, thread, call, arguments) if path else 0

    def _judge(self, kind: str, path: str, _thread: int, call: int, arguments: tuple[int, ...]) -> int:
        """The error of a call on what lies below the folder, 0 to let it through."""
        moment = self._moment
        if Path(path).name.startswith(_STORE):
            kind = "sqlite"
        self.counts[kind] += 1
        if moment is None:
            return 0
        is_it = kind == moment.kind and self.counts[kind] == moment.number and self.struck_at is None
        goes_on = moment.lasts and self.struck_at is not None and _writes(call, arguments)
        if is_it:
            self.struck_at, self.struck = time.monotonic(), f"{kind} of {path.removeprefix(self._folder)}"
        return ERRNOS[moment.errno_name] if is_it or goes_on else 0


@dataclass(frozen=True, kw_only=True)
class KillMoment:
    """The `number`-th commit, rename or unlink of one process, from 1: when it is killed, before or right after it."""

    kind: str
    number: int
    is_after: bool = False


@dataclass
class Kills(Faults):
    """Kills a process of those that did `hand_over`, with SIGKILL, at one of its own calls."""

    _victim: int = 0
    _kill: KillMoment | None = None
    _ends_commit: int = 0
    """The thread whose next write to the write-ahead log completes a transaction."""
    _kills_next: int = 0
    """The thread whose next call is never made."""

    def aim(self, process: int, folder: Path, moment: KillMoment | None) -> None:
        """Count the calls of `process` on what lies below `folder`, and kill it at that of `moment`."""
        self.arm(folder, None)
        self._victim, self._kill, self._ends_commit, self._kills_next = process, moment, 0, 0

    def _judge(self, kind: str, path: str, thread: int, call: int, arguments: tuple[int, ...]) -> int:
        if self.struck_at is not None or not Path(f"/proc/{self._victim}/task/{thread}").exists():
            return 0
        if thread == self._kills_next:
            self._strike(f"the {kind} of {path.removeprefix(self._folder)} that follows")
            return 0
        if path.endswith(f"{_STORE}-wal"):
            is_commit, self._ends_commit = self._ends_commit == thread, 0
            if not is_commit and _begins_last_frame(thread, call, arguments):
                self._ends_commit = thread
            kind = "commit" if is_commit else ""
        if kind not in KILLS:
            return 0
        self.counts[kind] += 1
        if self._kill is not None and (kind, self.counts[kind]) == (self._kill.kind, self._kill.number):
            if self._kill.is_after:
                self._kills_next = thread
            else:
                self._strike(f"{kind} of {path.removeprefix(self._folder)}")
        return 0

    def _strike(self, what: str) -> None:
        self.struck_at, self.struck = time.monotonic(), what
        os.kill(self._victim, signal.SIGKILL)


def _begins_last_frame(thread: int, call: int, arguments: tuple[int, ...]) -> bool:
    """Whether a write to the log is the header of a transaction's last page: that one tells the database's size."""
    if call != _PWRITE or arguments[2] != _FRAME_HEADER_BYTES:
        return False
    with Path(f"/proc/{thread}/mem").open("rb", buffering=0) as memory:
        memory.seek(arguments[1])
        return bool(int.from_bytes(memory.read(8)[4:]))


def _kind_and_path(thread: int, call: int, arguments: tuple[int, ...], folder: str) -> tuple[str, str]:
    """The kind of a call, and its path below `folder`; an empty path where it is about something else."""
    if call in _DESCRIPTORS:
        path = str(Path(f"/proc/{thread}/fd/{arguments[_DESCRIPTORS[call]] & 0xFFFFFFFF}").readlink())
        return "write", path if path.startswith(folder) else ""
    kind, places = _PATHS[call]
    for folder_at, path_at in places:
        path = _read_text(thread, arguments[path_at])
        if not path.startswith("/"):
            given = _AT_CURRENT_FOLDER if folder_at is None else ctypes.c_int(arguments[folder_at]).value
            base = f"/proc/{thread}/cwd" if given == _AT_CURRENT_FOLDER else f"/proc/{thread}/fd/{given}"
            path = f"{Path(base).readlink()}/{path}"
        if path.startswith(folder):
            return kind, path
    return kind, ""


def _read_text(thread: int, address: int) -> str:
    page = os.sysconf("SC_PAGE_SIZE")
    found = b""
    with Path(f"/proc/{thread}/mem").open("rb", buffering=0) as memory:
        while b"\0" not in found:
            memory.seek(address + len(found))
            found += memory.read(page - (address + len(found)) % page)
    return os.fsdecode(found.split(b"\0", 1)[0])


def _writes(call: int, arguments: tuple[int, ...]) -> bool:
    """Whether a call needs room on the disk, as far as its number and flags tell."""
    if _PATHS.get(call, ("",))[0] == "unlink":
        return False
    if call in (2, 257):
        return bool(arguments[1 if call == 2 else 2] & os.O_CREAT)
    return True
