"""The exit codes of our processes, and what one says: done, a person has to act, or worth another try."""

import signal

DONE = 0
FAILED = 1
INVALID = 2
PORT_TAKEN = 98  # EADDRINUSE, of a model server; its supervisor takes another port
PEER_LOST = 138  # above 127, which TFJob and Job policies read as worth a retry
TERMINATED = 143
START_FAILED = 255  # of a model server; TensorFlow Serving leaves with -1
_BY_SIGNAL = tuple(
    128 + number for number in (signal.SIGILL, signal.SIGABRT, signal.SIGBUS, signal.SIGKILL, signal.SIGSEGV)
)


def is_worth_retry(code: int) -> bool:
    """Whether starting the gang again may help: a signal killed the member, or its peers were gone."""
    return code < 0 or code > 127


def from_shell(code: int) -> int:
    """The exit code behind one that a shell or a container engine gave: 137 is minus 9, but codes of ours stay."""
    return 128 - code if code in _BY_SIGNAL else code


def describe_exit_code(code: int) -> str:
    """The exit code as a person reads it."""
    if code < 0:
        return f"killed by signal {-code}"
    return {DONE: "done", PEER_LOST: "lost a peer (138)", TERMINATED: "terminated (143)"}.get(code, f"exit code {code}")
