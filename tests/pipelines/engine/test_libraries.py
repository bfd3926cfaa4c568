"""What counts of the packages that a step imports."""

import base64
import hashlib
import importlib.metadata
import json
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import update

from trainwright_components.images import CPU_IMAGE
from trainwright_pipelines.engine.cache import NotCacheable
from trainwright_pipelines.engine.libraries import Libraries, describe_change, imported_names
from trainwright_pipelines.engine.store import Store
from trainwright_pipelines.engine.tables import CACHE

if TYPE_CHECKING:
    from tests.pipelines.engine.conftest import Execute, Finished


RUNS, ARGUMENTS = ["python3 -m kfp.dsl.executor_main"], ["--function_to_execute", "f"]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of packages, which this process and its steps see."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONPATH", str(folder))
    return folder


def install(site: Path, name: str, version: str, code: str, *, module: str = "") -> None:
    """What pip leaves of a wheel (packaging.python.org/en/latest/specifications/recording-installed-packages)."""
    for left in [*site.glob(f"{name}-*"), *site.glob("**/__pycache__")]:
        shutil.rmtree(left)
    file, info = site / (module or name) / "__init__.py", site / f"{name}-{version}.dist-info"
    file.parent.mkdir(parents=True, exist_ok=True)
    info.mkdir()
    file.write_text(code)
    digest = base64.urlsafe_b64encode(hashlib.sha256(code.encode()).digest()).rstrip(b"=").decode()
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    (info / "METADATA").write_text(metadata)
    (info / "RECORD").write_text(
        f"{info.name}/METADATA,,\n{file.relative_to(site)},sha256={digest},{len(code)}\n{info.name}/RECORD,,\n"
    )


def found(source: str, **container: Any) -> dict[str, str]:
    made = {"command": [*RUNS, source], "args": ARGUMENTS}
    return {name: said.partition(" ")[0] for name, said in Libraries().of_step(made | container).items()}


def test_code_imports_what_it_names_anywhere_in_it() -> None:
    source = """
import os, numpy.linalg as la, yaml
from typing import *
from google.cloud import storage, bigquery as bq
def f():
    try:
        from .near import x
        import a.b
    except ImportError:
        from json import loads
"""
    names = ("a.b", "google.cloud.bigquery", "google.cloud.storage", "numpy.linalg", "yaml")
    assert imported_names(source) == names
    assert imported_names("import (") == imported_names("\0") == ()


def test_a_package_counts_by_its_version_whatever_it_is_called() -> None:
    packages = {
        "yaml": "pyyaml",
        "google.cloud.storage": "google-cloud-storage",
        "google.protobuf.message": "protobuf",
        "six": "six",
        "typing_extensions": "typing-extensions",
        "PIL.Image": "pillow",
    }
    source = "\n".join(f"import {name}" for name in packages)
    assert found(source) == {name: importlib.metadata.version(name) for name in packages.values()}
    assert found("import no_such_package.x, __main__, google") == {"no_such_package": "absent"} | {
        "__main__": "absent",
        "google": "absent",
    }


