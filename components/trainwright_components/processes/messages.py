"""The messages between a warm process and its clients: one JSON object in a line, over a Unix socket."""

import json
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

CHUNK_BYTES = 1 << 16


def connect(address: Path, *, blocks: bool = True) -> socket.socket:
    """Connect to the warm process that listens at `address`."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.setblocking(blocks)
    try:
        connection.connect(str(address))
    except BaseException:
        connection.close()
        raise
    return connection


def encode_message(message: Mapping[str, Any]) -> bytes:
    """One message as its line."""
    return json.dumps(message).encode() + b"\n"


def read_message(connection: socket.socket, received: bytearray, deadline: float | None) -> dict[str, Any] | None:
    """One message, None at the end of the stream; what came after it, or before a timeout, stays in `received`."""
    while b"\n" not in received:
        connection.settimeout(None if deadline is None else max(deadline - time.monotonic(), 1e-4))
        try:
            chunk = connection.recv(CHUNK_BYTES)
        except ConnectionResetError:
            chunk = b""
        if not chunk:
            return None
        received += chunk
    line, _, rest = received.partition(b"\n")
    received[:] = rest
    message: dict[str, Any] = json.loads(line)
    return message
