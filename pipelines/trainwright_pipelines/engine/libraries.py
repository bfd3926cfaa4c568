"""The packages that a step imports as a process of this machine: which count for its results, and as what.

A step counts what its own code imports, wherever in it, what it asks for by `packages_to_install` and finds here, and
not what these import in turn: `pip install` of anything else leaves its results. What it installs for itself counts by
how it asks. KFP counts an image by its name alone (backend/src/v2/cacheutils/cache.go), whose tag stands for all
packages in it; a process has no image.
"""

import ast
import contextlib
import functools
import hashlib
import importlib.metadata
import os
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

from trainwright_components.images import is_logical
from trainwright_pipelines.engine.cache import LIBRARIES, digest_of_path
from trainwright_pipelines.engine.isolation.python_source import python_source
from trainwright_pipelines.engine.requirements import parse_requirement, wanted_packages

ABSENT = "absent"
CONTENT = "content "
"""Before the digest of code that belongs to no installed package, such as an editable one."""
_OF_OURS = sorted({each.removesuffix("-cpu").replace("-", "_") for each in LIBRARIES})
_KNOWN_OF_OURS = ("kfp", "trainwright_components")  # the one hands values over and computes none, the other is `code`
_DIGEST_CHARS = 12
_MAX_CODE_BYTES = 1 << 30  # more is read too slowly for each run, and is data beside the code


@dataclass(kw_only=True)
class Libraries:
    """What this Python finds for the code of each component; looked at again once `pip` has changed anything."""

    _known: dict[tuple[object, ...], Mapping[str, Path | str]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def of_step(self, container: Mapping[str, Any]) -> dict[str, str]:
        """Packages with their versions, and modules with their content, that a step imports; of a program nothing.

        Raises:
            NotCacheable: The content of a module cannot be told.
            OSError: It cannot be read.
        """
        source = python_source(container)
        if source is None:
            return {}
        wanted = wanted_packages(container)
        own, names = _names(wanted.missing), imported_names(source.source)
        if is_logical(str(container.get("image") or "")):
            names = *_OF_OURS, *(each for each in names if each.partition(".")[0] not in _KNOWN_OF_OURS)
        asked = (*_moments(sys.path), *names)
        with self._lock:
            if asked not in self._known:
                self._known[asked] = dict(_find(names))
            found = {name: each for name, each in self._known[asked].items() if name not in own}
        found |= dict(_installed(_names(wanted.requirements) - own))
        # A module that is being edited counts as it is when a step begins, and when it has ended.
        return {name: each if isinstance(each, str) else _content(each) for name, each in found.items()}


def _moments(folders: Iterable[str]) -> Iterator[int]:
    """When folders were changed last: whatever is installed gets an entry in one."""
    for folder in folders:
        with contextlib.suppress(OSError):
            yield os.stat(folder).st_mtime_ns  # noqa: PTH116  for each step


def _names(requirements: Iterable[str]) -> set[str]:
    """The packages that requirements call by name."""
    return {canonicalize_name(each.name) for each in map(parse_requirement, requirements) if each}


def _installed(names: Iterable[str]) -> Iterator[tuple[str, str]]:
    """What a component asks for and finds here, such as an engine of pandas: its code need not import it."""
    for name in names:
        package = importlib.metadata.distribution(name)
        yield name, f"{package.version} {_code_digest((package.read_text('RECORD') or '').encode())}"


@functools.lru_cache
def imported_names(source: str) -> tuple[str, ...]:
    """What code imports beside the standard library, in full, such as `google.cloud.storage`."""
    try:
        parts = list(ast.walk(ast.parse(source)))
    except (SyntaxError, ValueError, RecursionError):
        return ()  # the step will say so
    names = [alias.name for each in parts if isinstance(each, ast.Import) for alias in each.names]
    for each in parts:
        if isinstance(each, ast.ImportFrom) and each.module and not each.level:
            names += [f"{each.module}.{alias.name}" for alias in each.names]
    return tuple(sorted({name for name in names if name.partition(".")[0] not in sys.stdlib_module_names}))


def _find(names: Iterable[str]) -> Iterator[tuple[str, Path | str]]:
    """By name: the version of a package, the place of code that belongs to none, or that there is nothing."""
    seen = set()
    for name in names:
        top, place = name.partition(".")[0], _locate(name)
        if place is None:
            yield top, ABSENT
        elif place not in seen:
            seen.add(place)
            file, _ = place
            yield _package_of(*place) or (top, file.parent if file.name == "__init__.py" else file)


def _locate(name: str) -> tuple[Path, Path] | None:
    """The file of a module, or of the first package on the way to it, with the folder that it was found in."""
    first, *others = name.split(".")
    found = _spec(first)
    depth = 0
    while found is not None and found.origin is None and others:  # a namespace, which several packages share
        found = PathFinder.find_spec(f"{found.name}.{others.pop(0)}", found.submodule_search_locations)
        depth += 1
    if found is None or found.origin is None or not (origin := Path(found.origin)).exists():
        return None
    return origin, origin.parents[depth + (found.submodule_search_locations is not None)]


def _spec(name: str) -> ModuleSpec | None:
    """Where a new process finds a module; `find_spec` of importlib would tell what this one has loaded by that name."""
    for finder in sys.meta_path:
        with contextlib.suppress(ImportError, AttributeError):  # of those before Python 3.4
            if (found := finder.find_spec(name, None)) is not None:
                return found
    return None


def _package_of(origin: Path, folder: Path) -> tuple[str, str] | None:
    """The installed package that a file belongs to, and what it is: its version with a digest of its code.

    `importlib.metadata.packages_distributions` reads the lists of all packages, which takes most of a second.
    """
    file = origin.relative_to(folder)
    top = file.parts[0].partition(".")[0]
    infos = [each for each in folder.iterdir() if each.name.endswith((".dist-info", ".egg-info"))]
    for info in sorted(infos, key=lambda each: not canonicalize_name(each.name).startswith(canonicalize_name(top))):
        name, _, version = info.name.rpartition(".")[0].partition("-")
        record = _read(info / "RECORD")
        is_listed = b"\n%s," % file.as_posix().encode() in b"\n" + record
        # Debian leaves no RECORD. Beside code that is being worked on, setuptools puts a folder without a version.
        if is_listed or (not record and version and top.encode() in _read(info / "top_level.txt").split()):
            return canonicalize_name(name), f"{version} {_code_digest(record)}"
    return None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return b""


def _code_digest(record: bytes) -> str:
    """Of the hashes of all files; without what pip and uv write beside them."""
    lines = [each for each in record.splitlines() if b",sha256=" in each and b".dist-info/" not in each]
    return hashlib.sha256(b"\n".join(sorted(lines))).hexdigest()[:_DIGEST_CHARS]


def _content(path: Path) -> str:
    return f"{CONTENT}{digest_of_path(path, max_bytes=_MAX_CODE_BYTES)[:_DIGEST_CHARS]}"


def describe_change(name: str, before: str | None, now: str | None) -> str:
    """What a person reads of two of the same name."""
    if before is None or now is None:
        return f"{name} is {'new' if before is None else 'not there any more'} among what it imports"
    one, other = _words(before), _words(now)
    if one != other:
        return f"{name} {one} became {other}"
    if before.startswith(CONTENT):
        return f"the code of the module {name!r} changed"
    return f"{name} {one} was installed with other content"


def _words(value: str) -> str:
    if value == ABSENT:
        return "(not installed)"
    return "(code in a folder)" if value.startswith(CONTENT) else value.partition(" ")[0]
