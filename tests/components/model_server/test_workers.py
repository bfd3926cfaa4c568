"""Several processes on the same ports answer as one server."""

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
from tensorflow_serving.apis import model_management_pb2

from trainwright_components.errors import InvalidSetting
from trainwright_components.model_server.flags import parse_flags
from trainwright_components.model_server.operation.process import server_command, server_environment
from trainwright_components.processes.exit_codes import PORT_TAKEN


def worker_pids(server: Any) -> set[int]:
    children = psutil.Process(server.process.pid).children()
    return {child.pid for child in children if len(child.net_connections()) >= 2}


@pytest.mark.slow
def test_workers_answer_are_replaced_and_end_together(
    start_server: Callable[..., Any], base_path: Path, eventually: Callable[..., None]
) -> None:
    server = start_server(imports_tensorflow=True, model_name="linear", model_base_path=base_path, workers=2)
    eventually(lambda: len(worker_pids(server)) == 2)
    for value in range(8):  # connections of their own each, which the kernel spreads
        asked = server.json("/v1/models/linear:predict", {"instances": [value]})
        assert asked == {"predictions": [0.5 * value + 2]}
    request = model_management_pb2.ReloadConfigRequest()
    request.config.model_config_list.SetInParent()
    with pytest.raises(grpc.RpcError) as refused:
        server.models.HandleReloadConfigRequest(request, timeout=60)
    assert refused.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    assert "several workers" in refused.value.details()
    before = worker_pids(server)
    os.kill(min(before), signal.SIGKILL)
    eventually(lambda: len(worker_pids(server)) == 2 and worker_pids(server) != before)
    pids = worker_pids(server)
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(60) == 0
    assert not any(psutil.pid_exists(pid) for pid in pids)


def test_workers_do_not_share_a_port_with_another_program(server: Any, base_path: Path) -> None:
    flags = {"port": server.grpc_port, "model_base_path": base_path, "workers": 2}
    done = subprocess.run(server_command(flags), capture_output=True, env=server_environment(), timeout=120)
    assert done.returncode == PORT_TAKEN
    assert b"it is in use" in done.stderr


@pytest.mark.parametrize(
    "flags",
    [["--workers=0"], ["--workers=2", "--monitoring_config_file=f"], ["--workers=2", "--grpc_socket_path=/s"]],
)
def test_settings_that_do_not_go_with_workers_are_refused(flags: list[str]) -> None:
    with pytest.raises(InvalidSetting, match="--workers"):
        parse_flags(["--model_base_path=/m", *flags])
