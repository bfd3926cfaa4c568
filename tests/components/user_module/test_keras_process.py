"""A module for tf_keras is worked with in a process of its own: results, errors and signals come through."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from trainwright_components.errors import TrainingFailed, UserCodeError
from trainwright_components.user_module.keras_process import call_beside_its_keras


def pid_and_legacy(word: str) -> tuple[int, str, str]:
    return os.getpid(), os.environ.get("TF_USE_LEGACY_KERAS", ""), word


def fail_in_user_code() -> None:
    raise UserCodeError("build_model failed", user_traceback="line 3")


def fail_unexpectedly() -> None:
    raise ZeroDivisionError("of the child")


def end_with(code: int) -> None:
    raise SystemExit(code)


def kill_itself() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def say_and_wait(file: str) -> None:
    Path(file).write_text(str(os.getpid()))
    signal.pause()


@pytest.fixture(autouse=True)
def _found_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Functions of this file can be found from a fresh process too."""
    folder = str(Path(__file__).parent)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([folder, os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setitem(sys.modules, "test_keras_process", sys.modules[__name__])
    for function in (pid_and_legacy, fail_in_user_code, fail_unexpectedly, end_with, kill_itself, say_and_wait):
        monkeypatch.setattr(function, "__module__", "test_keras_process")


@pytest.fixture
def old_module(tmp_path: Path) -> Path:
    file = tmp_path / "old.py"
    file.write_text("import tf_keras\n")
    return file


def test_a_module_for_keras_3_stays_in_this_process(tmp_path: Path) -> None:
    file = tmp_path / "new.py"
    file.write_text("import keras\n")
    assert call_beside_its_keras(file, pid_and_legacy, "hello") == (os.getpid(), "", "hello")


def test_a_module_for_tf_keras_gets_a_process_where_that_rules(old_module: Path) -> None:
    pid, legacy, word = call_beside_its_keras(old_module, pid_and_legacy, word="hello")
    assert (legacy, word) == ("1", "hello")
    assert pid != os.getpid()


def test_errors_come_back_as_they_were(old_module: Path) -> None:
    with pytest.raises(UserCodeError, match="build_model failed") as caught:
        call_beside_its_keras(old_module, fail_in_user_code)
    assert caught.value.user_traceback == "line 3"


def test_an_unexpected_error_brings_its_traceback(old_module: Path) -> None:
    with pytest.raises(ZeroDivisionError, match="of the child") as caught:
        call_beside_its_keras(old_module, fail_unexpectedly)
    assert "in fail_unexpectedly" in "".join(caught.value.__notes__)


def test_its_exit_code_is_ours(old_module: Path) -> None:
    with pytest.raises(SystemExit) as caught:
        call_beside_its_keras(old_module, end_with, 143)
    assert caught.value.code == 143


def test_a_killed_process_is_told(old_module: Path) -> None:
    with pytest.raises(TrainingFailed, match="killed by signal 9"):
        call_beside_its_keras(old_module, kill_itself)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_it_does_not_outlive_whoever_asked(number: signal.Signals, old_module: Path, tmp_path: Path) -> None:
    said = tmp_path / "pid"
    os.mkfifo(said)
    script = (
        "from trainwright_components.user_module.keras_process import call_beside_its_keras\n"
        "from test_keras_process import say_and_wait\n"
        f"call_beside_its_keras({str(old_module)!r}, say_and_wait, {str(said)!r})\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE, text=True) as asker:
        child = psutil.Process(int(said.read_text()))
        asker.send_signal(number)
        child.wait(30)
        _, errors = asker.communicate(timeout=30)
    assert not child.is_running()
    if number == signal.SIGTERM:
        assert "killed by signal 15" in errors
