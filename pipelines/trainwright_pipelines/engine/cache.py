"""When a step's earlier results can stand for a new one: same interface, same program, same content of all inputs."""

import glob
import hashlib
import importlib.metadata
import itertools
import json
import os
import platform
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import trainwright_components
from trainwright_components.files import STORE_NAME, content_digest
from trainwright_components.images import is_logical
from trainwright_components.reuse import NEVER_REUSED, states
from trainwright_components.saved_models.history import HISTORY_NAME, last_published
from trainwright_components.storage.addresses import plain
from trainwright_pipelines.engine.records import Artifact, Values
from trainwright_pipelines.engine.requirements import local_place, wanted_packages
from trainwright_pipelines.engine.volumes import NO_VOLUMES, Volumes
from trainwright_pipelines.ir.spec import Component, TaskSpec

LIBRARIES = ("keras", "numpy", "tensorflow", "tensorflow-cpu", "tf-keras")
_MAX_FILES = 100_000
_MAX_BYTES = 200 << 30
_SHOWN_CHARS = 80
_BETWEEN_PATHS = re.compile(r"[,;]|:(?!//)")
_PATH_IN_TEXT = re.compile(r"""(?:(?<=file://)|(?<![\w./:~-]))/[^\s"'`()\[\]{}<>|&=]+""")


class NotCacheable(Exception):
    """Why a step must run whatever happened before, such as an input whose content cannot be told."""


@dataclass(frozen=True, kw_only=True)
class Fingerprint:
    """What two steps have alike that may stand for each other: a digest of all of it, and one of each part by name.

    The parts are `interface`, `image`, `isolation`, `given`, `volumes.MOUNT`, then `key` where the pipeline's author
    chose one, else `program`, `env`, `parameters.NAME`, `undeclared`, `artifacts.NAME`, `code`, `packages` and
    `libraries.NAME`, which are no digests.
    """

    key: str
    parts: Mapping[str, str]


def take_fingerprint(
    task: TaskSpec,
    component: Component,
    container: Mapping[str, Any],
    inputs: Values,
    *,
    code_digest: str,
    find_libraries: Callable[[], Mapping[str, str]] = dict,
    image_id: str = "",
    volumes: Volumes = NO_VOLUMES,
    given: Mapping[str, str] = MappingProxyType({}),
    lasting: Path = Path(),
) -> Fingerprint:
    """What the results of a step depend on.

    `code_digest` stands for the code in our own images, see `components_code`; `find_libraries` gives the packages that
    the step finds in this environment, see `Libraries`; claims that it mounts are folders below `lasting`. A step that
    writes to its claim has another key afterwards, so it is never remembered. `given` are variables from secrets and
    config maps: only a digest that is slow to try values with is recorded of them. `image_id` is the image whose
    container the step runs in. A process is not its image: it is another Python, with other packages, so that neither
    stands for the other.

    Raises:
        NotCacheable: It must run whatever happened before.
    """
    if states(container, NEVER_REUSED):
        raise NotCacheable("its component is never reused")
    if not task.enables_cache:
        raise NotCacheable("the pipeline switches caching off for it")
    is_ours = is_logical(str(container.get("image") or ""))
    declared = {name: value for name, value in inputs.parameters.items() if name in component.input_parameters}
    # Parts of texts, and what an image or resources are made of: the step does not read what they name.
    undeclared = {name: value for name, value in inputs.parameters.items() if name not in declared}
    try:
        content: dict[str, Any] = {
            "interface": component.interface,
            "image": container.get("image"),
            "isolation": image_id or ("" if is_ours else f"process of Python {platform.python_version()}"),
            "given": _secret_digest([dict(given), {mount: dict(files) for mount, files in volumes.files.items()}]),
            "claims": {mount: [name, _generation(lasting / name)] for mount, name in volumes.lasting.items()},
        }
        if task.cache_key:
            content["key"] = task.cache_key
        else:
            content |= {
                "program": {name: container.get(name) for name in ("command", "args", "env")},
                "parameters": _parameter(declared, volumes),
                "undeclared": undeclared,
                "artifacts": {
                    name: [_artifact(each) for each in artifacts] for name, artifacts in inputs.artifacts.items()
                },
                "code": code_digest if is_ours and not image_id else "",
            }
            if packages := {} if image_id else _local_packages(container):
                content["packages"] = packages
            if libraries := {} if image_id else find_libraries():
                content["libraries"] = libraries
    except (NotCacheable, OSError) as error:
        reason = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else str(error)
        raise NotCacheable(f"the content of an input cannot be told: {reason}") from error
    return Fingerprint(key=_digest(content), parts=dict(_parts(content, list(declared))))


