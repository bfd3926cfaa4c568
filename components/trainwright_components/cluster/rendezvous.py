"""How members that nobody of ours started find each other, before TensorFlow, which would wait for ever, connects them.

Each member says hello to the chief at the address that the cluster gives it, on the port that TensorFlow's server takes
afterwards. Once all are there the chief answers each; one that does not come in time is named to all of them. Messages
are JSON, one a line. Members that serve stay connected, and are told when the chief is done.
"""

import contextlib
import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from trainwright_components import errors
from trainwright_components.cluster.rules import servers, trainers
from trainwright_components.cluster.spec import ClusterSpec, Member
from trainwright_components.cluster.tf_config import Place
from trainwright_components.errors import InvalidSetting, TrainingFailed, TrainwrightError
from trainwright_components.processes.exit_codes import PEER_LOST

logger = logging.getLogger(__name__)

_RETRY_S = 0.5
_ANSWER_S = 3.0  # what another program at the chief's address gets to say something
_HELLO_S = 10.0
_MOST_BYTES = 1 << 20
_HELLO, _GO, _WAIT, _FAILED, DONE_WORD = "hello", "go", "wait", "failed", "done"

Terms = Mapping[str, Any]


def chief_of(spec: ClusterSpec) -> Member:
    """The member that writes the model."""
    return next(member for member in spec.members if spec.is_chief(member))


def missing_peer(message: str) -> TrainingFailed:
    """An error that another start of all members may cure, as its exit code says."""
    error = TrainingFailed(message)
    error.exit_code = PEER_LOST
    return error


@dataclass(kw_only=True)
class Gathering:
    """The chief's side: who has come, until all have.

    Args:
        terms: What every member has to have been started with, by name.
    """

    place: Place
    terms: Terms
    timeout_s: float
    _listener: socket.socket = field(init=False)
    _came: dict[Member, socket.socket] = field(default_factory=dict)
    _connections: list[socket.socket] = field(default_factory=list)  # those of members that left and came back, too
    _problem: str = ""
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _deadline: float = 0.0

    def __enter__(self) -> "Gathering":
        """Listen from now on.

        Raises:
            InvalidSetting: The port is taken, or not this user's to take.
        """
        self._deadline = time.monotonic() + self.timeout_s
        self._listener = _listen(self.place)
        threading.Thread(target=self._accept, daemon=True, name="gathering").start()
        return self

    def __exit__(self, *_: object) -> None:
        """Listen no longer; who was not told to go has lost the chief."""
        _close(self._listener)
        for connection in self._connections:
            connection.close()

    def wait_for_all(self, others: Collection[Member]) -> None:
        """Wait until `others` have come, and close the port, so that TensorFlow can have it.

        Raises:
            TrainingFailed: One did not come in time; all that came are told.
            InvalidSetting: One was started with other terms, or two say that they are the same member.
        """
        with self._changed:
            while not self._problem and self._missing(others) and time.monotonic() < self._deadline:
                self._changed.wait(_RETRY_S)
            problem = self._problem
            missing = [f"{one} ({self.place.address_of(one)})" for one in self._missing(others)]
        if problem:
            raise self.tell_all(InvalidSetting(problem))
        if missing:
            raise self.tell_all(
                missing_peer(
                    f"the cluster was not complete after {self.timeout_s:g} s: {', '.join(missing)} did not come; "
                    "start it with the same line, or wait longer with cluster.rendezvous_timeout_s; "
                    f"{self.place.variable} of this process has these addresses"
                )
            )
        _close(self._listener)

    def _missing(self, others: Collection[Member]) -> list[Member]:
        """Who has not come, or has left again."""
        return [one for one in others if one not in self._came or _is_closed(self._came[one])]

    def let_go(self, terms: Terms) -> None:
        """Tell all that came to go on, with what the chief has found."""
        for connection in self._came.values():
            _send(connection, {"say": _GO, "terms": terms})

    def tell_all(self, error: Exception) -> Exception:
        """Tell all that came why nothing is trained; returns the error."""
        kind = type(error).__name__ if isinstance(error, TrainwrightError) else TrainingFailed.__name__
        for connection in self._came.values():
            _send(connection, {"say": _FAILED, "kind": kind, "why": str(error)})
        return error

    def tell_done(self) -> None:
        """Tell members that serve that the training run is over."""
        for connection in self._came.values():
            _send(connection, {"say": DONE_WORD})

    def _accept(self) -> None:
        while True:
            try:
                connection, address = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._greet, args=(connection, address[0]), daemon=True, name="greeting").start()

    def _greet(self, connection: socket.socket, host: str) -> None:
        connection.settimeout(_HELLO_S)
        said = _receive(connection)
        names = {str(member): member for member in self.place.spec.members}
        member = names.get(str(said.get("member"))) if said.get("say") == _HELLO else None
        if member is None or member == self.place.member:
            if said.get("say") == _HELLO:
                _send(connection, {"say": _FAILED, "kind": "InvalidSetting", "why": self._stranger(said, host)})
            connection.close()
            return
        with self._changed:
            before = self._came.get(member)
            if before is None or _is_closed(before):
                self._problem = self._problem or self._differences(member, said.get("terms"))
                self._came[member] = connection
                self._connections.append(connection)
                _send(connection, {"say": _WAIT})
                logger.info("%s is there, on %s", member, host)
            else:
                self._problem = (
                    f"two processes say that they are {member}, the second one on {host}: give each its own index in "
                    f"{self.place.variable}"
                )
                _send(connection, {"say": _FAILED, "kind": "InvalidSetting", "why": self._problem})
                connection.close()
            self._changed.notify_all()

    def _stranger(self, said: Terms, host: str) -> str:
        return (
            f"a process on {host} says that it is {said.get('member')}, but the chief at "
            f"{self.place.address_of(self.place.member)} knows {self.place.in_words}: give all the same cluster in "
            f"{self.place.variable}, and each its own index"
        )

    def _differences(self, member: Member, terms: Any) -> str:
        theirs = terms if isinstance(terms, Mapping) else {}
        for name in sorted({*self.terms, *theirs}):
            own, other = self.terms.get(name), theirs.get(name)
            if own != other:
                return (
                    f"{member} was started with {name}={json.dumps(other)}, but {self.place.member} with "
                    f"{name}={json.dumps(own)}: start all members with the same line and the same files"
                )
        return ""


