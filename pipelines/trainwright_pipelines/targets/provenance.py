"""What a run is made of: code, data, packages, machine and person. Secrets are not among it."""

import getpass
import platform
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from trainwright_components.files import content_digest

_PACKAGES = ("trainwright", "tensorflow", "keras", "kfp", "numpy", "pandas", "scikit-learn", "optuna", "ai-edge-litert")
_MAX_DIFFERENCE_CHARACTERS = 200_000
_MAX_DIGEST_BYTES = 256_000_000  # the engine digests larger inputs anyway, when a step takes them
_GIT_TIMEOUT_S = 10


def gather_provenance(parameters: Mapping[str, Any], *, command: Sequence[str], folder: Path) -> dict[str, Any]:
    """A record of what a run started with `parameters` is made of.

    Args:
        parameters: Values of the run; paths among them are digested, and the module's folder is asked for its commit.
        command: The command line.
        folder: Where it was called.
    """
    module = parameters.get("module")
    project = Path(module) if isinstance(module, str) and Path(module).is_absolute() else folder
    training = parameters.get("training")
    return {
        "command": " ".join(command),
        "folder": str(folder),
        "git": _git_state(project if project.is_dir() else project.parent),
        "digests": _digests(parameters),
        "seed": training.get("seed", 0) if isinstance(training, Mapping) else 0,
        "packages": _package_versions(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "host": socket.gethostname(),
        "user": _user(),
        "executable": sys.executable,
    }


def _git_state(folder: Path) -> dict[str, str]:
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None:
        return {}
    difference = _git(folder, "diff", "HEAD") or ""
    if len(difference) > _MAX_DIFFERENCE_CHARACTERS:
        difference = f"{difference[:_MAX_DIFFERENCE_CHARACTERS]}\n(cut)"
    return {
        "commit": commit.strip(),
        "branch": (_git(folder, "rev-parse", "--abbrev-ref", "HEAD") or "").strip(),
        "untracked": (_git(folder, "ls-files", "--others", "--exclude-standard", ".") or "").strip(),
        "difference": difference,
    }


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_GIT_TIMEOUT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None  # no git, or no repository: a run is not refused for that
    return done.stdout


def _digests(parameters: Mapping[str, Any]) -> dict[str, str]:
    found = {}
    for name, value in parameters.items():
        path = Path(value) if isinstance(value, str) and value.startswith("/") else None
        if path is not None and path.exists() and name != "model_base_path" and _size_bytes(path) <= _MAX_DIGEST_BYTES:
            found[name] = content_digest(path)
    return found


def _size_bytes(path: Path) -> int:
    files = [path] if path.is_file() else (each for each in path.rglob("*") if each.is_file())
    return sum(each.stat().st_size for each in files)


def _package_versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""  # a container's user id may have no name
