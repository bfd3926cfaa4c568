"""Clients that hold a connection up lose theirs, and nobody else does."""

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import pytest

from trainwright_components.model_server.rest.connections import ConnectionLimits
from trainwright_components.model_server.rest.http_server import serve_http
from trainwright_components.model_server.rest.pages import Page
from trainwright_components.model_server.rest.request import Request

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
HUGE_ANSWER = b"x" * (32 << 20)
PATIENT = ConnectionLimits(head_s=600, body_s=600, unread_s=600, idle_s=600, linger_s=600)


class Echo:
    """Answers with the body; `/huge` with more than sockets take, `/slow` when the event is set."""

    headers = b""

    def __init__(self) -> None:
        self.may_answer = threading.Event()
        self.is_asked = threading.Event()
        self.held = 0

    def refusal(self, request: Request) -> Page | None:
        if request.target == "/never":
            return Page(status=404, content=b"no")
        return None

    def hold(self, size: int, so_far: int) -> Page | None:
        self.held += size
        return Page(status=400, content=b"too much", is_last=True) if so_far > 1_000_000 else None

    def release(self, size: int) -> None:
        self.held -= size

    def answer_now(self, request: Request) -> Page | None:
        if request.target == "/slow":
            return None
        return Page(status=200, content=HUGE_ANSWER if request.target == "/huge" else request.body + b"ok")

    async def answer(self, request: Request) -> Page:
        self.is_asked.set()
        await asyncio.to_thread(self.may_answer.wait, 60)
        return Page(status=200, content=request.body + b"late")


@pytest.fixture
def echo() -> Iterator[Echo]:
    """What the servers of a test answer with."""
    echo = Echo()
    yield echo
    echo.may_answer.set()


@pytest.fixture
def listen(echo: Echo) -> Iterator[Callable[[ConnectionLimits], int]]:
    """Serve under given limits; the port."""
    with ExitStack() as stack:
        yield lambda limits: stack.enter_context(serving(echo, limits))
    assert echo.held == 0


@contextmanager
def serving(echo: Echo, limits: ConnectionLimits) -> Iterator[int]:
    """Serve until the end of the block; the port."""
    listening = socket.create_server(("127.0.0.1", 0))
    port = int(listening.getsockname()[1])
    loop, stop = asyncio.new_event_loop(), asyncio.Event()
    serving = serve_http(listening, echo, until=stop.wait(), limits=limits, drain_s=30)
    thread = threading.Thread(target=lambda: (loop.run_until_complete(serving), loop.close()))
    thread.start()
    yield port
    loop.call_soon_threadsafe(stop.set)
    echo.may_answer.set()
    thread.join(60)
    assert not thread.is_alive()


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), 60)


def ask(connection: socket.socket) -> bytes:
    connection.sendall(GET)
    answer = b""
    while not answer.endswith(b"ok"):
        answer += connection.recv(1000) or pytest.fail("the connection was closed")
    return answer


def post(body: bytes, *, target: bytes) -> bytes:
    return b"POST %b HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (target, len(body), body)


