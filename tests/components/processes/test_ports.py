"""A held port goes to whoever asks for this very one, and to nobody who asks for any."""

import socket

from trainwright_components.processes.ports import HeldPorts


def listen(address: tuple[str, int]) -> socket.socket:
    """A server as TensorFlow's is: with SO_REUSEADDR."""
    server = socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(address)
    server.listen()
    return server


def test_a_server_gets_a_held_port() -> None:
    held = HeldPorts.take(1)
    host, _, port = held.addresses[0].partition(":")
    with listen((host, int(port))), socket.create_connection((host, int(port)), timeout=5):
        pass
    held.close()


def test_nobody_else_is_given_a_held_port() -> None:
    held = HeldPorts.take(20)
    taken = {int(address.rpartition(":")[2]) for address in held.addresses}
    others = [listen(("127.0.0.1", 0)) for _ in range(500)]
    given = {server.getsockname()[1] for server in others}
    for server in others:
        server.close()
    held.close()
    assert len(taken) == 20
    assert not taken & given
