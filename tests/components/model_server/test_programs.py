"""TensorFlow Serving's own server in place of ours: a double that writes its arguments down and then is ours."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from trainwright_components.errors import InvalidSetting, ServingUnavailable
from trainwright_components.model_server.operation.client import predict, version_states
from trainwright_components.model_server.operation.control import add_model, serving_program, start_server, stop_server
from trainwright_components.model_server.operation.programs import TENSORFLOW_SERVING, program_command
from trainwright_components.model_server.operation.serving_home import ServingHome
from trainwright_components.model_server.operation.temporary_server import temporary_server

Eventually = Callable[..., None]


@pytest.fixture
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the `tensorflow_model_server` on the PATH writes the arguments of each start, one a line."""
    program = tmp_path / "bin" / TENSORFLOW_SERVING
    program.parent.mkdir()
    record = tmp_path / "arguments"
    program.write_text(
        f"#!/bin/sh\nprintf '%s\\n' \"$@\" >> {record}\n"
        f'exec {sys.executable} -m trainwright_components.model_server.main "$@"\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    return record


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    home = tmp_path / "home"
    yield home
    stop_server(home)


def test_it_serves_the_models_of_the_home_with_flags_that_it_knows(
    home: Path, recorded: Path, half: Path, tmp_path: Path, eventually: Eventually
) -> None:
    shutil.copytree(half, tmp_path / "linear" / "1")
    add_model(home, "linear", tmp_path / "linear")
    info = start_server(home, program=TENSORFLOW_SERVING)
    assert info.program == serving_program(home) == TENSORFLOW_SERVING
    eventually(lambda: version_states(info.rest_address, "linear") == {1: ("AVAILABLE", "")})
    assert predict(info.rest_address, "linear", instances=[2.0]) == [3.0]
    assert sorted(recorded.read_text().splitlines()) == sorted(
        [
            f"--port={info.grpc_port}",
            f"--rest_api_port={info.rest_port}",
            f"--model_config_file={ServingHome(home).config_file}",
            "--model_config_file_poll_wait_seconds=1",
            "--file_system_poll_wait_seconds=1",
            "--max_num_load_retries=0",
            "--allow_version_labels_for_unavailable_models=true",
        ]
    )
    with pytest.raises(InvalidSetting, match="tensorflow_model_server already serves, not trainwright: stop it first"):
        start_server(home, program="trainwright")
    assert info.server_pid is not None
    server = psutil.Process(info.server_pid)
    os.kill(info.supervisor_pid, signal.SIGKILL)
    eventually(lambda: not server.is_running() or server.status() == psutil.STATUS_ZOMBIE)


def test_it_tries_a_version_out(recorded: Path, half: Path, tmp_path: Path) -> None:
    shutil.copytree(half, tmp_path / "base" / "1")
    with temporary_server("linear", tmp_path / "base", program=TENSORFLOW_SERVING) as server:
        assert predict(server.rest_address, "linear", instances=[2.0]) == [3.0]
    assert f"--model_base_path={tmp_path / 'base'}" in recorded.read_text()
    (tmp_path / "broken" / "1").mkdir(parents=True)
    with (
        pytest.raises(ServingUnavailable, match="the server ended with code 255"),
        temporary_server("linear", tmp_path / "broken", program=TENSORFLOW_SERVING),
    ):
        pytest.fail("a server without a model does not answer")


def test_one_that_is_not_installed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InvalidSetting, match="tensorflow_model_server is not on the PATH"):
        start_server(tmp_path / "home", program=TENSORFLOW_SERVING)
    with pytest.raises(InvalidSetting, match="no server 'other'; there are trainwright and tensorflow_model_server"):
        program_command("other")


def test_a_program_that_dies_with_its_parent_does_not_start_without_it() -> None:
    command = [sys.executable, "-m", "trainwright_components.processes.die_with_parent", "0", "echo", "started"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (1, "")
    assert "the process that wanted the server is gone" in done.stderr
