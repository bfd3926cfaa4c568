"""Volumes of a step without a container: folders of this machine in place of mount paths.

A process cannot mount, so the mount paths in its code, arguments, variables and parameters are replaced by the folders.
"""

import os
import posixpath
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainwright_components.processes.orphans import owned_folder
from trainwright_components.storage.addresses import FILE_SCHEME

_BORDERS = re.compile(r"""([\s,;"'`]+|:(?!//))""")
_ANOTHER_PATH = re.compile(rf"""[\s,;:"'`=](?:{FILE_SCHEME})?/(?!/)""")
_BEFORE_PATH = r"(?:(?<=file://)|(?<![\w./@+~%})\]*-]))"
VOLUMES_NAME = "volumes"
"""The folder of a step, and of a home, that holds them."""
MEMORY = Path("/dev/shm")  # noqa: S108  its folders are private
CREATE_IMAGE, DELETE_IMAGE = CLAIM_IMAGES = ("argostub/createpvc", "argostub/deletepvc")


@dataclass(frozen=True, kw_only=True)
class Volumes:
    """What a step wants mounted, by mount path."""

    lasting: Mapping[str, str] = field(default_factory=dict)
    """Claims: a name, and perhaps a path inside."""
    passing: tuple[str, ...] = ()
    """Empty folders, gone with the step."""
    files: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Keys and values of secrets and config maps, gone with the step."""

    def holds(self, value: Any) -> bool:
        """Whether `value` is a mount path, or a path below one."""
        folders = dict.fromkeys([*self.lasting, *self.passing, *self.files], Path())
        return isinstance(value, str) and place_path(value, folders) is not None

    def make(self, lasting: Path, passing: Path, secret: Path | None = None) -> dict[str, Path]:
        """Make the folders below `lasting`, `passing` and, for files, `secret`; the folder of each mount path."""
        folders = {mount: lasting / name for mount, name in self.lasting.items()}
        folders |= {mount: passing / str(number) for number, mount in enumerate(self.passing)}
        first = len(self.passing)
        folders |= {mount: (secret or passing) / str(number) for number, mount in enumerate(self.files, first)}
        for folder in folders.values():
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for mount, files in self.files.items():
            for name, content in files.items():
                (folders[mount] / name).touch(mode=0o600)
                (folders[mount] / name).write_text(content)
        return folders


NO_VOLUMES = Volumes()


@contextmanager
def folder_in_memory() -> Iterator[Path]:
    """A folder that is on no disk, where the machine has such; what killed processes left goes at the next use."""
    place = MEMORY if MEMORY.is_dir() and os.access(MEMORY, os.W_OK) else None
    with owned_folder("trainwright-secrets-", place) as folder:
        yield folder


def _rest_below(path: str, mount: str) -> str | None:
    """What follows the mount path in `path`, empty or with its slash; None for a path that lies elsewhere."""
    root = _normal(mount)
    if root == "/" or not path.startswith("/"):
        return None
    if path.startswith(f"{root}/") and ".." not in path.split("/"):
        return path[len(root) :]
    plain = _normal(path)
    if plain != root and not plain.startswith(f"{root}/"):
        return None
    return plain[len(root) :] + ("/" if path.endswith("/") else "")


def _normal(path: str) -> str:
    return posixpath.normpath("/" + path.lstrip("/"))  # two leading slashes would stay


def place_path(path: str, folders: Mapping[str, Path]) -> str | None:
    """Where a path, or its `file://` URI, lies here when it is a mount path or lies below one; else None."""
    scheme = FILE_SCHEME if path.startswith(FILE_SCHEME) else ""
    for mount in sorted(folders, key=lambda each: len(_normal(each)), reverse=True):
        rest = _rest_below(path.removeprefix(scheme), mount)
        if rest is not None:
            return f"{scheme}{folders[mount]}{rest}"
    return None


def place_values(value: Any, folders: Mapping[str, Path]) -> Any:
    """`value` with all paths in its texts that are below mount paths as they are here."""
    if isinstance(value, str):
        return replace_mounts(value, folders)
    if isinstance(value, Mapping):
        return {place_values(key, folders): place_values(each, folders) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [place_values(each, folders) for each in value]
    return value


def mounted_values(value: Any, folders: Mapping[str, Path]) -> Any:
    """`value` with all paths in its texts that are below the folders as a container sees them: at their mount paths."""
    mounts = {mount: folder for mount, folder in folders.items() if _normal(mount) != "/"}
    inverse = {str(name): Path(_normal(mount)) for mount, each in mounts.items() for name in (each.resolve(), each)}
    return place_values(value, inverse)


def replace_mounts(text: str, folders: Mapping[str, Path]) -> str:
    """`text` with each mount path, where it stands for itself or begins a longer path, replaced by its folder."""
    if ".." in text.split("/") and text.startswith(("/", FILE_SCHEME)) and not _ANOTHER_PATH.search(text):
        return place_path(text, folders) or text
    named = {mount.rstrip("/"): folder for mount, folder in folders.items() if mount.rstrip("/")}
    if not named:
        return text
    longest_first = "|".join(map(re.escape, sorted(named, key=len, reverse=True)))
    pattern = re.compile(rf"{_BEFORE_PATH}({longest_first})(?![\w.@+~%-])")

    def place(part: str) -> str:
        placed = place_path(part, folders)
        if placed is None and not (part.startswith("/") and ".." in part.split("/")):
            placed = pattern.sub(lambda match: str(named[match[1]]), part)
        return part if placed is None else placed

    return "".join(map(place, _BORDERS.split(text)))


def change_claim(image: str, inputs: Mapping[str, Any], *, lasting: Path, run: str) -> str | None:
    """Do what the CreatePVC and DeletePVC components of kfp-kubernetes do; the claim's name, None for other images."""
    if image == CREATE_IMAGE:
        name = str(inputs.get("pvc_name") or f"{run}{inputs.get('pvc_name_suffix') or ''}")
        (lasting / name).mkdir(parents=True, exist_ok=True)
        return name
    if image == DELETE_IMAGE:
        name = str(inputs.get("pvc_name") or "")
        if name and Path(name).name == name:
            shutil.rmtree(lasting / name, ignore_errors=True)
        return name
    return None
