"""Artifacts that lie elsewhere, for steps that read them here: downloaded once for each content of an address.

KFP's launcher downloads all input artifacts before a step runs (downloadArtifacts in
backend/src/v2/component/launcher_v2.go), to the path below /gcs or /s3 that kfp makes of the address. No process can
have a folder there, so a step gets the path of the copy, while the address stays what it was.
"""

import functools
import hashlib
import json
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from trainwright_components.errors import InvalidSetting, RunFailed
from trainwright_components.processes.locks import locked
from trainwright_components.storage.addresses import base_name, is_remote, plain
from trainwright_components.storage.copies import cloud_storage_of, content_marks, fetch
from trainwright_components.storage.protocol import Storage
from trainwright_pipelines.engine.records import Artifact, Values
from trainwright_pipelines.ir.placeholders import local_path

FOLDER = "downloads"
"""In the home. What is in it may be removed whenever nothing runs."""
LOCK_SUFFIX = ".lock"
_READ_ONLY = ~0o222
_TELLS_AFTER_S = 5.0
_CHECKS_EVERY_S = 0.2

_Result = TypeVar("_Result")


def downloaded(values: Values) -> Iterator[Artifact]:
    """The input artifacts of a step that are downloaded for it; not what is there already, as below a mounted /gcs."""
    for found in values.artifacts.values():
        for artifact in found:
            if cloud_storage_of(artifact.uri) is not None and not Path(local_path(artifact.uri)).exists():
                yield artifact


def beyond_reach(values: Values) -> Iterator[str]:
    """A warning for each input of a step that lies where nothing is downloaded from, such as an `oci://` registry."""
    for name, found in values.artifacts.items():
        for artifact in found:
            if is_remote(plain(artifact.uri)) and cloud_storage_of(artifact.uri) is None:
                yield (
                    f"its input {name!r} is not here: nothing is downloaded from {artifact.uri}, so that the step "
                    "finds nothing at its path"
                )


def with_digests(
    values: Values, *, check: Callable[[], object] = lambda: None, tell: Callable[[str], object] = lambda _: None
) -> Values:
    """`values` with what their addresses hold now as digests of the artifacts that lie elsewhere.

    `check` may raise what ends the wait, as for a run that is stopped; `tell` is told, from another thread, what takes
    a while.

    Raises:
        InvalidSetting: Nothing is at an address, or it may not be read.
        TargetUnavailable: A storage cannot be reached.
    """
    digests: dict[str, str] = {}
    for artifact in downloaded(values):
        with _told_when_slow(artifact.uri, tell):
            digests[artifact.id] = _unless(check, functools.partial(digest_of_address, artifact.uri))
    artifacts = {
        name: tuple(replace(each, digest=digests.get(each.id, each.digest)) for each in found)
        for name, found in values.artifacts.items()
    }
    return replace(values, artifacts=artifacts)


@contextmanager
def _told_when_slow(uri: str, tell: Callable[[str], object]) -> Iterator[None]:
    """Say what is waited for: Google's client tries for two minutes to reach a storage that is away."""
    timer = threading.Timer(_TELLS_AFTER_S, tell, [f"waiting for {uri}: it is large, or cannot be reached"])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()  # what it tells is of the time before


def _unless(check: Callable[[], object], ask: Callable[[], _Result]) -> _Result:
    """What `ask` gives, unless `check` raises first, again and again meanwhile.

    It then ends by itself in a thread that no process waits for: clients try for minutes to reach a storage that is
    away, and cannot be stopped.
    """
    asked: Future[_Result] = Future()

    def work() -> None:
        try:
            asked.set_result(ask())
        except BaseException as error:
            asked.set_exception(error)

    threading.Thread(target=work, name="storage", daemon=True).start()
    while not wait([asked], timeout=_CHECKS_EVERY_S).done:
        check()
    return asked.result()


def digest_of_address(uri: str) -> str:
    """What is another once the content at an address is.

    Raises:
        InvalidSetting: Nothing is there, or it may not be read.
        TargetUnavailable: The storage cannot be reached.
    """
    marks = content_marks(_storage_of(uri), uri)
    return hashlib.sha256(json.dumps([uri, marks], sort_keys=True).encode()).hexdigest()


def _storage_of(uri: str) -> Storage:
    storage = cloud_storage_of(uri)
    if storage is None:
        raise InvalidSetting(f"no storage is known for {uri}")
    return storage


def download(
    uri: str,
    folder: Path,
    *,
    check: Callable[[], object] = lambda: None,
    tell: Callable[[str], object] = lambda _: None,
) -> Path:
    """The path of a copy of what is at `uri` now, below `folder`; steps share it and cannot write to it.

    `check` and `tell` are as in `with_digests`.

    Raises:
        InvalidSetting: Nothing is there, or it may not be read.
        RunFailed: It changed while it was downloaded.
        TargetUnavailable: The storage cannot be reached.
    """
    with _told_when_slow(uri, tell):
        return _unless(check, lambda: _download(uri, folder, check=check))


def _download(uri: str, folder: Path, *, check: Callable[[], object]) -> Path:
    digest = digest_of_address(uri)
    target, name = folder / digest[:32], base_name(uri)
    with locked(target.with_suffix(LOCK_SUFFIX), check=check):  # a second step that reads the same waits for it
        if target.is_dir():
            os.utime(target)  # it is still of use
            return target / name
        partial = Path(tempfile.mkdtemp(dir=folder, prefix=f".{digest[:8]}-"))
        try:
            fetch(_storage_of(uri), uri, partial / name, check=check)
            if digest_of_address(uri) != digest:
                raise RunFailed(f"{uri} changed while it was downloaded; run the step again")
            _protect(partial / name)
            partial.rename(target)
        finally:
            if partial.exists():
                remove_download(partial)
    return target / name


def _protect(path: Path) -> None:
    for root, _, names in os.walk(path, topdown=False):
        for each in [Path(root, name) for name in names] + [Path(root)]:
            each.chmod(each.stat().st_mode & _READ_ONLY)
    if path.is_file():
        path.chmod(path.stat().st_mode & _READ_ONLY)


def remove_download(folder: Path) -> None:
    """Remove a copy, which cannot be written to."""
    for root, _, _ in os.walk(folder):
        Path(root).chmod(0o755)
    shutil.rmtree(folder)
