"""The server of a home: one supervisor, whatever starts it or dies; ports that stay; states that are true."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from trainwright_components.errors import InvalidSetting, ServingUnavailable
from trainwright_components.model_server.operation.client import predict, version_states
from trainwright_components.model_server.operation.control import (
    add_model,
    remove_model,
    server_status,
    start_server,
    stop_server,
)
from trainwright_components.model_server.operation.serving_home import ModelEntry, ServerInfo, ServingHome, config_text
from trainwright_components.model_server.operation.supervisor import MAX_FAILURES, PortWish, Supervisor
from trainwright_components.processes.exit_codes import PORT_TAKEN
from trainwright_components.processes.ports import HeldPorts

Eventually = Callable[..., None]

STARTER = """
import sys
from pathlib import Path
from trainwright_components.model_server.operation.control import start_server
print(start_server(Path(sys.argv[1])).supervisor_pid, flush=True)
sys.stdin.read()
"""


def start_elsewhere(home: Path) -> "subprocess.Popen[str]":
    """Start the server from a process of another session, which then stays."""
    return subprocess.Popen(
        [sys.executable, "-c", STARTER, str(home)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home whose server was asked for by several processes at once, one of which was then killed with its group."""
    home = tmp_path_factory.mktemp("home")
    starters = [start_elsewhere(home) for _ in range(3)]
    supervisors = {starter.stdout.readline() for starter in starters if starter.stdout is not None}
    assert len(supervisors) == 1
    for starter in starters:
        os.killpg(starter.pid, signal.SIGKILL)
        starter.communicate()
    yield home
    stop_server(home)


@pytest.fixture(scope="module")
def served(home: Path, half: Path, tmp_path_factory: pytest.TempPathFactory, eventually: Eventually) -> ServerInfo:
    """The server of `home` with the model `linear`."""
    base = tmp_path_factory.mktemp("served")
    shutil.copytree(half, base / "1")
    info = start_server(home)
    add_model(home, "linear", base)
    eventually(lambda: version_states(info.rest_address, "linear") == {1: ("AVAILABLE", "")})
    return info


def test_whoever_started_it_may_be_killed(home: Path) -> None:
    status = server_status(home)
    assert status is not None
    assert (status.is_running, status.is_answering, status.message) == (True, True, "")


def test_starting_again_gives_the_server_that_runs(home: Path, served: ServerInfo) -> None:
    assert start_server(home) == served
    with pytest.raises(InvalidSetting, match="already runs with REST port"):
        start_server(home, rest_port=served.rest_port + 1)


def test_only_this_machine_can_reach_it(served: ServerInfo) -> None:
    listening = [c for c in psutil.Process(served.server_pid).net_connections("inet") if c.status == "LISTEN"]
    assert {c.laddr.port for c in listening} == {served.rest_port, served.grpc_port}
    assert {c.laddr.ip for c in listening} <= {"127.0.0.1", "::ffff:127.0.0.1"}


def test_the_state_is_on_disk(home: Path, served: ServerInfo, eventually: Eventually) -> None:
    file = home / "serving" / "server.json"
    eventually(lambda: json.loads(file.read_text())["models"])
    content = json.loads(file.read_text())
    assert content["server_pid"] == served.server_pid
    assert content["rest_address"] == f"http://127.0.0.1:{served.rest_port}"
    assert [model["name"] for model in content["models"]] == ["linear"]


def test_models_are_described(home: Path, served: ServerInfo) -> None:
    status = server_status(home)
    assert status is not None
    (model,) = status.models
    assert (model.name, model.versions, model.live_version) == ("linear", {1: "AVAILABLE"}, 1)
    assert model.url == f"{served.rest_address}/v1/models/linear"


def test_a_name_stands_for_one_folder(home: Path, served: ServerInfo, tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting, match="model 'linear' is already served from"):
        add_model(home, "linear", tmp_path)


def test_a_killed_server_comes_back_where_it_was(home: Path, served: ServerInfo, eventually: Eventually) -> None:
    assert served.server_pid is not None
    os.kill(served.server_pid, signal.SIGKILL)

    def is_back() -> bool:
        status = server_status(home)
        return status is not None and status.info.restarts == 1 and status.is_answering

    eventually(is_back)
    info = start_server(home)
    assert info.server_pid != served.server_pid
    assert (info.rest_address, info.grpc_address) == (served.rest_address, served.grpc_address)
    assert predict(info.rest_address, "linear", instances=[2.0]) == [3.0]


def test_a_killed_supervisor_leaves_nothing_behind(home: Path, served: ServerInfo, eventually: Eventually) -> None:
    info = start_server(home)
    assert info.server_pid is not None
    server = psutil.Process(info.server_pid)
    os.kill(info.supervisor_pid, signal.SIGKILL)
    eventually(lambda: not server.is_running() or server.status() == psutil.STATUS_ZOMBIE)
    status = server_status(home)
    assert status is not None
    assert (status.is_running, status.is_answering) == (False, False)
    assert f"process {info.supervisor_pid}) is gone" in status.message
    assert stop_server(home) is False
    again = start_server(home)
    assert again.rest_address == info.rest_address
    assert predict(again.rest_address, "linear", instances=[2.0]) == [3.0]


