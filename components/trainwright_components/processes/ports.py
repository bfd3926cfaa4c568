"""Ports that nobody else takes between the choice of an address and its use."""

import socket
from dataclasses import dataclass, field
from typing import Self

LOOPBACK = "127.0.0.1"


@dataclass(kw_only=True)
class HeldPorts:
    """Free ports on loopback, held until `close`.

    Each is bound by a socket that never listens and allows reuse. The kernel gives such a port to nobody who asks for
    any free one, while a server that asks for this very port, as TensorFlow's does with SO_REUSEADDR, gets it.
    """

    sockets: list[socket.socket] = field(default_factory=list)

    @classmethod
    def take(cls, count: int) -> Self:
        """Hold `count` free ports."""
        held = cls()
        try:
            for _ in range(count):
                one = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
                held.sockets.append(one)
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                one.bind((LOOPBACK, 0))
        except BaseException:
            held.close()
            raise
        return held

    @property
    def addresses(self) -> list[str]:
        """`host:port` of each."""
        return [f"{LOOPBACK}:{one.getsockname()[1]}" for one in self.sockets]

    def close(self) -> None:
        """Give the ports back."""
        for one in self.sockets:
            one.close()