def _local_packages(container: Mapping[str, Any]) -> dict[str, str]:
    """The content of the packages that a component takes from files of this machine."""
    places = {each: local_place(each) for each in wanted_packages(container).requirements}
    return {each: digest_of_path(path) for each, path in places.items() if path is not None}


def _parts(content: Mapping[str, Any], parameters: list[str]) -> Iterator[tuple[str, str]]:
    for name, part in content.items():
        match name:
            case "program":
                yield "program", _digest([part["command"], part["args"]])
                yield "env", _digest(part["env"])
            case "parameters":
                values = [value for _, value in part["items"]]
                named: dict[str, Any] = dict(zip(sorted(parameters), values, strict=True))
                yield from ((f"{name}.{each}", _digest(value)) for each, value in named.items())
            case "artifacts":
                yield from ((f"{name}.{each}", _digest(value)) for each, value in part.items())
            case "libraries":
                yield from ((f"{name}.{each}", value) for each, value in part.items())
            case "claims":
                yield from ((f"volumes.{each}", _digest(value)) for each, value in part.items())
            case _:
                yield name, _digest(part)


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _secret_digest(given: list[dict[str, Any]]) -> Any:
    """A digest from which a short secret is not soon guessed by trying all; nothing where nothing is given."""
    if not any(given):
        return given
    text = json.dumps(given, sort_keys=True).encode()
    return hashlib.scrypt(text, salt=b"trainwright", n=1 << 14, r=8, p=1, dklen=32).hex()


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
    versions = [f"{name} {_version(name)}" for name in LIBRARIES]
    return hashlib.sha256("\n".join([components_code(), *versions]).encode()).hexdigest()


def components_code() -> str:
    """Digest of this installation's components, and of the Python that runs them."""
    return _components_code(Path(trainwright_components.__file__).parent)


def _components_code(package: Path) -> str:
    content = [content_digest(package), platform.python_version()]
    return hashlib.sha256("\n".join(content).encode()).hexdigest()


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "absent"


def local_content(value: Any) -> Path | None:
    """The file or folder that a text parameter names, if it is an absolute path of one, or its `file://` URI."""
    path = plain(value) if isinstance(value, str) else ""
    if not path.startswith("/") or not path.strip("/"):  # a lone slash is a separator, not all of the disk
        return None
    try:
        return Path(path) if Path(path).exists() else None
    except (OSError, ValueError):  # too long for a path, or with a null character
        return None


def digest_of_path(path: Path, *, max_bytes: int = _MAX_BYTES) -> str:
    """SHA-256 of a file, or of all that lies below a folder: hidden, linked and empty, but for `__pycache__`.

    Of a folder of deployments, what is hidden is the history of the versions: only the last published one counts, so
    that serving a model again changes nothing. Folders of state are left out, see `files_below`.

    Raises:
        NotCacheable: It holds something other than files and folders, or too much.
    """
    if not path.is_dir():
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise NotCacheable(f"{path} is neither a file nor a folder")
        if found.st_size > max_bytes:
            raise NotCacheable(f"{path} is larger than {max_bytes >> 30} GiB")
        return content_digest(path)
    entries = sorted(_walk(path, leaves_state_out=True))
    if any(stat.S_IFMT(status.st_mode) not in (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK) for _, status in entries):
        raise NotCacheable(f"{path} holds something other than files and folders")
    if sum(status.st_size for _, status in entries if stat.S_ISREG(status.st_mode)) > max_bytes:
        raise NotCacheable(f"{path} is larger than {max_bytes >> 30} GiB")
    lines = [f"{os.fsencode(each.relative_to(path))!r} {_content(each, status)}" for each, status in entries]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _content(path: Path, status: os.stat_result) -> str:
    if stat.S_ISDIR(status.st_mode):
        return "folder"
    if stat.S_ISLNK(status.st_mode):
        return f"link {os.fsencode(path.readlink())!r}"
    if path.name == HISTORY_NAME:
        try:
            return f"published {last_published(path.read_text())}"
        except ValueError:
            pass  # counts as any other file
    return content_digest(path)


def _parameter(value: Any, volumes: Volumes) -> Any:
    """The value, and the content of each path in it; what lies below a mount path is in the claim's generation."""
    if isinstance(value, Mapping):
        return {"items": [[_parameter(key, volumes), _parameter(value[key], volumes)] for key in sorted(value)]}
    if isinstance(value, list | tuple):
        return [_parameter(each, volumes) for each in value]
    content = _named_content(value, volumes) if isinstance(value, str) else {}
    return {"value": value} | ({"content": content} if content else {})


