"""A child of the warm process, in the hands of the process that asked for it."""

import contextlib
import signal
import socket
import time
from types import TracebackType
from typing import Self

from trainwright_components.processes.messages import encode_message, read_message


class WarmChild:
    """A forked child, as seen by the process that asked for it. It dies when this object is closed."""

    def __init__(self, connection: socket.socket, pid: int, received: bytearray) -> None:
        self.pid = pid
        self._connection = connection
        self._received = received
        self._exit_code: int | None = None
        self.peak_memory_bytes: int | None = None
        """The largest resident size of it or of a process below it, once it has ended."""
        self.cpu_s: float | None = None
        """What it, and the processes below it that it waited for, have computed by then."""
        self.lost_parent = False
        """Whether it ended because the warm process did, so that its own exit code is not known."""

    def fileno(self) -> int:
        """Readable when the child has ended; for selectors."""
        return self._connection.fileno()

    def poll(self) -> int | None:
        """The exit code, or None while the child runs."""
        try:
            return self.wait(0)
        except TimeoutError:
            return None

    def wait(self, timeout_s: float | None = None) -> int:
        """Wait for the end of the child.

        Returns:
            The exit code; minus the signal's number if a signal ended the child.

        Raises:
            TimeoutError: The child still runs after `timeout_s` seconds.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while self._exit_code is None:
            line = read_message(self._connection, self._received, deadline)
            self.lost_parent = line is None
            if line is not None:
                self.peak_memory_bytes, self.cpu_s = line["peak_memory_bytes"], line["cpu_s"]
            self._finish(-signal.SIGKILL if line is None else int(line["exit_code"]))
        return self._exit_code

    def terminate(self) -> None:
        """Send SIGTERM to the child and its process group."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL to the child and its process group."""
        self.send_signal(signal.SIGKILL)

    def send_signal(self, number: int) -> None:
        """Send a signal to the child and its process group; nothing if it has ended."""
        if self._exit_code is None:
            with contextlib.suppress(OSError):
                self._connection.sendall(encode_message({"signal": int(number)}))

    def close(self) -> None:
        """Kill the child if it still runs."""
        self._connection.close()
        if self._exit_code is None:
            self._exit_code = -signal.SIGKILL

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _finish(self, exit_code: int) -> None:
        self._exit_code = exit_code
        self._connection.close()
