"""Ports that nobody else takes between the choice of an address and its use."""

import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

LOOPBACK = "127.0.0.1"


@dataclass(kw_only=True)
class HeldPorts:
    """Ports on loopback, held until `close`.

    Each is bound by a socket that never listens and allows reuse. The kernel gives such a port to nobody who asks for
    any free one, while a server that asks for this very port with SO_REUSEADDR gets it, as often as it starts. Python's
    `create_server`, gRPC and libevent (TensorFlow Serving's REST) all set it.
    """

    sockets: list[socket.socket] = field(default_factory=list)

    @classmethod
    def take(cls, count: int) -> Self:
        """Hold `count` free ports."""
        return cls.take_preferred(*[()] * count)

    @classmethod
    def take_preferred(cls, *choices: Sequence[int]) -> Self:
        """Hold one port for each of `choices`: the first of it on which nobody listens, else any free port.

        Raises:
            OSError: The machine has no free port.
        """
        held = cls()
        try:
            for preferred in choices:
                wanted = [port for port in preferred if port and port not in held.numbers]
                held.sockets.append(_bind_first([*wanted, 0]))
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
        for one in self.sockets:
            one.close()


def is_port_free(port: int, host: str = LOOPBACK) -> bool:
    """Whether a server could listen on `port` now."""
    try:
        socket.create_server((host, port)).close()
    except OSError:
        return False
    return True


def _bind_first(ports: Sequence[int]) -> socket.socket:
    for port in ports[:-1]:
        try:
            return _bind(port)
        except OSError:  # somebody listens there, or it is not ours to take
            continue
    return _bind(ports[-1])


def _bind(port: int) -> socket.socket:
    one = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.bind((LOOPBACK, port))
    except BaseException:
        one.close()
        raise
    return one
