"""Packages that lightweight components ask for, installed by pip from wheels that the tests make."""

import contextlib
import functools
import importlib.metadata
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.pipelines.engine.conftest import Fifo
from tests.wheels import make_wheel

from trainwright_components.errors import RunFailed
from trainwright_pipelines.engine.cache import NotCacheable
from trainwright_pipelines.engine.installing import InstalledPackages, identity_of, packages_for
from trainwright_pipelines.engine.isolation.process import Processes, run_command
from trainwright_pipelines.engine.own_python import COMPLETE, make_own_python
from trainwright_pipelines.engine.requirements import PipInstall

Install = Callable[..., InstalledPackages | None]


def container(*requirements: str) -> dict[str, Any]:
    line = " ".join(f"'{each}'" for each in requirements)
    command = ["sh", "-c", f"python3 -m pip install {line} && $0", "sh", "-ec", "kfp.dsl.executor_main", "source"]
    return {"command": command}


@pytest.fixture
def install(tmp_path: Path) -> Iterator[Install]:
    def install(*requirements: str, log: str = "log") -> InstalledPackages | None:
        return packages_for(
            container(*requirements),
            tmp_path / "environments",
            own=tmp_path / "own",
            env={"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path / "wheels")},
            log=tmp_path / log,
            run=functools.partial(run_command, processes),
            tell=(tmp_path / "told").write_text,
        )

    with contextlib.closing(Processes()) as processes:
        yield install


def run(packages: InstalledPackages, folder: Path, program: str) -> str:
    """What a step with these packages prints."""
    own = make_own_python(folder / "python", folder / "environments", packages)
    env = {**os.environ, **own.env, "_KFP_RUNTIME": "true"}
    done = subprocess.run(["sh", "-c", program], env=env, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def test_a_stopped_run_does_not_wait_for_the_packages_of_another(tmp_path: Path) -> None:
    def stop() -> None:
        raise RunFailed("the run was stopped")

    def pip(_command: Sequence[str], _env: Mapping[str, str], log: Path) -> int:
        """Another run asks for the same meanwhile."""
        with pytest.raises(RunFailed, match="the run was stopped"):
            ask(check=stop)
        log.write_text("no such package")
        return 1

    def ask(*, check: Callable[[], None] | None) -> None:
        place = tmp_path / "environments"
        packages_for(container("fresh"), place, own=place / "own", env={}, log=tmp_path / "log", run=pip, check=check)

    with pytest.raises(RunFailed, match="no such package"):
        ask(check=None)


def test_packages_are_installed_once_for_all_who_ask_at_once(tmp_path: Path, install: Install) -> None:
    make_wheel(tmp_path / "wheels", "fresh", "1.0", needs=["kfp", "more"])
    make_wheel(tmp_path / "wheels", "more", "3.0")
    with ThreadPoolExecutor() as threads:
        futures = [threads.submit(install, "fresh>=1", "numpy", log=f"log-{index}") for index in range(2)]
        first, second = sorted((future.result() for future in futures), key=lambda each: bool(each and each.is_reused))
    assert first is not None
    assert second is not None
    assert (first.folder, first.versions) == (second.folder, {"fresh": "1.0", "more": "3.0"})
    assert (first.sees_product, first.is_reused, second.is_reused) == (True, False, True)
    assert first.took_s == second.took_s > 0
    logs = [(tmp_path / f"log-{index}").read_text() for index in range(2)]
    reused = [text for text in logs if text == "packages reused from an earlier step: fresh 1.0, more 3.0\n"]
    assert len(reused) == 1, logs
    told = run(first, tmp_path, "fresh-program; python3 -c 'import numpy, kfp, sys; print(sys.prefix)'")
    assert told == f"fresh 1.0\n{tmp_path / 'python'}\n"


def test_what_contradicts_this_environment_hides_it(tmp_path: Path, install: Install) -> None:
    make_wheel(tmp_path / "wheels", "numpy", "0.1")
    found = install("numpy==0.1")
    assert found is not None
    assert not found.sees_product
    log = (tmp_path / "log").read_text()
    assert log.startswith("packages installed in ")
    assert (tmp_path / "told").read_text() == "installing numpy==0.1"
    here = importlib.metadata.version("numpy")
    assert log.endswith(f"this environment has numpy {here}, so that all of its packages are hidden from the step\n")
    program = "import numpy, importlib.util; print(numpy.VERSION, importlib.util.find_spec('pandas'))"
    entry = "import trainwright_pipelines.engine.task_entry, kfp.dsl.executor, pip; print('runs')"
    assert run(found, tmp_path, f'python3 -c "{program}"; python3 -c "{entry}"') == "0.1 None\nruns\n"


@pytest.mark.slow
def test_so_does_what_only_a_requirement_of_a_requirement_contradicts(tmp_path: Path, install: Install) -> None:
    make_wheel(tmp_path / "wheels", "numpy", "0.1")
    make_wheel(tmp_path / "wheels", "needy", "1.0", needs=["numpy==0.1"])
    found = install("needy")
    assert found is not None
    assert (found.sees_product, found.versions) == (False, {"needy": "1.0", "numpy": "0.1"})


def test_an_installation_that_fails_leaves_nothing_and_says_why(tmp_path: Path, install: Install) -> None:
    (tmp_path / "wheels").mkdir()
    with pytest.raises(RunFailed, match=r"(?s)asks for, absent==9: .*No matching distribution found for absent==9"):
        install("absent==9")
    assert [each.name for each in (tmp_path / "environments").iterdir() if each.is_dir()] == []
    assert "No matching distribution" in (tmp_path / "log").read_text()


@pytest.mark.slow
def test_what_is_half_or_from_an_older_release_is_made_again(tmp_path: Path, install: Install) -> None:
    wheel = make_wheel(tmp_path / "elsewhere", "fresh", "1.0")
    found = install(str(wheel))
    assert found is not None
    (found.folder / COMPLETE).write_text("")
    again = install(str(wheel))
    assert again is not None
    assert not again.is_reused
    assert json.loads((found.folder / COMPLETE).read_text())["versions"] == {"fresh": "1.0"}


def identity(*requirements: str, options: tuple[str, ...] = (), **env: str) -> str:
    return identity_of(PipInstall(requirements=requirements, options=options), env)


def test_all_that_decides_what_pip_installs_is_in_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of these gave an old folder for a new content."""
    wheel = make_wheel(tmp_path, "fresh", "1.0")
    needs, bounds, settings = (tmp_path / name for name in ("needs.txt", "bounds.txt", "pip.conf"))
    for each in (needs, bounds, settings):
        each.write_text("fresh\n")

    def all_of_them() -> list[str]:
        return [
            identity(f"{wheel}"),
            identity(f"fresh @ file://{wheel}"),
            identity(f"--editable={tmp_path}[some]"),
            identity(f"--requirement={needs}"),
            identity("fresh", options=(f"--constraint={bounds}",)),
            identity("fresh", PIP_CONSTRAINT=str(bounds)),
            identity("fresh", PIP_CONFIG_FILE=str(settings)),
        ]

    before = all_of_them()
    assert all_of_them() == before
    with zipfile.ZipFile(wheel, "a") as content:
        content.writestr("another.py", "")
    for each in (needs, bounds, settings):
        each.write_text("fresh<9\n")
    assert [now == then for now, then in zip(all_of_them(), before, strict=True)] == [False] * len(before)
    assert len({identity("a"), identity("a", PIP_INDEX_URL="https://x"), identity("a", options=("--pre",))}) == 3
    assert identity("a", "b", PIP_NO_INPUT="1") == identity("b", "a")
    without = identity("a")
    (tmp_path / "another-1.0.dist-info").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    assert identity("a") != without


def test_a_repository_counts_by_its_commit_and_an_address_by_its_hash(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(tmp_path), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "-q", "-b", "main")
    git("commit", "-q", "--allow-empty", "-m", "one")
    address = f"git+file://{tmp_path}"
    places = (address, f"fresh @ {address}@main", f"{address}@main#subdirectory=x")
    before = [identity(each) for each in (*places, f"{address}@{git('rev-parse', 'HEAD')}")]
    git("commit", "-q", "--allow-empty", "-m", "two")
    after = [identity(each) for each in (*places, f"{address}@{git('rev-parse', 'HEAD~1')}")]
    assert [now == then for now, then in zip(after, before, strict=True)] == [False, False, False, True]
    pinned = "fresh @ https://example.com/fresh-1.0-py3-none-any.whl#sha256=00"
    assert identity(pinned) == identity(pinned)
    for unknown in ("https://example.com/main.zip", f"git+file://{tmp_path}/none", f"{address}@no-such-branch"):
        with pytest.raises(NotCacheable):
            identity(unknown)


BACKEND = """
import os, zipfile

def build_wheel(folder, config_settings=None, metadata_directory=None):
    if os.path.exists("{fifo}"):
        with open("{fifo}", "w") as told:
            told.write(str(os.getpid()))
        open("{fifo}.go").read()
    name = "slow-1.0-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(folder, name), "w") as wheel:
        wheel.writestr("slow.py", "")
        wheel.writestr("slow-1.0.dist-info/METADATA", "Metadata-Version: 2.1\\nName: slow\\nVersion: 1.0\\n")
        wheel.writestr("slow-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr("slow-1.0.dist-info/RECORD", "")
    return name
"""

INSTALLER = """
import functools, sys
from pathlib import Path
from tests.pipelines.engine.test_installing import container
from trainwright_pipelines.engine.installing import packages_for
from trainwright_pipelines.engine.isolation.process import Processes, run_command
folder, package = map(Path, sys.argv[1:])
run = functools.partial(run_command, Processes())
packages_for(container(str(package)), folder / "environments", own=folder / "own", env={}, log=folder / "log", run=run)
"""


@pytest.mark.slow
def test_pip_ends_with_a_process_that_is_killed_and_leaves_nothing_in_the_way(tmp_path: Path, fifo: Fifo) -> None:
    package = tmp_path / "package"
    package.mkdir()
    (package / "backend.py").write_text(BACKEND.format(fifo=fifo.path))
    text = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    (package / "pyproject.toml").write_text(text)
    command = [sys.executable, "-c", INSTALLER, str(tmp_path), str(package)]
    with subprocess.Popen(command) as installer:
        building = psutil.Process(int(fifo.wait()))
        temporary = Path(building.environ()["TMPDIR"])
        installer.kill()
    psutil.wait_procs([building], timeout=30)
    assert not building.is_running()
    assert temporary.is_relative_to(tmp_path / "environments")
    fifo.path.unlink()
    subprocess.run(command, check=True)
    (folder,) = [each for each in (tmp_path / "environments").iterdir() if each.is_dir()]
    assert json.loads((folder / COMPLETE).read_text())["versions"] == {"slow": "1.0"}
    assert not (folder / temporary.name).exists()
