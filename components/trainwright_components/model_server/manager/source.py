"""The file-system source: look at base paths again and again, and tell the manager which versions are aspired."""

import logging
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from trainwright_components.model_server.manager.version_policy import Latest, Specific, VersionPolicy

logger = logging.getLogger(__name__)

DEFAULT_POLL_WAIT_S = 1.0
_VERSION = re.compile(r"\s*-?\d+\s*", re.ASCII)
_INT64 = range(-(1 << 63), 1 << 63)
LATEST = Latest()

AspiredCallback = Callable[[str, Mapping[int, Path]], None]


@dataclass(frozen=True, kw_only=True)
class MonitoredModel:
    """A base path whose numeric folders are versions."""

    name: str
    base_path: Path
    policy: VersionPolicy = LATEST


class FileSystemSource:
    """Poll base paths in a thread of its own.

    Args:
        on_aspired: Called with a model's name and its aspired versions at each poll.
        poll_wait_s: Seconds between two polls; with 0 only a change of configuration polls, below 0 nothing does.
    """

    def __init__(self, on_aspired: AspiredCallback, *, poll_wait_s: float = DEFAULT_POLL_WAIT_S) -> None:
        self._on_aspired = on_aspired
        self._poll_wait_s = poll_wait_s
        self._models: tuple[MonitoredModel, ...] = ()
        self._lock = threading.Lock()
        self._complaints: dict[str, str] = {}
        self._is_closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="file-system-source", daemon=True)
        self._thread.start()

    def set_models(self, models: tuple[MonitoredModel, ...]) -> None:
        """Watch `models` from now on, look at once, and drop every other model."""
        with self._lock:
            gone = {model.name for model in self._models} - {model.name for model in models}
            self._models = models
            for name in sorted(gone):
                self._on_aspired(name, {})
            if self._poll_wait_s >= 0:
                self._poll()

    def close(self) -> None:
        """Stop looking."""
        self._is_closing.set()
        self._thread.join()

    def _run(self) -> None:
        if self._poll_wait_s <= 0:
            return
        while not self._is_closing.wait(self._poll_wait_s):
            with self._lock:
                self._poll()

    def _poll(self) -> None:
        for model in self._models:
            try:
                versions = find_versions(model.base_path)
            except OSError as error:
                self._complain(model.name, f"cannot look into {model.base_path}: {error.strerror}")
                continue
            self._complain(model.name, _complaint(model, versions))
            chosen = model.policy.choose(versions)
            self._on_aspired(model.name, {version: versions[version][-1] for version in chosen})

    def _complain(self, name: str, complaint: str) -> None:
        """Log what is wrong with a model once, not at every poll."""
        if complaint and self._complaints.get(name) != complaint:
            logger.warning("model %s: %s", name, complaint)
        self._complaints[name] = complaint


def find_versions(base_path: Path) -> dict[int, list[Path]]:
    """The versions under `base_path`, each with its folders in order of name; the last one counts.

    Versions are folders whose name is an int64, which may be negative or have spaces around it. Other names are not
    looked at.

    Raises:
        OSError: `base_path` cannot be listed.
    """
    versions: dict[int, list[Path]] = {}
    for child in sorted(base_path.iterdir()):
        if _VERSION.fullmatch(child.name) and (version := int(child.name)) in _INT64 and child.is_dir():
            versions.setdefault(version, []).append(child)
    return versions


def _complaint(model: MonitoredModel, versions: Mapping[int, list[Path]]) -> str:
    if not versions:
        return f"no versions found under {model.base_path}; are its folders named by numbers, such as 1?"
    for version, folders in versions.items():
        if len(folders) > 1:
            ignored = ", ".join(folder.name for folder in folders[:-1])
            return f"version {version} is loaded from {folders[-1].name}; {ignored} is the same version and ignored"
    if isinstance(model.policy, Specific) and (missing := model.policy.versions - versions.keys()):
        return f"versions {sorted(missing)} are to be served and are not under {model.base_path}"
    return ""