def read_answer(connection: socket.socket) -> tuple[int, bytes]:
    """Status and body of one answer."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += connection.recv(1) or pytest.fail(f"the connection was closed after {head!r}")
    lines = head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines[1:-2])
    body = b""
    while len(body) < int(headers["Content-Length"]):
        body += connection.recv(int(headers["Content-Length"]) - len(body))
    return int(lines[0].split()[1]), body


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


def test_a_body_without_end_is_refused_and_its_sender_told_so(listen: Callable[..., int]) -> None:
    flooding = connect(listen(replace(PATIENT, sent_bytes=100_000)))
    flooding.sendall(b"POST /never HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(20_000):
        flooding.sendall(b"1;" + b"x" * 1_000 + b"\r\na\r\n")
    assert read_to_end(flooding).startswith(b"HTTP/1.1 413 ")


def test_who_sends_too_large_a_body_reads_why(listen: Callable[..., int]) -> None:
    sender = connect(listen(PATIENT))
    sender.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 50000000\r\n\r\n" + b"a" * 40_000_000)
    assert read_to_end(sender).endswith(b"too much")


def test_who_goes_on_sending_after_the_last_answer_is_cut_off(listen: Callable[..., int]) -> None:
    sender = connect(listen(replace(PATIENT, linger_s=0.1)))
    sender.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2000000\r\n\r\n" + b"a" * 1_500_000)
    while sender.recv(1 << 16):
        pass
    with pytest.raises(OSError), sender:  # noqa: PT011, PT012  # broken pipe or reset
        while True:
            sender.sendall(b"a" * 100_000)


def test_a_connection_without_requests_is_closed(listen: Callable[..., int]) -> None:
    idle = connect(listen(replace(PATIENT, idle_s=0.1)))
    ask(idle)
    assert read_to_end(idle) == b""


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


def test_requests_that_come_together_are_answered_in_their_order(listen: Callable[..., int], echo: Echo) -> None:
    with connect(listen(PATIENT)) as client:
        client.sendall(b"".join(post(b"%d," % i, target=b"/slow" if i == 3 else b"/") for i in range(100)))
        assert echo.is_asked.wait(60)
        echo.may_answer.set()
        bodies = [read_answer(client)[1] for _ in range(100)]
    assert bodies == [b"%d,late" % i if i == 3 else b"%d,ok" % i for i in range(100)]


def test_a_request_under_way_is_answered_whatever_its_client_does_next(listen: Callable[..., int], echo: Echo) -> None:
    port = listen(replace(PATIENT, head_s=0.1, head_bytes=10_000))
    nexts = (b"GET / HT", b"nonsense\r\n\r\n", b"GET /" + b"a" * 50_000)
    clients = [connect(port) for _ in nexts]
    for client, following in zip(clients, nexts, strict=True):
        client.sendall(post(b"mine, ", target=b"/slow") + following)
    halfway = connect(port)
    halfway.sendall(post(b"mine, ", target=b"/slow"))
    halfway.shutdown(socket.SHUT_WR)
    overdue = connect(port)  # ends as soon as its head is overdue, and with it all others that are
    assert read_to_end(overdue).startswith(b"HTTP/1.1 408 ")
    echo.may_answer.set()
    for client in (*clients, halfway):
        assert read_answer(client) == (200, b"mine, late")
        client.close()


def test_requests_that_have_begun_are_answered_at_the_end(echo: Echo) -> None:
    with serving(echo, PATIENT) as port:
        idle, computing, sending = (connect(port) for _ in range(3))
        ask(idle)
        sending.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nmine")
        computing.sendall(post(b"mine, ", target=b"/slow"))
        assert echo.is_asked.wait(60)
        stopping = threading.Thread(target=lambda: (read_to_end(idle), sending.sendall(b", "), echo.may_answer.set()))
        stopping.start()
    stopping.join(60)
    assert read_to_end(computing).endswith(b"\r\nConnection: close\r\n\r\nmine, late")
    assert read_to_end(sending).endswith(b"\r\nConnection: close\r\n\r\nmine, ok")


def test_a_body_that_waits_to_be_asked_for_is(listen: Callable[..., int]) -> None:
    head = b"POST /%b HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
    port = listen(PATIENT)
    with connect(port) as client:
        client.sendall(head % b"")
        assert client.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(b"mine ")
        assert read_answer(client) == (200, b"mine ok")
    refused = connect(port)
    refused.sendall(head % b"never")
    refused.shutdown(socket.SHUT_WR)
    assert read_to_end(refused).startswith(b"HTTP/1.1 404 ")


@pytest.mark.parametrize(
    ("request_", "is_last"),
    [
        (b"GET / HTTP/1.0\r\n\r\n", True),
        (b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", False),
        (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", True),
        (b"GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n", False),
        (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n", True),
        (
            b"POST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 0\r\n\r\n",
            True,
        ),
    ],
)
def test_a_connection_lasts_as_long_as_its_client_says(
    listen: Callable[..., int], request_: bytes, is_last: bool
) -> None:
    with connect(listen(PATIENT)) as client:
        client.sendall(request_)
        assert read_answer(client) == (200, b"ok")
        if is_last:
            assert client.recv(1) == b""
        else:
            ask(client)


def test_an_answer_to_head_has_no_body(listen: Callable[..., int]) -> None:
    with connect(listen(PATIENT)) as client:
        client.sendall(GET.replace(b"GET", b"HEAD") + GET)
        answers = b""
        while not answers.endswith(b"ok"):
            answers += client.recv(1000) or pytest.fail(f"the connection was closed after {answers!r}")
    assert answers.count(b"HTTP/1.1 200 OK") == answers.count(b"Content-Length: 2\r\n") == 2
    assert answers.count(b"\r\n\r\nok") == 1
