"""`trainwright doctor` finds what is wrong and says what to do; `devices` shows what a training would use."""

import json
import shutil
import subprocess
import sys
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trainwright_pipelines.cli import health
from trainwright_pipelines.cli.health import ERROR, OK, WARNING


def test_every_finding_is_told_and_nothing_is_wrong_here(trainwright: Callable[..., Any]) -> None:
    outcome = trainwright("doctor", "--quick", "--json")
    findings = {each["subject"]: each for each in json.loads(outcome.out)}
    assert set(findings) == {
        "Python",
        "packages",
        "bytecode",
        "disk",
        "memory",
        "runs",
        "GPU",
        "Docker",
        "ports",
        "model server",
    }
    assert findings["packages"]["level"] != ERROR, findings["packages"]
    assert findings["runs"]["message"].startswith("none yet")


def test_a_full_disk_is_an_error_with_advice(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(100, 100, 5 * 10**8))
    finding = health.check_disk(tmp_path / "not" / "there")
    assert finding.level == ERROR
    assert "trainwright runs delete" in finding.advice
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(100, 100, 2 * 10**9))
    assert health.check_disk(tmp_path).level == WARNING


def test_a_package_outside_its_range_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "requires", lambda _: ["kfp<1", "no-such-package", "pytest>=1; extra == 'dev'"])
    finding = health.check_packages()
    assert finding.level == ERROR
    assert "is not <1" in finding.message
    assert "no-such-package is missing" in finding.message
    assert "constraints.txt" in finding.advice


def test_untested_versions_are_named(tmp_path: Path) -> None:
    constraints = tmp_path / "constraints.txt"
    constraints.write_text(f"# tested\nkfp==0.1\npytest=={pytest.__version__}\nno-such-package==1\n")
    (named,) = health.untested_versions(constraints)
    assert named.startswith("kfp ")
    assert named.endswith("(tested: 0.1)")
    assert health.untested_versions(tmp_path / "absent") == []


def test_a_broken_record_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "store.db").write_text("this is not a database, but long enough to be looked at " * 20)
    finding = health.check_home(tmp_path)
    assert finding.level == ERROR
    assert "store.db" in finding.message


def test_a_home_that_cannot_be_is_a_finding(
    trainwright: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("TRAINWRIGHT_HOME", str(tmp_path / "file"))
    outcome = trainwright("doctor", "--quick")
    assert outcome.code == 1
    assert "TRAINWRIGHT_HOME" in outcome.out
    assert "packages" in outcome.out


def test_an_import_that_fails_is_an_error() -> None:
    finding = health.check_import("no_such_module")
    assert finding.level == ERROR
    assert finding.message == "ModuleNotFoundError: No module named 'no_such_module'"
    assert health.check_import("json").level == OK


def test_a_machine_without_docker_lacks_nothing_that_it_needs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    finding = health.check_docker()
    assert (finding.level, finding.subject) == (OK, "Docker")
    assert "there is neither a docker nor a podman command" in finding.message


def test_devices_shows_what_a_training_would_use_with_settings() -> None:
    """In a process of its own, as for a person: TensorFlow divides the CPU only before it starts."""
    settings = ["training.logical_devices=2", "training.threads=1", "training.devices.memory_growth=true"]
    flags = [part for setting in settings for part in ("--set", setting)]
    command = [sys.executable, "-m", "trainwright_pipelines.cli.main", "devices", "--json", *flags]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    assert json.loads(done.stdout)["would_use"] == {
        "strategy": "mirrored",
        "reason": "the CPU is divided into 2 logical devices",
        "logical_devices": ["CPU:0", "CPU:1"],
        "replica_devices": ["CPU:0", "CPU:1"],
        "processes": 1,
        "threads_within": 1,
        "threads_between": 1,
        "precision": "the module's own",
        "notes": ["training.devices.memory_growth has no effect: TensorFlow sees no GPU"],
    }


def test_devices_in_words(trainwright: Callable[..., Any]) -> None:
    outcome = trainwright("devices", "--set", "cluster.worker=2")
    assert "A training would use: multi_worker_mirrored (the cluster has 2 training members)" in outcome.out
    assert "on CPU:0 in each of 2 processes, of CPU:0" in outcome.out


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("training.devices.use=GPU:9", "there is no device 'GPU:9'; there are CPU:0"),
        ("training.devices.growth=true", "no training.devices setting 'growth'"),
        ("epochs=2", "no parameter 'epochs': it is training.epochs"),
    ],
)
def test_devices_refuses_settings_that_a_training_would_refuse(
    trainwright: Callable[..., Any], setting: str, message: str
) -> None:
    outcome = trainwright("devices", "--set", setting)
    assert outcome.code == 2
    assert message in outcome.err
