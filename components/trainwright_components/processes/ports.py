"""Ports that nobody else takes between the choice of an address and its use."""

import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

LOOPBACK = "127.0.0.1"


@dataclass(kw_only=True)
class HeldPorts:
    """Ports on loopback, held until `close`.

    Each is bound by a socket that never listens and allows reuse. The kernel gives such a port to nobody who asks for
    any free one, while a server that asks for this very port with SO_REUSEADDR gets it, as often as it starts. Python's
    `create_server`, gRPC and libevent (TensorFlow Serving's REST) all set it. A second holder would get it too, so each
    port goes with a name among Linux' abstract sockets, which one process of a network namespace can have at a time.
    """

    sockets: list[socket.socket] = field(default_factory=list)
    _claims: list[socket.socket] = field(default_factory=list)

    @classmethod
    def take(cls, count: int) -> Self:
        """Hold `count` free ports."""
        return cls.take_preferred(*[()] * count)

    @classmethod
    def take_preferred(cls, *choices: Sequence[int]) -> Self:
        """Hold one port for each of `choices`: the first of it that nobody holds or listens on, else any free port.

        Raises:
            OSError: The machine has no free port.
        """
        held = cls()
        try:
            for preferred in choices:
                wanted = [port for port in preferred if port and port not in held.numbers]
                held._hold_first([*wanted, 0])
        except BaseException:
            held.close()
            raise
        return held

    @property
    def numbers(self) -> list[int]:
        """The port numbers."""
        return [one.getsockname()[1] for one in self.sockets]

    @property
    def addresses(self) -> list[str]:
        """`host:port` of each."""
        return [f"{LOOPBACK}:{number}" for number in self.numbers]

    def close(self) -> None:
        """Give the ports back."""
        for one in [*self._claims, *self.sockets]:  # in this order: a port that is given out again has no claim left
            one.close()

    def _hold_first(self, ports: Sequence[int]) -> None:
        for port in ports[:-1]:
            try:
                return self._hold(port)
            except OSError:  # somebody has it, or it is not this user's to take
                continue
        return self._hold(ports[-1])

    def _hold(self, port: int) -> None:
        one = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.bind((LOOPBACK, port))
            self._claims += _claim(one.getsockname()[1])
        except BaseException:
            one.close()
            raise
        self.sockets.append(one)


def is_port_free(port: int, host: str = LOOPBACK) -> bool:
    """Whether a server could listen on `port` now."""
    try:
        socket.create_server((host, port)).close()
    except OSError:
        return False
    return True


def _claim(port: int) -> list[socket.socket]:
    if sys.platform != "linux":
        return []
    claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        claim.bind(f"\0trainwright-port-{port}")
    except BaseException:
        claim.close()
        raise
    return [claim]
