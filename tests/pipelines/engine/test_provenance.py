"""What a run says that it was made of."""

import platform
import subprocess
from pathlib import Path

import pytest

from trainwright_pipelines.engine.cache import digest_of_path
from trainwright_pipelines.engine.provenance import gather_provenance


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "model.py").write_text("UNITS = 1\n")
    git = ["git", "-C", str(folder), "-c", "user.name=n", "-c", "user.email=e"]
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "first"]):
        subprocess.run([*git, *arguments], check=True)
    return folder


def test_the_users_project_is_told_with_commit_and_uncommitted_difference(project: Path) -> None:
    (project / "model.py").write_text("UNITS = 2\nAPI_KEY = 'abcdef123456'\n")
    (project / "new.py").write_text("")
    found = gather_provenance({"module": str(project / "model.py")}, command=())
    (git,) = found["git"]
    commit = subprocess.run(["git", "-C", project, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    assert git["commit"] == commit.stdout.strip()
    assert "+UNITS = 2" in git["difference"]
    assert "abcdef123456" not in git["difference"]
    assert git["untracked"] == ["new.py"]
    assert found["inputs"]["module"]["digest"] == digest_of_path(project / "model.py")


def test_seeds_versions_and_the_command_are_told_without_secrets(tmp_path: Path) -> None:
    parameters = {"training": {"seed": 7, "epochs": 1}, "source": "digits", "data": str(tmp_path)}
    command = ["trainwright", "run", "p", "--set", "db_password=hunter2", "--set", "epochs=3"]
    found = gather_provenance(parameters, command=command)
    assert found["seeds"] == {"training.seed": 7}
    assert found["command"][4:] == ["db_password=***", "--set", "epochs=3"]
    assert found["python"] == platform.python_version()
    assert "sqlalchemy" in {name.lower() for name in found["packages"]}
    assert set(found["inputs"]) == {"data"}
    assert found["git"] == []
