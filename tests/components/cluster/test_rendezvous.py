"""Members that nobody of ours started find each other, or are told in words why not."""

import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest

from trainwright_components.cluster.rendezvous import DONE_WORD, Gathering, Hello, check_port, gathered, split_address
from trainwright_components.cluster.spec import Member
from trainwright_components.cluster.tf_config import Place
from trainwright_components.errors import InvalidModule, InvalidSetting, TrainingFailed
from trainwright_components.processes.ports import HeldPorts

TERMS = {"training.epochs": 2, "the module's content": "ab"}
Addresses = dict[str, list[str]]


@pytest.fixture
def addresses() -> Any:
    with_ports = HeldPorts.take(2)
    yield {"worker": with_ports.addresses}
    with_ports.close()


def place(addresses: Addresses, index: int, role: str = "worker") -> Place:
    return Place(variable="TF_CONFIG", addresses=addresses, member=Member(role=role, index=index))


class Other(threading.Thread):
    """Another member: it says hello in a thread of its own."""

    def __init__(self, hello: Hello, act: Callable[[Hello], Any] = Hello.wait_to_go) -> None:
        super().__init__(daemon=True)
        self.hello, self._act = hello, act
        self.error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self._act(self.hello)
        except (Exception, SystemExit) as error:
            self.error = error

    def end(self) -> None:
        self.join(20)
        assert not self.is_alive()
        self.hello.close()


def hello(addresses: Addresses, index: int = 1, **options: Any) -> Hello:
    return Hello(place=place(addresses, index), **{"terms": TERMS, "timeout_s": 10, **options})


def lead(addresses: Addresses, *, timeout_s: float = 10, find: Callable[[], dict[str, Any]] = dict) -> dict[str, Any]:
    with gathered(place(addresses, 0), TERMS, timeout_s=timeout_s, find=find) as found:
        check_port(place(addresses, 0))  # TensorFlow's server takes it here
        return dict(found)


def test_all_are_told_what_the_chief_found_and_the_port_is_free_again(addresses: Addresses) -> None:
    other = Other(hello(addresses))
    assert lead(addresses, find=lambda: {"takes_alone": True}) == {"takes_alone": True}
    other.end()
    assert other.error is None
    assert other.hello.agreed == {"takes_alone": True}


def test_a_member_that_never_comes_is_named_to_all(addresses: Addresses) -> None:
    three = {"worker": [*addresses["worker"], "127.0.0.1:9"]}
    other = Other(hello(three))
    with pytest.raises(TrainingFailed, match=r"not complete after 1 s: worker-2 \(127\.0\.0\.1:9\) did not come") as no:
        lead(three, timeout_s=1)
    other.end()
    assert no.value.exit_code == 138
    assert isinstance(other.error, TrainingFailed)
    assert "worker-0: the cluster was not complete" in str(other.error)
    assert other.error.exit_code == 138


def test_a_chief_that_never_comes_is_named(addresses: Addresses) -> None:
    with pytest.raises(TrainingFailed, match=r"worker-0 \(127\S+\) was not there for 0\.1 s \(.*refused\)") as caught:
        hello(addresses, timeout_s=0.1).wait_to_go()
    assert caught.value.exit_code == 138


