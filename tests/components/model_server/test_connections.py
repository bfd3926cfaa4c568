"""Clients that hold a connection up lose theirs, and nobody else does."""

import asyncio
import socket
import ssl
import threading
import time
import tracemalloc
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from trainwright_components.model_server.http.connections import ConnectionLimits
from trainwright_components.model_server.http.request import Request
from trainwright_components.model_server.http.response import Response
from trainwright_components.model_server.http.server import serve_http

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
HUGE_ANSWER, LARGE_ANSWER = b"x" * (32 << 20), b"y" * (1 << 20)
PATIENT = ConnectionLimits(head_s=600, body_s=600, unread_s=600, idle_s=600, linger_s=600, sweep_s=0.05)


class Echo:
    """Answers with the body; `/huge` with more than sockets take, `/slow` when the event is set."""

    headers = b""

    def __init__(self) -> None:
        self.may_answer = threading.Event()
        self.is_asked = threading.Event()
        self.held = 0

    def reject(self, request: Request) -> Response | None:
        if request.target == "/never":
            return Response(status=404, content=b"no")
        return None

    def reserve(self, size: int, so_far: int) -> Response | None:
        self.held += size
        return Response(status=400, content=b"too much", closes_connection=True) if so_far > 1_000_000 else None

    def release(self, size: int) -> None:
        self.held -= size

    def respond(self, request: Request) -> Response | Awaitable[Response]:
        if request.target == "/slow":
            return self._respond_late(request)
        if request.target == "/headers":
            return Response(status=200, content=b" ".join(name for name, _ in request.headers))
        large = {"/huge": HUGE_ANSWER, "/large": LARGE_ANSWER}.get(request.target)
        return Response(status=200, content=large or request.body + b"ok")

    async def _respond_late(self, request: Request) -> Response:
        self.is_asked.set()
        await asyncio.to_thread(self.may_answer.wait, 60)
        return Response(status=200, content=request.body + b"late")


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
def serving(echo: Echo, limits: ConnectionLimits, tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """Serve until the end of the block; the port."""
    listening = socket.create_server(("127.0.0.1", 0))
    port = int(listening.getsockname()[1])
    loop, stop = asyncio.new_event_loop(), asyncio.Event()
    serving = serve_http(listening, echo, until=stop.wait(), limits=limits, drain_s=30, tls=tls)
    thread = threading.Thread(target=lambda: (loop.run_until_complete(serving), loop.close()))
    thread.start()
    try:
        yield port
    finally:
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
    body = bytearray()  # bytes would be copied with each piece that comes
    while len(body) < int(headers["Content-Length"]):
        body += connection.recv(int(headers["Content-Length"]) - len(body))
    return int(lines[0].split()[1]), bytes(body)


def read_to_end(connection: socket.socket) -> bytes:
    answer = bytearray()
    try:
        while chunk := connection.recv(1 << 16):
            answer += chunk
    except ConnectionResetError:
        pass
    connection.close()
    return bytes(answer)


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
    port = listen(replace(PATIENT, unread_s=0.3))
    lazy = socket.socket()
    lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    lazy.settimeout(60)
    lazy.connect(("127.0.0.1", port))
    lazy.sendall(GET.replace(b"/ ", b"/huge "))
    threading.Event().wait(1.5)  # what is measured is that time passes without a byte being taken
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

        def finish() -> None:
            read_to_end(idle)
            sending.sendall(b", ")
            echo.may_answer.set()

        stopping = threading.Thread(target=finish)
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
    ("request_", "closes_connection"),
    [
        (b"GET / HTTP/1.0\r\n\r\n", True),
        (b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", False),
        (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", True),
        (b"GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n", False),
        (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n", False),
        (
            b"POST / HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            True,
        ),
    ],
)
def test_a_connection_lasts_as_long_as_its_client_says(
    listen: Callable[..., int], request_: bytes, closes_connection: bool
) -> None:
    with connect(listen(PATIENT)) as client:
        client.sendall(request_)
        assert read_answer(client) == (200, b"ok")
        if closes_connection:
            assert client.recv(1) == b""
        else:
            ask(client)


@pytest.mark.parametrize("protocol", [b"h2c", b"websocket"])
def test_who_asks_for_another_protocol_is_answered_in_this_one(listen: Callable[..., int], protocol: bytes) -> None:
    wish = b"\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: %b\r\nHTTP2-Settings: AAM\r\n" % protocol
    request = post(b"mine ", target=b"/").replace(b"\r\n", wish, 1)
    with connect(listen(PATIENT)) as client:
        client.sendall(GET + request + request + GET)
        assert [read_answer(client)[1] for _ in range(4)] == [b"ok", b"mine ok", b"mine ok", b"ok"]
        for byte in request:
            client.sendall(bytes([byte]))
        assert read_answer(client) == (200, b"mine ok")
        client.sendall(b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n" + GET)
        assert read_answer(client)[0] == 400
        assert client.recv(1) == b""


CHUNKED = b"POST %b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize("target", [b"/", b"/never"])
@pytest.mark.parametrize("flood", [b"a: b\r\n", b"x" * 1000])
def test_trailers_without_end_are_refused(listen: Callable[..., int], target: bytes, flood: bytes) -> None:
    flooding = connect(listen(replace(PATIENT, head_bytes=10_000)))
    flooding.sendall(CHUNKED % target + b"1\r\na\r\n0\r\na: ")
    with suppress(ConnectionError):  # once it is refused
        flooding.sendall(flood * 200_000)
    assert read_to_end(flooding).startswith(b"HTTP/1.1 413 ")


def test_trailers_change_nothing(listen: Callable[..., int]) -> None:
    with connect(listen(PATIENT)) as client:
        client.sendall(CHUNKED % b"/headers" + b"1\r\na\r\n0\r\nContent-Encoding: gzip\r\n\r\n")
        assert read_answer(client) == (200, b"host transfer-encoding")


def test_a_body_in_tiny_chunks_takes_no_more_than_its_size(listen: Callable[..., int]) -> None:
    with connect(listen(PATIENT)) as client:
        client.sendall(CHUNKED % b"/")
        tracemalloc.start()
        client.sendall(b"2\r\nab\r\n" * 400_000 + b"0\r\n\r\n")
        assert read_answer(client) == (200, b"ab" * 400_000 + b"ok")
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert most < 10_000_000


def test_the_last_answer_is_read_by_who_has_sent_more(echo: Echo) -> None:
    """What the server did not read any more must not break the connection under the answer."""
    with serving(echo, PATIENT) as port:
        client = connect(port)
        client.sendall(GET.replace(b"/ ", b"/slow "))
        assert echo.is_asked.wait(60)
        client.sendall(GET.replace(b"/ ", b"/large ") + GET)
        for _ in range(3):
            client.sendall(GET)
        reading = threading.Thread(target=lambda: answers.append(read_to_end(client)))
        answers: list[bytes] = []
        reading.start()
    reading.join(60)
    assert answers[0].count(LARGE_ANSWER) == 1


def test_a_head_that_has_begun_is_answered_at_the_end(echo: Echo) -> None:
    with serving(echo, PATIENT) as port:
        sending, idle = connect(port), connect(port)
        ask(idle)
        sending.sendall(b"GET / HTTP/1.1\r\nHos")
        ask(idle)  # so the server has read what came before

        def finish() -> None:
            read_to_end(idle)
            sending.sendall(b"t: a\r\n\r\n")

        rest = threading.Thread(target=finish)
        rest.start()
    rest.join(60)
    assert read_to_end(sending).endswith(b"\r\nConnection: close\r\n\r\nok")


def test_a_body_is_asked_for_once_its_turn_has_come(listen: Callable[..., int], echo: Echo) -> None:
    expecting = b"POST / HTTP/1.%d\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
    port = listen(PATIENT)
    with connect(port) as client:
        client.sendall(GET.replace(b"/ ", b"/slow ") + expecting % 1)
        assert echo.is_asked.wait(60)
        echo.may_answer.set()
        assert read_answer(client) == (200, b"late")
        assert client.recv(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(b"mine ")
        assert read_answer(client) == (200, b"mine ok")
    with connect(port) as old:
        old.sendall(expecting % 0 + b"mine ")
        assert read_answer(old) == (200, b"mine ok")


def test_who_reads_all_the_time_is_not_cut_off(listen: Callable[..., int]) -> None:
    """However much is still to go: what counts is that some of it is taken, for much longer than the limit."""
    port = listen(replace(PATIENT, unread_s=0.75))
    with connect(port) as client:
        began = time.monotonic()
        asked = read = 0
        while time.monotonic() - began < 3:
            while asked - read < 40:  # there is always more than sockets hold
                client.sendall(GET.replace(b"/ ", b"/large "))
                asked += 1
            assert read_answer(client) == (200, LARGE_ANSWER)
            read += 1
            threading.Event().wait(0.01)


@pytest.fixture
def certificates(make_identity: Callable[[str], Any], tmp_path: Path) -> ssl.SSLContext:
    """A server's."""
    identity = make_identity("server")
    file = tmp_path / "server.pem"
    file.write_bytes(identity.key + identity.certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context


def encrypted(connection: socket.socket) -> ssl.SSLSocket:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context.wrap_socket(connection)


def test_https_answers_in_order_and_says_goodbye(echo: Echo, certificates: ssl.SSLContext) -> None:
    with serving(echo, PATIENT, certificates) as port, encrypted(connect(port)) as client:
        client.sendall(GET + post(b"mine ", target=b"/") + GET.replace(b"/ ", b"/huge "))
        assert [read_answer(client) for _ in range(3)] == [(200, b"ok"), (200, b"mine ok"), (200, HUGE_ANSWER)]
        client.sendall(GET.replace(b"Host: a", b"Connection: close"))
        assert read_answer(client) == (200, b"ok")
        assert client.recv(1) == b""


def test_who_never_agrees_on_keys_makes_room(echo: Echo, certificates: ssl.SSLContext) -> None:
    limits = replace(PATIENT, connections=4)
    with serving(echo, limits, certificates) as port, ExitStack() as open_ones:
        silent = [open_ones.enter_context(connect(port)) for _ in range(20)]
        assert [read_to_end(one) for one in silent[:16]] == [b""] * 16
        with encrypted(connect(port)) as honest:
            ask(honest)


def test_keys_that_do_not_come_are_not_waited_for(echo: Echo, certificates: ssl.SSLContext) -> None:
    with serving(echo, replace(PATIENT, head_s=0.1), certificates) as port:
        silent = connect(port)
        assert read_to_end(silent) == b""


def test_an_answer_over_https_that_nobody_reads_is_given_up(echo: Echo, certificates: ssl.SSLContext) -> None:
    with serving(echo, replace(PATIENT, unread_s=0.3), certificates) as port, encrypted(connect(port)) as lazy:
        lazy.sendall(GET.replace(b"/ ", b"/huge "))
        threading.Event().wait(1.5)  # what is measured is that time passes without a byte being taken
        got = 0
        with suppress(OSError):
            while chunk := lazy.recv(1 << 16):
                got += len(chunk)
        assert got < len(HUGE_ANSWER)


def test_a_slow_reader_over_https_gets_all_of_the_answer(echo: Echo, certificates: ssl.SSLContext) -> None:
    """Longer than a connection may be idle, and than it may take to say goodbye."""
    with serving(echo, replace(PATIENT, idle_s=0.1, linger_s=0.5), certificates) as port:
        with encrypted(connect(port)) as slow:
            slow.sendall(GET.replace(b"/ ", b"/huge "))
            began, got = time.monotonic(), bytearray()
            while len(got) < len(HUGE_ANSWER):
                got += slow.recv(1 << 16) or pytest.fail(f"cut off after {len(got)} bytes")
                threading.Event().wait(0.0005)
        assert time.monotonic() - began > 2 * 0.5
        assert got.endswith(HUGE_ANSWER[:1000])


def test_an_answer_to_head_has_no_body(listen: Callable[..., int]) -> None:
    with connect(listen(PATIENT)) as client:
        client.sendall(GET.replace(b"GET", b"HEAD") + GET)
        answers = b""
        while not answers.endswith(b"ok"):
            answers += client.recv(1000) or pytest.fail(f"the connection was closed after {answers!r}")
    assert answers.count(b"HTTP/1.1 200 OK") == answers.count(b"Content-Length: 2\r\n") == 2
    assert answers.count(b"\r\n\r\nok") == 1
