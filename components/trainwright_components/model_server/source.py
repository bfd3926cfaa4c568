"""The file-system source: look at base paths again and again, and tell the manager which versions are aspired."""

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from trainwright_components.model_server.version_policy import Latest, VersionPolicy

logger = logging.getLogger(__name__)

DEFAULT_POLL_WAIT_S = 1.0
_INT64_LIMIT = 1 << 63
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
        poll_wait_s: Seconds between two polls; with 0 only a change of configuration polls.
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
            self._poll()

    def close(self) -> None:
        """Stop looking."""
        self._is_closing.set()
        self._thread.join()

    def _run(self) -> None:
        if not self._poll_wait_s:
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
            self._complain(model.name, "" if versions else f"no versions found under {model.base_path}")
            chosen = model.policy.choose(versions)
            self._on_aspired(model.name, {version: versions[version] for version in chosen})

    def _complain(self, name: str, complaint: str) -> None:
        """Log what is wrong with a model once, not at every poll."""
        if complaint and self._complaints.get(name) != complaint:
            logger.warning("model %s: %s", name, complaint)
        self._complaints[name] = complaint


def find_versions(base_path: Path) -> dict[int, Path]:
    """The versions under `base_path`: its folders whose name is a number; other names are not looked at.

    Raises:
        OSError: `base_path` cannot be listed.
    """
    versions: dict[int, Path] = {}
    for child in sorted(base_path.iterdir()):
        if not (child.name.isascii() and child.name.isdigit()) or int(child.name) >= _INT64_LIMIT:
            continue
        if not child.is_dir():
            continue
        if int(child.name) in versions:
            logger.warning("ignoring %s: another folder is the same version", child)
            continue
        versions[int(child.name)] = child
    return versions