def test_another_program_at_the_chiefs_address_is_not_taken_for_it(addresses: Addresses) -> None:
    """Such as TensorFlow's server, of a chief that trains already."""
    with socket.create_server(split_address(addresses["worker"][0])) as server:

        def answer() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.sendall(b"\x00\x00\x12\x04HTTP/2\n")

        threading.Thread(target=answer, daemon=True).start()
        with pytest.raises(TrainingFailed, match=r"did not take this worker-1 within 0\.1 s: something else has that"):
            hello(addresses, timeout_s=0.1).wait_to_go()
        serving = hello(addresses, timeout_s=0.1, must_wait=False)
        assert [serving.hears(0.1), serving.hears(0.1)] == ["", ""]
        server.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize(
    ("terms", "index", "message"),
    [
        ({**TERMS, "training.epochs": 3}, 1, "worker-1 was started with training.epochs=3, but worker-0 with .*=2: st"),
        (TERMS, 2, r"says that it is worker-2, but the chief at \S+ knows worker-0 of a cluster \(worker: 2\)"),
        (TERMS, 0, "says that it is worker-0, but the chief"),
    ],
)
def test_a_member_that_was_started_otherwise_is_told_so(
    terms: dict[str, Any], index: int, message: str, addresses: Addresses
) -> None:
    known = {"worker": [*addresses["worker"], "127.0.0.1:9"]}
    other = Other(hello(known, index, terms=terms))
    with pytest.raises((InvalidSetting, TrainingFailed)) as caught:
        lead(addresses, timeout_s=2)
    other.end()
    with pytest.raises(InvalidSetting, match=message):
        raise other.error or AssertionError
    assert isinstance(caught.value, InvalidSetting) == (terms != TERMS)


def test_two_processes_with_one_index_are_refused_and_one_that_comes_back_is_not(addresses: Addresses) -> None:
    with Gathering(place=place(addresses, 0), terms=TERMS, timeout_s=10) as gathering:
        left = hello(addresses)
        assert left.hears(0.01) == ""  # connected
        left.close()
        first = Other(hello(addresses))
        gathering.wait_for_all([Member(role="worker", index=1)])
        gathering.let_go({})
        first.end()
    with Gathering(place=place(addresses, 0), terms=TERMS, timeout_s=10) as gathering:
        one, second = hello(addresses), hello(addresses)
        one.hears(0.01)
        with pytest.raises(InvalidSetting, match="two processes say that they are worker-1"):
            second.hears(1)
        with pytest.raises(InvalidSetting, match="two processes say that they are worker-1"):
            gathering.wait_for_all([Member(role="worker", index=1)])
        one.close()
        second.close()


def test_what_is_wrong_with_the_module_is_told_to_all(addresses: Addresses) -> None:
    def find() -> dict[str, Any]:
        with socket.create_connection(split_address(addresses["worker"][0])):
            pass  # a probe that says nothing, as load balancers send
        came.wait(10)
        raise InvalidModule("no build_model")

    came = threading.Event()

    def come(one: Hello) -> None:
        while not one.is_connected:
            one.hears(0.01)
        came.set()
        one.wait_to_go()

    other = Other(hello(addresses), come)
    with pytest.raises(InvalidModule, match="no build_model"):
        lead(addresses, find=find)
    other.end()
    assert isinstance(other.error, InvalidModule)


def test_members_that_serve_are_told_when_the_training_is_over_and_wait_for_a_chief_that_comes_back() -> None:
    held = HeldPorts.take(3)
    chief, worker, ps = held.addresses
    roles = {"chief": [chief], "worker": [worker], "ps": [ps]}
    heard: list[str] = []

    def serve(one: Hello) -> None:
        while not heard or heard[-1] != DONE_WORD:
            heard.append(one.hears(0.05))

    def start(role: str) -> Hello:
        return Hello(place=place(roles, 0, role), terms=TERMS, timeout_s=10, must_wait=False)

    servers = [Other(start("worker"), serve), Other(start("ps"), serve)]
    try:
        with (
            pytest.raises(ZeroDivisionError),
            gathered(place(roles, 0, "chief"), TERMS, timeout_s=10, find=dict),
        ):
            1 / 0  # noqa: B018  # the chief is lost
        with gathered(place(roles, 0, "chief"), TERMS, timeout_s=10, find=dict):
            assert DONE_WORD not in heard
        for server in servers:
            server.end()
            assert server.error is None
    finally:
        held.close()


def test_a_port_that_is_taken_is_named(addresses: Addresses) -> None:
    _, port = split_address(addresses["worker"][0])
    with socket.create_server(("127.0.0.1", port)), pytest.raises(InvalidSetting, match=rf"^port {port} of worker-0 "):
        check_port(place(addresses, 0))
    with pytest.raises(InvalidSetting, match="host:port, got 'h'"):
        split_address("h")
    assert split_address("[::1]:80") == ("::1", 80)
