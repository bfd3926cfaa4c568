"""A Python of a step's own, in front of the product's: what a step installs, upgrades or removes stays in there.

It is a virtual environment without packages, which sees those of others through a `.pth` file. pip and uv install into
the environment that they run in, and do not remove what lies outside of it.
"""

import functools
import hashlib
import importlib.util
import os
import re
import shutil
import site
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from trainwright_components.processes.locks import locked
from trainwright_components.processes.own_python import (
    PREFIX_VARIABLE,
    PRODUCT_VARIABLE,
    own_paths,
    own_user_base,
    product_python,
)

COMPLETE = ".complete"
"""The file in a folder of packages or programs that is whole."""

_VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
_SHELL_HEADER = re.compile(rb"#!/bin/sh\n'''exec' (?P<program>[^\n]*)\n' '''\n")
_LINE_HEADER = re.compile(rb"#!(?P<program>[^\n]*)\n")
_HEADER = b"#!/usr/bin/env python3\n"
_PIP = b"import runpy\n\nrunpy.run_module('pip', run_name='__main__')\n"
_ELSEWHERE = ("PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_PYTHON", "PIP_USER", "UV_SYSTEM_PYTHON")
_ALONE = ("kfp", "trainwright_components", "trainwright_pipelines", "pip")
"""What a step needs to see of the product where the other packages of the product are hidden from it."""


@dataclass(frozen=True, kw_only=True)
class OwnPython:
    """The Python of one step."""

    program: Path
    env: Mapping[str, str]
    """Variables that lead the step, and what it starts, to this Python."""
    can_be_adopted: bool
    """Whether a process of the product's can take it on, see `adopt_own_python`: it has no packages yet."""


@dataclass(frozen=True, kw_only=True)
class Packages:
    """A folder of packages that were installed for a step."""

    folder: Path
    sees_product: bool
    """Whether the product's packages go with them."""


@functools.cache  # asked for each step
def product_packages() -> list[str]:
    """The folders of the product's packages, in the order in which they are searched."""
    user = [site.getusersitepackages()] if site.ENABLE_USER_SITE else []
    return [path for path in [*user, *site.getsitepackages()] if Path(path).is_dir()]


def make_own_python(prefix: Path, shared: Path, packages: Packages | None = None) -> OwnPython:
    """Make the Python of a step.

    Args:
        prefix: Its folder, which is the step's own.
        shared: Where the product's programs are kept for all steps.
        packages: What was installed for the step, which comes before the product's packages, or in place of them.
    """
    user_base = own_user_base(prefix)
    layers = [own_paths(user_base), *([own_paths(packages.folder)] if packages is not None else [])]
    sees_product = packages is None or packages.sees_product
    behind = product_packages() if sees_product else [str(prefix / "bridge")]
    program = write_environment(prefix, [*(str(folder) for folder, _ in layers), *behind])
    if not sees_product:
        make_bridge(prefix / "bridge", _ALONE)
    folders = [program.parent, *(programs for _, programs in layers), _programs(shared), Path(sys.executable).parent]
    path = os.pathsep.join([*map(str, folders), os.environ.get("PATH", os.defpath)])
    return OwnPython(
        program=program,
        can_be_adopted=packages is None,
        env={
            "PATH": path,
            "VIRTUAL_ENV": str(prefix),
            "PYTHONUSERBASE": str(user_base),
            "UV_PYTHON": str(program),  # uv heeds it even where a step says --system
            "PIP_REQUIRE_VIRTUALENV": "1",  # a Python of the machine's own, called by its path, is left alone too
            PREFIX_VARIABLE: str(prefix),
            PRODUCT_VARIABLE: product_python(),
            **dict.fromkeys([name for name in _ELSEWHERE if name in os.environ], ""),
        },
    )


def write_environment(prefix: Path, behind: Iterable[str]) -> Path:
    """Make a virtual environment that sees the packages in the folders `behind`; gives its Python.

    Raises:
        OSError: It cannot be written.
    """
    shutil.rmtree(prefix, ignore_errors=True)
    packages, programs = own_paths(prefix)
    packages.mkdir(parents=True)
    programs.mkdir(parents=True)
    base = Path(getattr(sys, "_base_executable", sys.executable))
    for name in ("python3", "python", f"python{_VERSION}"):
        (programs / name).symlink_to(base)
    # Whatever is not `true` hides Python's own packages, but `false` makes pip refuse --user as well.
    (prefix / "pyvenv.cfg").write_text(f"home = {base.parent}\ninclude-system-site-packages = no\n")
    # A path alone would not do: the .pth files in there make editable installs work.
    # Python goes through the .pth files of a virtual environment twice.
    lines = [f"import site, sys; {path!r} in sys.path or site.addsitedir({path!r})\n" for path in behind]
    (packages / "behind.pth").write_text("".join([*lines, *(f"{path}\n" for path in bundled_pip())]))
    settings = Path(sys.prefix, "pip.conf")
    if settings.exists():
        (prefix / "pip.conf").symlink_to(settings)  # pip looks for it in the environment that it runs in
    return programs / "python3"


@functools.cache
def bundled_pip() -> list[str]:
    """The wheel of pip that comes with Python, where the product has none, as in an environment that uv made."""
    if importlib.util.find_spec("pip") is not None:
        return []
    found = importlib.util.find_spec("ensurepip")
    folder = Path(found.origin).parent if found is not None and found.origin else Path()
    return sorted(map(str, folder.glob("_bundled/pip-*.whl")))


def make_bridge(folder: Path, names: Iterable[str]) -> None:
    """Make a folder with nothing of the product's packages but those called `names`, as far as there are any."""
    folder.mkdir()
    for name in names:
        found = importlib.util.find_spec(name)
        if found is not None and found.submodule_search_locations:
            (folder / name).symlink_to(next(iter(found.submodule_search_locations)))


def _programs(shared: Path) -> Path:
    """The product's programs, each run by the first Python on the PATH instead of the product's."""
    source = Path(sys.executable).parent
    identity = f"{source} {source.stat().st_mtime_ns} {_HEADER!r} {_PIP!r}"
    folder = shared / f"programs-{hashlib.sha256(identity.encode()).hexdigest()[:16]}"
    with locked(folder.with_suffix(".lock")):
        if not (folder / COMPLETE).exists():  # looked at with the lock: the first step may run these programs already
            folder.mkdir(exist_ok=True)
            free_programs(source.iterdir(), folder, of=source)
            for name in ("pip", "pip3", f"pip{_VERSION}"):
                _write_program(folder / name, _HEADER + _PIP)
        (folder / COMPLETE).touch()  # also says when it was last used
    return folder


def free_programs(files: Iterable[Path], target: Path, *, of: Path) -> None:
    """Write the scripts among `files` that a Python in the folder `of` runs to `target`, for the first on the PATH."""
    starts: Sequence[bytes] = [os.fsencode(of / "python"), b'"' + os.fsencode(of / "python")]
    for each in files:
        if not each.is_file():
            continue
        with each.open("rb") as file:
            if file.read(2) != b"#!":
                continue
            file.seek(0)
            content = file.read()
        header = _SHELL_HEADER.match(content) or _LINE_HEADER.match(content)
        if header is not None and header["program"].strip().startswith(tuple(starts)):
            _write_program(target / each.name, _HEADER + content[header.end() :])


def _write_program(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    path.chmod(0o755)
