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


def test_the_first_preferred_port_on_which_nobody_listens_is_held() -> None:
    free = HeldPorts.take(2)
    first, second = free.numbers
    free.close()
    with listen(("127.0.0.1", first)):
        held = HeldPorts.take_preferred([first, second], [0, second], [])
    assert held.numbers[0] == second
    assert not {first, second} & set(held.numbers[1:])
    assert len(set(held.numbers)) == 3
    held.close()


def test_a_server_comes_back_to_its_held_port() -> None:
    held = HeldPorts.take(1)
    for _ in range(3):
        with (
            listen(("127.0.0.1", held.numbers[0])) as server,
            socket.create_connection(server.getsockname(), timeout=5),
        ):
            pass
    held.close()


def test_two_who_prefer_the_same_port_get_different_ones() -> None:
    free = HeldPorts.take(1)
    preferred = free.numbers
    free.close()
    first = HeldPorts.take_preferred(preferred)
    second = HeldPorts.take_preferred(preferred)
    assert first.numbers == preferred
    assert second.numbers != preferred
    first.close()
    third = HeldPorts.take_preferred(preferred)
    assert third.numbers == preferred
    for held in (second, third):
        held.close()
