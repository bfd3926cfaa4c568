"""What a run is made of: code, data, packages, machine, person. No secrets: what looks like one is blanked."""

import getpass
import importlib.metadata
import os
import platform
import re
import shlex
import socket
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trainwright_components.files import content_digest, legible
from trainwright_pipelines.engine.cache import NotCacheable, digest_of_path, installed_code, local_content
from trainwright_pipelines.engine.records import Run

_MAX_DIFF_CHARS = 500_000
_MAX_DIGEST_BYTES = 2 << 30
_GIT_TIMEOUT_S = 20
_SENSITIVE = r"(?i)([\w.-]*(?:password|passwd|secret|token|api[-_.]?key|credential)[\w.-]*"
_SECRET_ARGUMENT = re.compile(_SENSITIVE + r"=).+")
_SECRET_LITERAL = re.compile(_SENSITIVE + r"[\"']?\s*[=:]\s*[\"'])[^\"'\s]{6,}")
_NAME_OR_VERSION = re.compile(r"^(Name|Version): (.+)$", re.MULTILINE)
_NO_SOURCE: Mapping[str, str] = {}
_SEED = re.compile(r"(^|\.|_)seed$")


def gather_provenance(
    parameters: Mapping[str, Any], *, command: Sequence[str], source: Mapping[str, str] = _NO_SOURCE
) -> dict[str, Any]:
    """Everything to know where a run's results came from.

    `command` is the command line that started it, `source` what its pipeline was compiled from.
    """
    paths = dict(_local_paths(parameters))
    return {
        "command": [legible(_SECRET_ARGUMENT.sub(_blank, word)) for word in command],
        "folder": legible(str(Path.cwd())),
        "source": {name: legible(value) for name, value in source.items()},
        "user": _user(),
        "host": socket.gethostname(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": _packages(),
        "components_digest": installed_code(),
        "inputs": {name: {"path": str(path), "digest": _digest(path)} for name, path in paths.items()},
        "seeds": dict(_seeds(parameters)),
        "git": [_git(repository) for repository in _repositories(paths.values())],
    }


def edited_source(run: Run) -> str:
    """What names the pipeline of a run in a shell, where its file has changed since; else empty."""
    source = run.provenance.get("source") or {}
    try:
        is_edited = bool(source) and content_digest(Path(source["file"])) != source["digest"]
    except OSError:  # gone, so that there is nothing to name
        return ""
    return shlex.quote(source["reference"]) if is_edited else ""


def _local_paths(parameters: Mapping[str, Any]) -> list[tuple[str, Path]]:
    found = [(name, local_content(value)) for name, value in _flat(parameters)]
    return [(name, path) for name, path in found if path is not None]


def _flat(values: Any, prefix: str = "") -> list[tuple[str, Any]]:
    if not isinstance(values, Mapping):
        return [(prefix, values)]
    return [pair for key, value in values.items() for pair in _flat(value, f"{prefix}.{key}" if prefix else str(key))]


def _seeds(parameters: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [(name, value) for name, value in _flat(parameters) if _SEED.search(name)]


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def _packages() -> dict[str, str]:
    heads = [_head(each) for each in importlib.metadata.distributions()]
    return dict(sorted((head["Name"], head["Version"]) for head in heads if len(head) == 2))


def _head(package: importlib.metadata.Distribution) -> dict[str, str]:
    """Name and version alone: to parse all that packages say of themselves takes a fifth of a second."""
    text = package.read_text("METADATA") or package.read_text("PKG-INFO") or ""
    return dict(_NAME_OR_VERSION.findall(text.partition("\n\n")[0]))


def _digest(path: Path) -> str | None:
    try:
        return digest_of_path(path, max_bytes=_MAX_DIGEST_BYTES)
    except (NotCacheable, OSError):
        return None


def _repositories(paths: Any) -> list[Path]:
    roots = [_git_output(path if path.is_dir() else path.parent, "rev-parse", "--show-toplevel") for path in paths]
    return list(dict.fromkeys(Path(root.strip()) for root in roots if root))


def _git(repository: Path) -> dict[str, Any]:
    difference = _git_output(repository, "diff", "HEAD") or ""
    untracked = _git_output(repository, "ls-files", "--others", "--exclude-standard") or ""
    return {
        "repository": str(repository),
        "commit": (_git_output(repository, "rev-parse", "HEAD") or "").strip(),
        "difference": _SECRET_LITERAL.sub(_blank, difference[:_MAX_DIFF_CHARS]),
        "is_difference_cut": len(difference) > _MAX_DIFF_CHARS,
        "untracked": untracked.splitlines()[:1000],
    }


def _git_output(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_GIT_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def blank_secrets(text: str) -> str:
    """`text` without what looks like a secret: a value behind a name such as password, token or api_key."""
    return _SECRET_LITERAL.sub(_blank, text)


def is_sensitive(name: str) -> bool:
    """Whether a name is one that secrets go by."""
    return re.match(_SENSITIVE + ")", name) is not None


def _blank(match: re.Match[str]) -> str:
    return f"{match[1]}***"
