"""When a step's earlier results can stand for a new one: same interface, same program, same content of all inputs."""

import hashlib
import importlib.metadata
import json
import os
import platform
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import trainwright_components
from trainwright_components.files import content_digest, files_below
from trainwright_components.images import is_logical
from trainwright_pipelines.engine.launch import function_name
from trainwright_pipelines.engine.records import Artifact, State, Task, Values
from trainwright_pipelines.engine.spec import Component, TaskSpec
from trainwright_pipelines.engine.store import Store
from trainwright_pipelines.engine.volumes import NO_VOLUMES, Volumes

_ALWAYS_RUN = {"deploy_serving"}  # its effect is the server's state, not its outputs
_LIBRARIES = ("keras", "numpy", "tensorflow", "tensorflow-cpu", "tf-keras")
_MAX_FILES = 100_000
_MAX_BYTES = 200 << 30


class NotCacheable(Exception):
    """An input whose content cannot be told."""


def cache_key(
    task: TaskSpec,
    component: Component,
    container: Mapping[str, Any],
    inputs: Values,
    *,
    code_digest: str,
    volumes: Volumes = NO_VOLUMES,
    lasting: Path = Path(),
) -> str | None:
    """The key of a step, None when it must run whatever happened before.

    `code_digest` stands for the code in our own images, see `installed_code`; claims that the step mounts are folders
    below `lasting`. A step that writes to its claim has another key afterwards, so it is never remembered.
    """
    if not task.enables_cache or _must_run(component, container):
        return None
    try:
        content: dict[str, Any] = {
            "interface": component.interface,
            "image": container.get("image"),
            "claims": {mount: [name, _generation(lasting / name)] for mount, name in volumes.lasting.items()},
        }
        if task.cache_key:
            content["key"] = task.cache_key
        else:
            content |= {
                "program": {name: container.get(name) for name in ("command", "args", "env")},
                "parameters": _parameter(inputs.parameters, volumes),
                "artifacts": {
                    name: [_artifact(each) for each in artifacts] for name, artifacts in inputs.artifacts.items()
                },
                "code": code_digest if is_logical(str(container.get("image") or "")) else "",
            }
    except (NotCacheable, OSError):
        return None
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def find_cached(store: Store, key: str) -> Task | None:
    """The task with these results, if all its files are still there and unchanged."""
    task = store.cached_task(key)
    if task is None or task.state != State.SUCCEEDED:
        return None
    artifacts = [artifact for found in task.outputs.artifacts.values() for artifact in found]
    return task if all(is_unchanged(artifact) for artifact in artifacts) else None


def is_unchanged(artifact: Artifact) -> bool:
    """Whether what lies where the artifact points is what its digest says."""
    if artifact.digest is None or artifact.path is None:
        return True
    try:
        return artifact.path.exists() and content_digest(artifact.path) == artifact.digest
    except OSError:
        return False


def installed_code() -> str:
    """Digest of the code that our images carry: this installation's components, and the libraries under them."""
    return _installed_code(Path(trainwright_components.__file__).parent)


def _installed_code(package: Path) -> str:
    versions = [f"{name} {_version(name)}" for name in _LIBRARIES]
    content = [content_digest(package), platform.python_version(), *versions]
    return hashlib.sha256("\n".join(content).encode()).hexdigest()


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "absent"


def local_content(value: Any) -> Path | None:
    """The file or folder that a text parameter names, if it is an absolute path of one, or its `file://` URI."""
    path = value.removeprefix("file://") if isinstance(value, str) else ""
    if not path.startswith("/") or not path.strip("/"):  # a lone slash is a separator, not all of the disk
        return None
    try:
        return Path(path) if Path(path).exists() else None
    except (OSError, ValueError):  # too long for a path, or with a null character
        return None


def digest_of_path(path: Path, *, max_bytes: int = _MAX_BYTES) -> str:
    """SHA-256 of a file or folder.

    Raises:
        NotCacheable: It holds something other than files, or too much.
    """
    files, size_bytes = 0, 0
    for file in files_below(path) if path.is_dir() else [path]:
        status = file.stat()
        files, size_bytes = files + 1, size_bytes + status.st_size
        if not stat.S_ISREG(status.st_mode) or files > _MAX_FILES or size_bytes > max_bytes:
            raise NotCacheable(str(path))
    return content_digest(path)


def _must_run(component: Component, container: Mapping[str, Any]) -> bool:
    return function_name(component, container) in _ALWAYS_RUN


def _parameter(value: Any, volumes: Volumes) -> Any:
    """The value, and the content of each path in it; what lies below a mount path is in the claim's generation."""
    if isinstance(value, Mapping):
        return {"items": [[_parameter(key, volumes), _parameter(value[key], volumes)] for key in sorted(value)]}
    if isinstance(value, list | tuple):
        return [_parameter(each, volumes) for each in value]
    path = None if volumes.holds(value) else local_content(value)
    return {"value": value} | ({} if path is None else {"content": digest_of_path(path)})


def _generation(claim: Path) -> str:
    """Changes with whatever is written below `claim`, even the same bytes again: a file's change time cannot be set.

    Raises:
        NotCacheable: There are too many files.
    """
    lines = []
    for root, folders, names in os.walk(claim, onerror=_raise, followlinks=True):
        for name in [*folders, *names]:
            path = Path(root, name)
            found = path.stat() if path.exists() else path.lstat()
            content = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
            is_folder = stat.S_ISDIR(found.st_mode)
            lines.append(f"{os.fsencode(path.relative_to(claim))!r} {found.st_mode} {'' if is_folder else content}")
        if len(lines) > _MAX_FILES:
            raise NotCacheable(str(claim))
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()


def _raise(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):  # a claim that nobody has used is as good as an empty one
        raise error


def _artifact(artifact: Artifact) -> dict[str, Any]:
    where = {"uri": artifact.uri} if artifact.digest is None and artifact.path is None else {"digest": artifact.digest}
    return {"type": artifact.type, "metadata": dict(artifact.metadata), **where}