def test_what_this_process_has_loaded_by_a_name_does_not_count(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(site, "shapes", "2.1.0", "")
    monkeypatch.setitem(sys.modules, "shapes", json)
    assert found("import shapes") == {"shapes": "2.1.0"}


def test_a_package_without_a_list_of_its_files_counts_by_its_version(site: Path) -> None:
    install(site, "shapes_of_debian", "2.1.0", "", module="shapes")
    info = site / "shapes_of_debian-2.1.0.dist-info"
    (info / "RECORD").unlink()
    assert found("import shapes") == {"shapes": "content"}
    (info / "top_level.txt").write_text("_shapes\nshapes\n")
    assert found("import shapes") == {"shapes-of-debian": "2.1.0"}
    info.rename(site / "shapes_of_debian.egg-info")
    assert found("import shapes") == {"shapes": "content"}, "as setuptools leaves it beside code that one works on"


def test_our_components_count_what_is_under_them_and_what_they_import_besides() -> None:
    source = "import kfp, yaml\nfrom trainwright_components.evaluate.evaluate import x"
    names = ("keras", "numpy", "pyyaml", "tensorflow", "tf-keras")
    assert found(source, image=CPU_IMAGE) == {name: importlib.metadata.version(name) for name in names}


def why(finished: "Finished") -> str:
    note = finished.tasks["measure-shape"].cache
    return str(note["why"]).replace(str(note["run"] or "no run"), "R")


def test_a_step_runs_again_when_a_package_that_it_imports_is_another(
    execute: "Execute", store: Store, site: Path
) -> None:
    def run() -> tuple[str, str]:
        finished = execute("imports_a_package")
        return finished.output("measure-shape"), why(finished)

    install(site, "shapes", "2.1.0", "NAME = 'square'")
    assert run() == ("square", "no earlier results of this step are on record")
    install(site, "unrelated", "1.0", "")
    assert run() == ("square", "taken from step measure-shape of run R")
    install(site, "shapes", "2.2.3", "NAME = 'circle'")
    assert run() == ("circle", "shapes 2.1.0 became 2.2.3, compared with run R")
    install(site, "shapes", "2.2.3", "NAME = 'ring'")
    assert run() == ("ring", "shapes 2.2.3 was installed with other content, compared with run R")
    install(site, "shapes", "2.1.0", "NAME = 'square'")
    assert run()[1] == "taken from step measure-shape of run R", "as it was at first"
    shutil.rmtree(next(site.glob("shapes-*")))
    install(site, "shapes_too", "1", "NAME = 'cube'", module="shapes")
    assert run()[0] == "cube"


def test_code_that_belongs_to_no_package_counts_by_its_content(execute: "Execute", site: Path) -> None:
    module = site / "shapes.py"
    module.write_text("NAME = 'square'")
    assert execute("imports_a_package").output("measure-shape") == "square"
    assert execute("imports_a_package").tasks["measure-shape"].is_cached
    module.write_text("NAME = 'circle '")
    edited = execute("imports_a_package")
    assert (edited.output("measure-shape"), why(edited)) == (
        "circle ",
        "the code of the module 'shapes' changed, compared with run R",
    )


def test_a_step_runs_each_time_whose_code_lies_among_too_much_data(site: Path) -> None:
    (site / "shapes").mkdir()
    (site / "shapes" / "__init__.py").touch()
    with (site / "shapes" / "data").open("wb") as data:
        data.truncate((1 << 30) + 1)
    with pytest.raises(NotCacheable, match="shapes is larger than 1 GiB"):
        found("import shapes")


def test_what_an_older_release_recorded_is_made_anew_once(execute: "Execute", store: Store, site: Path) -> None:
    install(site, "shapes", "2.1.0", "NAME = 'square'")
    execute("imports_a_package")
    with store.engine.execution_options(writes=True).begin() as connection:
        [row] = connection.execute(CACHE.select()).mappings()
        parts = {name: each for name, each in row["parts"].items() if not name.startswith("libraries.")}
        assert parts != row["parts"]
        connection.execute(update(CACHE).values(key="older", parts=parts))
    told = (
        "the versions of the packages that it imports are not on record: an older release ran it, compared with run R"
    )
    assert why(execute("imports_a_package")) == told
    assert execute("imports_a_package").tasks["measure-shape"].is_cached


def test_what_pip_changes_while_a_run_goes_on_counts(site: Path) -> None:
    libraries, container = Libraries(), {"command": [*RUNS, "import shapes"], "args": ARGUMENTS}
    install(site, "shapes", "2.1.0", "")
    before = libraries.of_step(container)
    assert libraries.of_step(container) == before
    install(site, "shapes", "2.2.3", "")
    later_ns = site.stat().st_mtime_ns + 1_000_000_000  # the file system's clock may stand still for some milliseconds
    os.utime(site, ns=(later_ns, later_ns))
    assert [each["shapes"][:5] for each in (before, libraries.of_step(container))] == ["2.1.0", "2.2.3"]


def test_a_package_that_a_step_asks_for_counts_by_what_is_here_or_else_by_how_it_asks(site: Path) -> None:
    install(site, "shapes", "2.1.0", "")
    install(site, "shapes_engine", "1.5", "")
    pip = "python3 -m pip install 'shapes{}' 'shapes-engine' && \"$0\" \"$@\""
    run = [*RUNS, "import shapes"]
    assert found("", command=[pip.format(">=2"), *run]) == {"shapes": "2.1.0", "shapes-engine": "1.5"}
    assert found("", command=[pip.format("==1"), *run]) == {"shapes-engine": "1.5"}
    imported = Libraries().of_step({"command": [*RUNS, "import shapes_engine"], "args": ARGUMENTS})
    asked = Libraries().of_step({"command": [pip.format("==1"), *run], "args": ARGUMENTS})
    assert imported == asked


@pytest.mark.parametrize(
    ("before", "now", "told"),
    [
        ("2.1.0 aa", "2.2.3 bb", "x 2.1.0 became 2.2.3"),
        ("2.1.0 aa", "2.1.0 bb", "x 2.1.0 was installed with other content"),
        ("absent", "2.1.0 aa", "x (not installed) became 2.1.0"),
        ("2.1.0 aa", "content aa", "x 2.1.0 became (code in a folder)"),
        ("content aa", "content bb", "the code of the module 'x' changed"),
        ("content aa", "absent", "x (code in a folder) became (not installed)"),
        (None, "absent", "x is new among what it imports"),
        ("2.1.0 aa", None, "x is not there any more among what it imports"),
    ],
)
def test_what_changed_has_words(before: str | None, now: str | None, told: str) -> None:
    assert describe_change("x", before, now) == told