@dataclass(kw_only=True)
class Hello:
    """The side of a member that is not the chief.

    Args:
        must_wait: Whether it can do nothing before the chief lets it go; one that serves can.
    """

    place: Place
    terms: Terms
    timeout_s: float
    must_wait: bool = True
    agreed: Terms = field(default_factory=dict)
    _connection: socket.socket | None = None
    _gone_since: float = field(default_factory=time.monotonic)

    def wait_to_go(self) -> None:
        """Return once the chief says that all are there; `agreed` then has what it found."""
        while not (self._connect() and self.hears(None) == _GO):
            pass

    def hears(self, timeout_s: float | None) -> str:
        """What the chief says next: nothing within `timeout_s`, `go` or `done`; reconnects when it was lost.

        Raises:
            TrainwrightError: What the chief says that went wrong, or that it does not come back.
        """
        if not self._connect() or self._connection is None:
            return ""
        self._connection.settimeout(timeout_s)
        try:
            said = _receive(self._connection)
        except TimeoutError:
            return ""
        if not said:
            self._connection.close()
            self._connection, self._gone_since = None, time.monotonic()
            return ""
        if said["say"] == _FAILED:
            kind: type[TrainwrightError] = getattr(errors, str(said.get("kind")), TrainingFailed)
            error = kind(f"{self._chief}: {said.get('why')}")
            error.exit_code = PEER_LOST if kind is TrainingFailed else kind.exit_code
            raise error
        self.agreed = said.get("terms", {})
        return str(said["say"])

    def close(self) -> None:
        """Leave the chief."""
        if self._connection is not None:
            self._connection.close()

    @property
    def is_connected(self) -> bool:
        """Whether the chief hears this member."""
        return self._connection is not None

    @property
    def _chief(self) -> Member:
        return chief_of(self.place.spec)

    def _connect(self) -> bool:
        if self._connection is not None:
            return True
        host, port = split_address(self.place.address_of(self._chief))
        try:
            connection = socket.create_connection((host, port), timeout=_ANSWER_S)
        except OSError as error:
            self._check_patience(answers=False, why=str(error))
            time.sleep(_RETRY_S)
            return False
        _send(connection, {"say": _HELLO, "member": str(self.place.member), "terms": self.terms})
        connection.settimeout(_ANSWER_S)
        with contextlib.suppress(TimeoutError):
            said = _receive(connection)
            if said.get("say") in (_WAIT, _FAILED):
                self._connection = connection
                if said["say"] == _FAILED:
                    raise InvalidSetting(f"{self._chief}: {said.get('why')}")
                return True
        connection.close()
        self._check_patience(answers=True)
        time.sleep(_RETRY_S)
        return False

    def _check_patience(self, *, answers: bool, why: str = "") -> None:
        if answers and not self.must_wait:
            self._gone_since = time.monotonic()  # TensorFlow's server has the port: the chief trains
            return
        if time.monotonic() - self._gone_since <= self.timeout_s:
            return
        address = f"{self._chief} ({self.place.address_of(self._chief)})"
        if answers:
            raise missing_peer(
                f"{address} did not take this {self.place.member} within {self.timeout_s:g} s: something else has that "
                "port, or the chief trains with members that were there before; end those, and start all again"
            )
        raise missing_peer(
            f"{address} was not there for {self.timeout_s:g} s{f' ({why})' if why else ''}; start it with the same "
            f"line, or wait longer with cluster.rendezvous_timeout_s; {self.place.variable} of this process has this "
            "address"
        )