def _named_content(text: str, volumes: Volumes) -> dict[str, Any]:
    """The content of what a text names: a path, paths between commas, colons or semicolons, patterns, JSON with such.

    Raises:
        NotCacheable: It names a path in another way.
    """
    whole = None if volumes.holds(text) else local_content(text)
    if whole is not None:
        return {text: digest_of_path(whole)}
    if text.lstrip()[:1] in ("{", "[", '"'):
        try:
            return {"json": _parameter(json.loads(text), volumes)}
        except (ValueError, RecursionError):
            pass  # text like any other
    found: dict[str, Any] = {}
    for part in map(str.strip, _BETWEEN_PATHS.split(text)):
        if volumes.holds(part):
            continue
        path, named = local_content(part), plain(part)
        if path is not None:
            found[part] = digest_of_path(path)
        elif named.startswith("/") and glob.has_magic(named):
            found[part] = {str(each): digest_of_path(each) for each in _matches(named)}
        elif any(local_content(each.rstrip(".?!")) for each in _PATH_IN_TEXT.findall(part) if not volumes.holds(each)):
            raise NotCacheable(f"a path stands among other text in {part[:_SHOWN_CHARS]!r}")
    return found


def paths_in(value: Any, volumes: Volumes = NO_VOLUMES) -> Iterator[Path]:
    """What the texts inside `value` name of this machine in any way; of a pattern the folder that it starts at."""
    if isinstance(value, Mapping | list | tuple):
        for each in [*value.keys(), *value.values()] if isinstance(value, Mapping) else value:
            yield from paths_in(each, volumes)
        return
    if not isinstance(value, str) or volumes.holds(value):
        return
    whole = local_content(value)
    parts = () if whole is not None else map(str.strip, _BETWEEN_PATHS.split(value))
    named = [value, *parts, *(each.rstrip(".?!\"',:;") for each in _PATH_IN_TEXT.findall(value))]
    for part in named:
        fixed = plain(part)
        if fixed.startswith("/") and glob.has_magic(fixed):
            fixed = re.split(r"[*?\[]", fixed)[0].rpartition("/")[0]
        found = None if volumes.holds(part) else local_content(fixed)
        if found is not None:
            yield found


def _matches(pattern: str) -> list[Path]:
    try:
        found = list(itertools.islice(Path("/").glob(pattern.lstrip("/")), _MAX_FILES + 1))
    except ValueError as error:
        raise NotCacheable(f"{pattern} is not a pattern of paths") from error
    if len(found) > _MAX_FILES:
        raise NotCacheable(f"{pattern} matches more than {_MAX_FILES:,} files")
    return sorted(found)


def _generation(claim: Path) -> str:
    """Changes with whatever is written below `claim`, even the same bytes again: a file's change time cannot be set.

    Raises:
        NotCacheable: There are too many files.
    """
    lines = []
    for path, found in _walk(claim):
        content = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
        is_folder = stat.S_ISDIR(found.st_mode)
        lines.append(f"{os.fsencode(path.relative_to(claim))!r} {found.st_mode} {'' if is_folder else content}")
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()


def _walk(top: Path, *, leaves_state_out: bool = False) -> Iterator[tuple[Path, os.stat_result]]:
    """All that lies below `top`, also behind links; of a link that leads nowhere its own status.

    Raises:
        NotCacheable: There are too many files, or a link leads to a folder above itself.
    """
    count = 0
    for root, folders, names in os.walk(top, onerror=_raise, followlinks=True):
        if leaves_state_out:
            _leave_state_out(folders, names)
        for name in [*folders, *names]:
            path = Path(root, name)
            count += 1
            leads_up = name in folders and path.is_symlink() and Path(root).resolve().is_relative_to(path.resolve())
            if count > _MAX_FILES:
                raise NotCacheable(f"{top} holds more than {_MAX_FILES:,} files")
            if leads_up:
                raise NotCacheable(f"{path} links to a folder above itself")
            yield path, path.stat() if path.exists() else path.lstat()


def _leave_state_out(folders: list[str], names: list[str]) -> None:
    if STORE_NAME in names:
        folders.clear()
        names.clear()
    folders[:] = [name for name in folders if name != "__pycache__"]
    if HISTORY_NAME in names:
        folders[:] = [name for name in folders if not name.startswith(".")]
        names[:] = [name for name in names if not name.startswith(".") or name == HISTORY_NAME]


def _raise(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):  # a claim that nobody has used is as good as an empty one
        raise error


def _artifact(artifact: Artifact) -> dict[str, Any]:
    where = {"uri": artifact.uri} if artifact.digest is None and artifact.path is None else {"digest": artifact.digest}
    return {"type": artifact.type, "metadata": dict(artifact.metadata), **where}
