"""No step changes the product's environment: held against a throw-away one, byte by byte."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.wheels import all_bytes, make_throwaway, make_wheel

from trainwright_pipelines.engine import own_python
from trainwright_pipelines.engine.store import Store

HERE = Path(__file__).parent
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"

MADE = """
import json, sys
from pathlib import Path
from trainwright_pipelines.engine.own_python import make_own_python
own = make_own_python(Path(sys.argv[1]), Path(sys.argv[2]))
print(json.dumps({"program": str(own.program), "env": dict(own.env)}))
"""

ADOPTED = """
import json, multiprocessing.spawn, os, subprocess, sys, sysconfig
from trainwright_components.processes.own_python import adopt_own_python, product_python
own = json.loads(sys.argv[1])
before = sysconfig.get_paths()
os.environ.update(own["env"])
adopt_own_python()
adopt_own_python()
import victim
asked = "import sys, victim; print(sys.prefix, victim.VERSION)"
told = subprocess.check_output([sys.executable, "-c", asked], text=True)
print(json.dumps({
    "prefix": sys.prefix, "executable": sys.executable, "before": before["purelib"], "victim": victim.__file__,
    "packages": sysconfig.get_paths()["purelib"], "programs": sysconfig.get_paths()["scripts"], "told": told.split(),
    "spawned": os.fsdecode(multiprocessing.spawn.get_executable()), "product": product_python(), "path": sys.path,
}))
"""


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheels")
    for name, version in (("victim", "1.0"), ("victim", "2.0"), ("fresh", "1.0")):
        make_wheel(folder, name, version)
    make_wheel(folder, "needy", "1.0", needs=["victim==2.0"])
    return folder


@pytest.fixture
def product(tmp_path: Path, wheels: Path) -> Path:
    """The Python of a throw-away product, which a step may try to harm."""
    return make_throwaway(tmp_path / "product", wheels / "victim-1.0-py3-none-any.whl")


def own_of(product: Path, tmp_path: Path) -> dict[str, Any]:
    arguments = [str(tmp_path / "a step" / "python"), str(tmp_path / "shared")]
    done = subprocess.run([product, "-c", MADE, *arguments], capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture
def own(tmp_path: Path, product: Path) -> dict[str, Any]:
    """A Python for a step of that product, in a folder whose name has a space in it."""
    return own_of(product, tmp_path)


@pytest.fixture
def in_step(own: dict[str, Any], wheels: Path) -> Callable[[str], "subprocess.CompletedProcess[str]"]:
    def run(command: str) -> "subprocess.CompletedProcess[str]":
        given = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels)}
        env = {**os.environ, **own["env"], **given}
        return subprocess.run(["sh", "-ec", command], env=env, capture_output=True, text=True, check=False)

    return run


def test_what_a_step_installs_and_removes_is_its_own(
    product: Path, in_step: Callable[[str], "subprocess.CompletedProcess[str]"]
) -> None:
    before = all_bytes(product.parents[1])
    changed = in_step("pip install -q --upgrade victim fresh 2>&1; victim-program; fresh-program; which fresh-program")
    assert changed.stdout.splitlines()[-3:-1] == ["victim 2.0", "fresh 1.0"], changed.stdout
    assert str(product.parents[1]) not in changed.stdout.splitlines()[-1]
    removed = in_step("python -m pip uninstall -y victim numpy 2>&1; victim-program; python3 -c 'import numpy'")
    assert removed.returncode == 0, removed.stdout + removed.stderr
    assert "Not uninstalling numpy" in removed.stdout
    assert removed.stdout.splitlines()[-1] == "victim 1.0"
    assert all_bytes(product.parents[1]) == before


def test_a_forked_process_takes_on_the_python_of_its_step(product: Path, own: dict[str, Any]) -> None:
    done = subprocess.run([product, "-c", ADOPTED, json.dumps(own)], capture_output=True, text=True, check=True)
    found, prefix = json.loads(done.stdout), own["env"]["VIRTUAL_ENV"]
    assert found["told"] == [*prefix.split(), "1.0"]
    assert (found["prefix"], found["executable"], found["spawned"]) == (prefix, own["program"], own["program"])
    assert found["product"] == str(product)
    assert own["env"]["UV_PYTHON"] == own["program"]
    assert [each.startswith(prefix) for each in (found["packages"], found["programs"], found["before"])] == [
        True,
        True,
        False,
    ]
    assert found["path"].index(found["packages"]) < found["path"].index(found["before"])
    assert found["path"].count(found["packages"]) == 1
    assert found["victim"].startswith(found["before"])


@pytest.mark.slow
def test_a_step_has_pip_where_the_product_has_none(tmp_path: Path, wheels: Path) -> None:
    """As in an environment that uv made."""
    own = own_of(make_throwaway(tmp_path / "product", hides=["pip"]), tmp_path)
    command = ["sh", "-ec", f"pip install -q --no-index --find-links {wheels} fresh && fresh-program"]
    done = subprocess.run(command, env={**os.environ, **own["env"]}, capture_output=True, text=True, check=False)
    assert done.stdout == "fresh 1.0\n", done.stderr


EXECUTE = """
import sys
from pathlib import Path
from trainwright_pipelines.engine import runs
from trainwright_pipelines.engine.records import RunSettings
from trainwright_pipelines.engine.store import Store
with Store(Path(sys.argv[2])) as store:
    settings = RunSettings(isolation={"": "process"})
    run = runs.create_run(Path(sys.argv[1]).read_text(), {}, store=store, settings=settings)
    runs.execute(run.id, store=store)
"""


@pytest.mark.slow
def test_a_run_of_harmful_steps_changes_no_byte_of_the_product(tmp_path: Path, product: Path, wheels: Path) -> None:
    spec, home = tmp_path / "harmful.yaml", tmp_path / "home"
    subprocess.run([sys.executable, HERE / "harmful_pipeline.py", wheels, spec], check=True)
    before = all_bytes(product.parents[1])
    subprocess.run([product, "-c", EXECUTE, spec, home], check=True)
    assert all_bytes(product.parents[1]) == before
    with Store(home) as store:
        (run,) = store.runs()
        tasks = {task.name: task for task in store.tasks(run.id)}
    ended = {name: (task.state.value, task.error) for name, task in tasks.items()}
    assert ended == dict.fromkeys(ended, ("SUCCEEDED", ""))
    told = {name: next(iter(task.outputs.parameters.values())) for name, task in tasks.items()}
    own = tasks["in-its-own-process"].folder
    assert told.pop("in-its-own-process") == f"{own}/tmp/python/lib/python{PYTHON}/site-packages2.0"
    expected = {"from-inside": "1.0 2.0", "asks": "1.0 2.0 needy 1.0\n", "from-a-shell": "victim 1.0\n"}
    assert told == expected
    (attempt,) = tasks["asks"].attempts
    assert attempt.packages == {"needy": "1.0", "victim": "2.0"}


def test_programs_that_another_step_may_run_already_are_not_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second of two first steps has found none, and gets the lock once the first step has made them."""

    @contextmanager
    def another_was_first(lock: Path) -> Iterator[None]:
        programs = lock.with_suffix("")
        programs.mkdir(parents=True)
        for name in ("pip", own_python.COMPLETE):
            (programs / name).write_text("of the first step")
        yield

    monkeypatch.setattr(own_python, "locked", another_was_first)
    own_python.make_own_python(tmp_path / "own", tmp_path / "shared")
    assert [each.read_text() for each in (tmp_path / "shared").glob("*/pip")] == ["of the first step"]
