"""A server for trying a version out: forked where a warm process is at hand, and gone with whoever asked for it."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from trainwright_components.errors import ServingUnavailable
from trainwright_components.model_server.operation.client import is_answering, predict, version_states
from trainwright_components.model_server.operation.temporary_server import temporary_server
from trainwright_components.processes.ports import HeldPorts
from trainwright_components.processes.warm_parent import SOCKET_VARIABLE, WarmParent

STARTER = """
import sys
from pathlib import Path
from trainwright_components.model_server.operation.temporary_server import temporary_server
with temporary_server("linear", Path(sys.argv[1])) as server:
    print(server.rest_address, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def base(tmp_path: Path, half: Path) -> Path:
    """A base path with version 1 of y = 0.5 x + 2."""
    shutil.copytree(half, tmp_path / "base" / "1")
    return tmp_path / "base"


@pytest.fixture(params=["forked", "of its own"])
def is_forked(request: pytest.FixtureRequest, warm_parent: WarmParent, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the server comes from the warm process, or imports TensorFlow itself as in a notebook."""
    if request.param == "of its own":
        monkeypatch.delenv(SOCKET_VARIABLE)
    return bool(request.param == "forked")


def listening_on(address: str) -> psutil.Process:
    port = int(address.rpartition(":")[2])
    listening = [c for c in psutil.net_connections("inet") if c.status == "LISTEN"]
    (pid,) = {c.pid for c in listening if c.laddr and c.laddr.port == port}
    return psutil.Process(pid)


def test_it_answers_until_the_block_ends(base: Path, is_forked: bool, warm_parent: WarmParent) -> None:
    assert warm_parent._process is not None
    with temporary_server("linear", base) as server:
        assert predict(server.rest_address, "linear", instances=[2.0]) == [3.0]
        assert version_states(server.rest_address, "linear") == {1: ("AVAILABLE", "")}
        process = listening_on(server.rest_address)
        assert (process.ppid() == warm_parent._process.pid) is is_forked
    assert not is_answering(server.rest_address)
    assert not process.is_running()


def test_it_ends_with_whoever_started_it(base: Path, is_forked: bool, eventually: Callable[..., None]) -> None:
    starter = subprocess.Popen(
        [sys.executable, "-c", STARTER, str(base)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert starter.stdout is not None
    server = listening_on(starter.stdout.readline().strip())
    starter.kill()
    starter.communicate()
    eventually(lambda: not server.is_running() or server.status() == psutil.STATUS_ZOMBIE)


@pytest.mark.usefixtures("is_forked")
def test_one_that_does_not_answer_in_time_is_ended(base: Path) -> None:
    children = set(psutil.Process().children(recursive=True))
    with (
        pytest.raises(ServingUnavailable, match="the server did not answer in time"),
        temporary_server("linear", base, timeout_s=0.0),
    ):
        pytest.fail("no server answers at once")
    assert not [child for child in set(psutil.Process().children(recursive=True)) - children if child.is_running()]


@pytest.mark.usefixtures("warm_parent")
def test_its_ports_cannot_be_given_to_others(base: Path) -> None:
    with temporary_server("linear", base) as server:
        others = HeldPorts.take(200)
        addresses = {f"http://{address}" for address in others.addresses} | set(others.addresses)
        others.close()
        assert not addresses & {server.rest_address, server.grpc_address}
