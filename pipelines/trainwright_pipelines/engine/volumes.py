"""Volumes of a step without a container: folders of this machine in place of mount paths.

A process cannot mount, so the mount paths in its code, arguments and variables are replaced by the folders.
"""

import posixpath
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CREATE_IMAGE, DELETE_IMAGE = "argostub/createpvc", "argostub/deletepvc"


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
        mounts = [*self.lasting, *self.passing, *self.files]
        return isinstance(value, str) and any(_part_below(value, mount) is not None for mount in mounts)

    def make(self, lasting: Path, passing: Path) -> dict[str, Path]:
        """Make the folders below `lasting` and `passing`; the folder of each mount path."""
        folders = {mount: lasting / name for mount, name in self.lasting.items()}
        for number, mount in enumerate([*self.passing, *self.files]):
            folders[mount] = passing / str(number)
        for folder in folders.values():
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for mount, files in self.files.items():
            for name, content in files.items():
                (folders[mount] / name).touch(mode=0o600)
                (folders[mount] / name).write_text(content)
        return folders


NO_VOLUMES = Volumes()


def _part_below(path: str, mount: str) -> str | None:
    """The part of `path` below `mount`, `.` for the mount path itself; None for a path that lies elsewhere."""
    plain, root = _normal(path), _normal(mount)
    if not path.startswith("/") or root == "/" or posixpath.commonpath([plain, root]) != root:
        return None
    return posixpath.relpath(plain, root)


def _normal(path: str) -> str:
    return posixpath.normpath("/" + path.lstrip("/"))  # two leading slashes would stay


def replace_mounts(text: str, folders: Mapping[str, Path]) -> str:
    """`text` with each mount path, where it stands for itself or begins a longer path, replaced by its folder."""
    for mount in sorted(folders, key=len, reverse=True):
        path = mount.rstrip("/")
        if path:
            folder = str(folders[mount]).replace("\\", r"\\")
            text = re.sub(rf"(?<![\w./-]){re.escape(path)}(?![\w.-])", folder, text)
    return text


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
