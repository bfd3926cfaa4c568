"""`trainwright doctor` finds what is wrong and says what to do."""

import json
import shutil
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path

import pytest

from trainwright_pipelines.cli import health
from trainwright_pipelines.cli.health import ERROR, OK, WARNING


def test_every_finding_is_told_and_nothing_is_wrong_here(trainwright: Callable) -> None:
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
    (tmp_path / "store.db").write_text("this is no database, but long enough to be looked at " * 20)
    finding = health.check_home(tmp_path)
    assert finding.level == ERROR
    assert "store.db" in finding.message


def test_a_home_that_cannot_be_is_a_finding(
    trainwright: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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
    assert "there is no docker command" in finding.message
