"""The client asks with the standard library alone, and says what went wrong."""

import importlib
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from trainwright_components.errors import InvalidSetting, ServingUnavailable
from trainwright_components.model_server.operation.client import is_answering, predict, version_states
from trainwright_components.processes.ports import HeldPorts


def test_rows_and_columns_are_asked(server: Any) -> None:
    assert predict(server.address, "linear", instances=[1.0, 2.0]) == [2.5, 3.0]
    assert predict(server.address, "linear", inputs={"x": [1.0, 2.0]}, version=123) == [2.5, 3.0]


def test_arrays_and_bytes_are_converted(server: Any) -> None:
    inputs = {"a": np.ones((1, 2), np.float32), "text": [b"\xff"]}
    answer = predict(server.address, "linear", inputs=inputs, signature_name="named")
    assert answer["total"] == [2.0]
    assert answer["raw_bytes"] == [{"b64": "/w=="}]


def test_an_address_may_come_without_scheme(server: Any) -> None:
    assert predict(server.address.removeprefix("http://"), "linear", instances=[1.0]) == [2.5]


def test_the_servers_reason_is_passed_on(server: Any) -> None:
    with pytest.raises(ServingUnavailable, match=r"answered 404: Servable not found for request: Latest\(none\)"):
        predict(server.address, "none", instances=[1.0])
    with pytest.raises(InvalidSetting, match="either instances"):
        predict(server.address, "linear")


def test_versions_have_states(server: Any) -> None:
    assert version_states(server.address, "linear") == {123: ("AVAILABLE", "")}
    assert version_states(server.address, "none") is None


@pytest.fixture
def nobody() -> Iterator[str]:
    """An address where nobody listens."""
    held = HeldPorts.take(1)
    yield held.addresses[0]
    held.close()


def test_nobody_answers(nobody: str) -> None:
    address = f"http://{nobody}"
    assert not is_answering(address)
    with pytest.raises(ServingUnavailable, match="no answer from"):
        predict(address, "linear", instances=[1.0])


def test_a_proxy_of_the_environment_is_not_asked(server: Any, nobody: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://{nobody}")
    assert is_answering(server.address)


def test_nothing_heavy_is_imported() -> None:
    package = importlib.import_module("trainwright_components.model_server.operation")
    modules = [f"{package.__name__}.{module.name}" for module in pkgutil.iter_modules(package.__path__)]
    assert len(modules) == 8
    code = f"import importlib, sys\nfor name in {[*modules, 'trainwright_components.model_server.main']}:\n"
    code += "    importlib.import_module(name)\n"
    code += "print(sorted({'tensorflow', 'numpy', 'grpc', 'httptools'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"