def test_stopping_ends_it_and_keeps_its_models(home: Path, served: ServerInfo) -> None:
    start_server(home)
    assert stop_server(home) is True
    assert stop_server(home) is False
    status = server_status(home)
    assert status is not None
    assert (status.is_running, status.info.state, status.message) == (False, "stopped", "")
    assert [(model.name, model.versions) for model in status.models] == [("linear", {})]
    with pytest.raises(ServingUnavailable, match="no answer from"):
        predict(served.rest_address, "linear", instances=[2.0])


def test_no_server_was_ever_started(tmp_path: Path) -> None:
    assert server_status(tmp_path / "nowhere") is None
    assert stop_server(tmp_path / "nowhere") is False


def test_a_port_in_use_is_refused_by_number(tmp_path: Path, server: Any) -> None:
    with pytest.raises(InvalidSetting, match=f"port {server.rest_port} is in use"):
        start_server(tmp_path, rest_port=server.rest_port)


def test_a_home_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidSetting, match="set TRAINWRIGHT_HOME to a folder of yours"):
        start_server(tmp_path / "file")


def test_models_come_and_go_in_the_config_file(tmp_path: Path) -> None:
    add_model(tmp_path, 'b "quoted"', tmp_path / "b")
    add_model(tmp_path, "a", tmp_path / "a")
    remove_model(tmp_path, "c")
    serving = ServingHome(tmp_path)
    assert [model.name for model in serving.models()] == ["a", 'b "quoted"']
    assert serving.config_file.read_text() == config_text(serving.models())
    assert r'name: "b \"quoted\""' in serving.config_file.read_text()
    remove_model(tmp_path, "a")
    assert [model.name for model in serving.models()] == ['b "quoted"']


def test_concurrent_writers_lose_no_model(tmp_path: Path) -> None:
    names = [f"model-{number:02d}" for number in range(20)]
    serving = ServingHome(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: serving.put_model(ModelEntry(name=name, base_path="/base")), names))
    assert [model.name for model in serving.models()] == names


def test_a_state_of_another_version_is_no_state(tmp_path: Path) -> None:
    serving = ServingHome(tmp_path)
    serving.folder.mkdir()
    serving.server_file.write_text('{"pid": 1}')
    assert serving.read_info() is None


def supervise(home: Path, code: str, ports: PortWish | None = None) -> tuple[Supervisor, ServingHome]:
    """Supervise a stand-in for the server that runs `code`."""
    serving = ServingHome(home)
    serving.folder.mkdir()
    wish = ports or PortWish()
    return Supervisor(serving, wish, command=lambda _: [sys.executable, "-c", code], backoff_s=0.01), serving


def test_a_server_that_keeps_dying_is_given_up(tmp_path: Path) -> None:
    supervisor, serving = supervise(tmp_path, "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    supervisor.run()
    info = serving.read_info()
    assert info is not None
    assert (info.state, info.restarts, info.server_pid) == ("failed", MAX_FAILURES, None)
    assert f"ended {MAX_FAILURES + 1} times in a row, last with signal SIGSEGV" in info.message


def test_flags_that_are_refused_are_not_tried_again(tmp_path: Path) -> None:
    supervisor, serving = supervise(tmp_path, "raise SystemExit(2)")
    supervisor.run()
    info = serving.read_info()
    assert info is not None
    assert (info.state, info.restarts) == ("failed", 0)


def test_a_port_that_was_asked_for_and_is_taken_ends_the_start(tmp_path: Path) -> None:
    held = HeldPorts.take(1)
    (port,) = held.numbers
    supervisor, serving = supervise(tmp_path, f"raise SystemExit({PORT_TAKEN})", PortWish(rest=port))
    supervisor.run()
    info = serving.read_info()
    assert info is not None
    assert info.state == "failed"
    assert f"port {port} is in use by another program" in info.message
    held.close()


def test_a_stop_ends_the_wait_for_a_restart(tmp_path: Path, eventually: Eventually) -> None:
    serving = ServingHome(tmp_path)
    serving.folder.mkdir()
    supervisor = Supervisor(
        serving, PortWish(), command=lambda _: [sys.executable, "-c", "raise SystemExit(1)"], backoff_s=600
    )
    thread = threading.Thread(target=supervisor.run)
    thread.start()

    def is_restarting() -> bool:
        info = serving.read_info()
        return info is not None and info.state == "restarting"

    eventually(is_restarting)
    supervisor.stop()
    thread.join(30)
    info = serving.read_info()
    assert info is not None
    assert info.state == "stopped"
