"""What nobody needs any more in the folder of state and where temporary files go: found, measured, removed.

A file that is younger than an hour may belong to what is just being made, and stays.
"""

import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from trainwright_components.cluster.launchers.docker_command import remove_containers
from trainwright_components.home import Home
from trainwright_components.processes.locks import LockTaken, is_locked, locked
from trainwright_components.processes.orphans import is_orphan
from trainwright_components.saved_models.versions import LOCK_NAME, STAGE_PREFIX, WITHDRAWN_PREFIX
from trainwright_pipelines.engine.contract import StepFolder
from trainwright_pipelines.engine.downloads import FOLDER as DOWNLOADS
from trainwright_pipelines.engine.downloads import LOCK_SUFFIX, remove_download
from trainwright_pipelines.engine.isolation.container_engine import find_left_containers
from trainwright_pipelines.engine.leases import is_held
from trainwright_pipelines.engine.own_python import COMPLETE
from trainwright_pipelines.engine.retention import size_of
from trainwright_pipelines.engine.runs import SPEC_NAME
from trainwright_pipelines.engine.store import Store
from trainwright_pipelines.engine.volumes import MEMORY

KINDS = ("runs", "containers", "cache", "environments", "models", "temporary")
DEFAULT_UNUSED_FOR = timedelta(days=30)
EXPORT_PREFIX = ".export-"

_YOUNG_S = 3600.0
_IDLE_S = 86_400.0
_SHORT_FOLDER = Path("/tmp")  # noqa: S108  where warm processes put their sockets when TMPDIR is long


@dataclass(frozen=True, kw_only=True)
class Leftover:
    """A file, folder or container that nobody needs."""

    kind: str
    path: Path
    """Of a container its name."""
    why: str
    size_bytes: int
    program: str = ""
    """Of a container, what knows it: `docker` or `podman`."""


def find_leftovers(
    store: Store, home: Home, *, stale_entries: Iterable[Path] = (), unused_for: timedelta = DEFAULT_UNUSED_FOR
) -> Iterator[Leftover]:
    """All that can go. `stale_entries` are compiled pipelines that no run would take any more.

    Args:
        store: The record of runs.
        home: The folder of state.
        stale_entries: Files of `home.compiled`.
        unused_for: How long an environment or a download was not used that may go, and the report of a fault not
            looked at.
    """
    yield from _of_runs(store, home)
    for name, program in find_left_containers(store.home).items():
        why = "of a run whose process was killed"
        yield Leftover(kind="containers", path=Path(name), why=why, size_bytes=0, program=program)
    for entry in stale_entries:
        yield _leftover("cache", entry, "what it was compiled from has changed")
    yield from _environments(home.root / "environments", unused_for)
    yield from _downloads(home.root / DOWNLOADS, unused_for)
    for name in (STAGE_PREFIX, WITHDRAWN_PREFIX):
        for each in home.models.glob(f"*/{name}*"):
            if _is_older(each, _YOUNG_S) and not is_locked(each.parent / LOCK_NAME):
                yield _leftover("models", each, "a version that was being published or withdrawn")
    for each in (home.root / "errors").glob("trainwright-*.txt"):
        if _is_older(each, unused_for.total_seconds()):
            yield _leftover("temporary", each, "the report of an old fault")
    yield from _temporary()


def remove_leftover(each: Leftover) -> bool:
    """Remove it; False where it has come into use, or may not be removed."""
    if each.kind == "containers":
        remove_containers([str(each.path)], program=each.program)
        return True
    if each.path.parent.name == DOWNLOADS:
        remove_download(each.path)
        return not os.path.lexists(each.path)
    if each.kind != "environments":
        return _remove(each.path)
    try:
        with locked(_lock_of(each.path), timeout_s=0):
            return _remove(each.path)
    except LockTaken:  # a step is just installing into it
        return False


def _remove(path: Path) -> bool:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()
    return not os.path.lexists(path)


def _leftover(kind: str, path: Path, why: str) -> Leftover:
    return Leftover(kind=kind, path=path, why=why, size_bytes=size_of(path))


def _of_runs(store: Store, home: Home) -> Iterator[Leftover]:
    known, used = store.run_ids(), {Path(uri) for uri in store.used_locations()}
    for folder in sorted(home.runs.glob("*")):
        if folder.name not in known:
            if _is_older(folder, _YOUNG_S) and not _is_whole(folder):
                for path in _unused_below(folder, used):
                    yield _leftover("runs", path, "of a run that is no longer on record")
        elif not is_held(store.engine, folder.name):
            for path in _left_in(folder, store):
                yield _leftover("runs", path, "left by a step that was killed")
    for path in home.root.glob(f"{EXPORT_PREFIX}*"):
        if _is_older(path, _YOUNG_S):
            yield _leftover("runs", path, "an export that was killed")


def _is_whole(folder: Path) -> bool:
    """Whether it holds all of a run, which another record may know: one that was moved away, or is put back."""
    return (folder / SPEC_NAME).exists() and (folder / "steps").is_dir()


def _unused_below(path: Path, used: set[Path]) -> Iterator[Path]:
    """The topmost files and folders from `path` on that hold nothing of `used`."""
    if path in used:
        return
    if not any(each.is_relative_to(path) for each in used):
        yield path
    elif path.is_dir():
        for below in sorted(path.iterdir()):
            yield from _unused_below(below, used)


def _left_in(folder: Path, store: Store) -> Iterator[Path]:
    scratch = [StepFolder(task.folder).scratch for task in store.tasks(folder.name) if task.folder is not None]
    half = [each for each in folder.glob(".*") if each.is_file()]
    for path in [*scratch, *folder.glob("reruns/*/tmp"), *half]:
        if path.exists() and _is_older(path, _YOUNG_S):
            yield path


def _environments(folder: Path, unused_for: timedelta) -> Iterator[Leftover]:
    for each in sorted(folder.glob("*")):
        if not each.is_dir() or is_locked(_lock_of(each)):
            continue
        if not (each / COMPLETE).exists():
            yield _leftover("environments", each, "packages were only half installed")
        elif _is_older(each / COMPLETE, unused_for.total_seconds()):
            yield _leftover("environments", each, f"no step used it for {unused_for.days} days")


def _downloads(folder: Path, unused_for: timedelta) -> Iterator[Leftover]:
    for each in sorted(each for each in folder.glob("*") if each.suffix != LOCK_SUFFIX):
        if each.name.startswith(".") and _is_older(each, _YOUNG_S):
            yield _leftover("cache", each, "a download that was killed")
        elif not each.name.startswith(".") and _is_older(each, unused_for.total_seconds()):
            yield _leftover("cache", each, f"no step read it for {unused_for.days} days")


def _lock_of(environment: Path) -> Path:
    return environment.with_suffix(".lock")


def _temporary() -> Iterator[Leftover]:
    for place in dict.fromkeys((Path(tempfile.gettempdir()), _SHORT_FOLDER, MEMORY)):
        for each in sorted(place.glob("trainwright-*")):
            if _is_ours(each) and is_orphan(each, idle_s=_IDLE_S):
                yield _leftover("temporary", each, "its process was killed")


def _is_ours(path: Path) -> bool:
    with suppress(OSError):
        status = path.lstat()
        return status.st_uid == os.getuid() and stat.S_ISDIR(status.st_mode)
    return False


def _is_older(path: Path, seconds: float) -> bool:
    with suppress(OSError):
        return time.time() - path.lstat().st_mtime > seconds
    return False
