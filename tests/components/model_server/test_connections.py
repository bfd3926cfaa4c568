"""Clients that hold a connection up lose theirs, and nobody else does."""

import asyncio
import functools
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import uvicorn

from trainwright_components.model_server.rest.connections import ConnectionGuard, ConnectionLimits, GuardedProtocol

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
HUGE_ANSWER = b"x" * (32 << 20)
PATIENT = ConnectionLimits(head_s=600, body_s=600, unread_s=600)


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Answer after the whole body; `/huge` with more than sockets take."""
    while (await receive()).get("more_body"):
        pass
    content = HUGE_ANSWER if scope["path"] == "/huge" else b"ok"
    headers = [(b"content-length", str(len(content)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": content})


@pytest.fixture
def listen() -> Iterator[Callable[[ConnectionLimits], int]]:
    """Serve under given limits; the port."""
    running: list[tuple[uvicorn.Server, threading.Thread]] = []

    def start(limits: ConnectionLimits) -> int:
        protocol: Any = functools.partial(GuardedProtocol, ConnectionGuard(limits))
        config = uvicorn.Config(
            application, http=protocol, ws="none", lifespan="off", log_config=None, timeout_graceful_shutdown=1
        )
        server = uvicorn.Server(config)
        listening = socket.create_server(("127.0.0.1", 0))
        thread = threading.Thread(target=asyncio.run, args=(server.serve(sockets=[listening]),))
        thread.start()
        running.append((server, thread))
        return int(listening.getsockname()[1])

    yield start
    for server, thread in running:
        server.should_exit = True
        thread.join(30)


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), 60)


def ask(connection: socket.socket) -> bytes:
    connection.sendall(GET)
    answer = b""
    while not answer.endswith(b"ok"):
        answer += connection.recv(1000) or pytest.fail("the connection was closed")
    return answer


def read_to_end(connection: socket.socket) -> bytes:
    answer = b""
    try:
        while chunk := connection.recv(1 << 16):
            answer += chunk
    except ConnectionResetError:
        pass
    connection.close()
    return answer


@pytest.mark.parametrize("start", [b"GET /" + b"a" * 200_000, b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 40_000])
def test_an_endless_head_is_refused(listen: Callable[..., int], start: bytes) -> None:
    port = listen(replace(PATIENT, head_bytes=10_000))
    with connect(port) as honest:
        flooding = connect(port)
        flooding.sendall(start)
        assert read_to_end(flooding).startswith(b"HTTP/1.1 431 ")
        assert ask(honest).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("start", [b"", b"GET / HTTP/1.1\r\nHos"])
def test_a_head_that_does_not_come_is_not_waited_for(listen: Callable[..., int], start: bytes) -> None:
    port = listen(replace(PATIENT, head_s=0.1))
    slow = connect(port)
    slow.sendall(start)
    assert read_to_end(slow).startswith(b"HTTP/1.1 408 ")
    with connect(port) as honest:
        assert ask(honest).startswith(b"HTTP/1.1 200 ")


def test_a_body_that_trickles_is_not_waited_for(listen: Callable[..., int]) -> None:
    slow = connect(listen(replace(PATIENT, body_s=0.1, body_bytes_per_s=1 << 30)))
    slow.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc")
    assert read_to_end(slow).startswith(b"HTTP/1.1 408 ")


def test_a_body_without_end_is_refused(listen: Callable[..., int]) -> None:
    flooding = connect(listen(replace(PATIENT, sent_bytes=100_000)))
    flooding.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    answer = b""
    try:
        for _ in range(400_000):
            flooding.sendall(b"1;" + b"x" * 1_000 + b"\r\na\r\n")
    except OSError:  # the server closed
        answer = read_to_end(flooding)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 413 ")


def test_an_answer_that_nobody_reads_is_given_up(listen: Callable[..., int]) -> None:
    port = listen(replace(PATIENT, unread_s=0.5))
    lazy = socket.socket()
    lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    lazy.settimeout(60)
    lazy.connect(("127.0.0.1", port))
    lazy.sendall(GET.replace(b"/ ", b"/huge "))
    threading.Event().wait(4)  # what is measured is that time passes without a byte being taken
    assert len(read_to_end(lazy)) < len(HUGE_ANSWER)


def test_the_connection_that_waited_longest_makes_room(listen: Callable[..., int]) -> None:
    port = listen(replace(PATIENT, connections=3))
    idle, *others = [connect(port) for _ in range(3)]
    for connection in (idle, *others):
        ask(connection)
    with connect(port) as newest:
        assert ask(newest).startswith(b"HTTP/1.1 200 ")
        assert read_to_end(idle) == b""
        for connection in others:
            assert ask(connection).startswith(b"HTTP/1.1 200 ")
            connection.close()