@contextmanager
def gathered(place: Place, terms: Terms, *, timeout_s: float, find: Callable[[], Terms]) -> Iterator[Terms]:
    """As the chief, wait for all others while `find` looks at what is trained; yields what it found.

    At the end of the block, if it went well, members that serve are told so.

    Raises:
        TrainingFailed: A member did not come in time.
        InvalidSetting: A member was started with other terms.
    """
    others = sorted(trainers(place.spec) - {place.member}, key=str)
    with Gathering(place=place, terms=terms, timeout_s=timeout_s) as gathering:
        logger.info("%s waits for %s", place.in_words, ", ".join(map(str, others)) or "nobody")
        try:
            found = find()
        except Exception as error:
            raise gathering.tell_all(error) from error.__cause__
        gathering.wait_for_all(others)
        gathering.let_go(found)
        yield found
        if servers(place.spec):
            gathering.tell_done()


def split_address(address: str) -> tuple[str, int]:
    """Host and port of `host:port`, also of `[::1]:port`.

    Raises:
        InvalidSetting: It has no port.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise InvalidSetting(f"an address of a cluster is host:port, got {address!r}; correct TF_CONFIG")
    return host.strip("[]"), int(port)


def check_port(place: Place) -> None:
    """Refuse a member whose own port is taken on this machine.

    Raises:
        InvalidSetting: It is.
    """
    _close(_listen(place))


def _listen(place: Place) -> socket.socket:
    _, port = split_address(place.address_of(place.member))
    try:
        if socket.has_dualstack_ipv6():
            return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
        return socket.create_server(("", port))
    except OSError as error:
        raise InvalidSetting(
            f"port {port} of {place.member} ({place.address_of(place.member)}) cannot be had on this machine "
            f"({error.strerror}): end what uses it, or give another address in {place.variable} of every member"
        ) from error


def _close(listener: socket.socket) -> None:
    with contextlib.suppress(OSError):
        listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
    listener.close()


def _send(connection: socket.socket, message: Terms) -> None:
    with contextlib.suppress(OSError):  # it has gone: what follows notices
        connection.sendall(json.dumps(message).encode() + b"\n")


def _receive(connection: socket.socket) -> dict[str, Any]:
    """The next message; nothing when the other side has gone or speaks something else.

    Raises:
        TimeoutError: Nothing came in time.
    """
    line = bytearray()
    try:
        while not line.endswith(b"\n") and len(line) < _MOST_BYTES:
            part = connection.recv(1)  # no more than this message; the next is for another call
            if not part:
                return {}
            line += part
        message = json.loads(line)
    except TimeoutError:
        raise
    except (OSError, ValueError, RecursionError):
        return {}
    return message if isinstance(message, dict) and isinstance(message.get("say"), str) else {}


def _is_closed(connection: socket.socket) -> bool:
    try:
        connection.setblocking(False)
        return connection.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True
    finally:
        with contextlib.suppress(OSError):
            connection.setblocking(True)
