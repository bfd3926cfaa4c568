"""One version in the manager's hands: where it stands between being new and being gone, and who still uses it."""

from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path

from trainwright_components.model_server.manager.transition_policy import VersionPhase
from trainwright_components.model_server.servable import Servable, ServableId, ServableState, State
from trainwright_components.model_server.status import Code, StatusError


class HarnessState(Enum):
    """The stations of a version, under TensorFlow Serving's names."""

    NEW = auto()
    LOAD_REQUESTED = auto()  # by the transition policy
    LOAD_APPROVED = auto()  # waits for a thread
    LOADING = auto()
    READY = auto()
    UNLOAD_REQUESTED = auto()
    QUIESCING = auto()  # lent to no further request; some still have it
    QUIESCED = auto()  # nobody has it; waits for a thread
    UNLOADING = auto()
    DISABLED = auto()
    ERROR = auto()


_REPORTED = {
    HarnessState.NEW: (State.START, VersionPhase.NEW),
    HarnessState.LOAD_REQUESTED: (State.START, VersionPhase.LOADING),
    HarnessState.LOAD_APPROVED: (State.LOADING, VersionPhase.LOADING),
    HarnessState.LOADING: (State.LOADING, VersionPhase.LOADING),
    HarnessState.READY: (State.AVAILABLE, VersionPhase.READY),
    HarnessState.UNLOAD_REQUESTED: (State.AVAILABLE, VersionPhase.ENDING),
    HarnessState.QUIESCING: (State.UNLOADING, VersionPhase.ENDING),
    HarnessState.QUIESCED: (State.UNLOADING, VersionPhase.ENDING),
    HarnessState.UNLOADING: (State.UNLOADING, VersionPhase.ENDING),
    HarnessState.DISABLED: (State.END, VersionPhase.ENDED),
    HarnessState.ERROR: (State.END, VersionPhase.ENDED),
}


@dataclass(frozen=True)
class Fingerprint:
    """What tells that the files of a version were changed: how many, how large, how new."""

    files: int
    size_bytes: int
    newest_ns: int

    @classmethod
    def of(cls, path: Path) -> "Fingerprint":
        """The fingerprint of everything below `path`; what vanishes meanwhile does not count."""
        sizes: list[int] = []
        times: list[int] = [0]
        for child in path.rglob("*"):
            try:
                found = child.stat()
            except OSError:
                continue
            sizes.append(found.st_size)
            times.append(found.st_mtime_ns)
        return cls(len(sizes), sum(sizes), max(times))


@dataclass
class LoaderHarness:
    """A version and its state; only the manager changes it, with its lock held."""

    id: ServableId
    path: Path
    state: HarnessState = HarnessState.NEW
    is_aspired: bool = True
    error: StatusError | None = None
    servable: Servable | None = None
    handles: int = 0
    attempts: int = 0
    retry_at: float | None = None
    failed_files: Fingerprint | None = None
    seen_files: Fingerprint | None = None

    @property
    def reported_state(self) -> State:
        """The state as GetModelStatus tells it."""
        return _REPORTED[self.state][0]

    @property
    def phase(self) -> VersionPhase:
        """The state as transition policies see it."""
        return _REPORTED[self.state][1]

    @property
    def is_ended(self) -> bool:
        """Whether nothing more happens to it."""
        return self.phase is VersionPhase.ENDED

    @property
    def is_on_its_way(self) -> bool:
        """Whether a load of it is asked for and has not ended."""
        return self.phase in {VersionPhase.NEW, VersionPhase.LOADING}

    def snapshot(self) -> ServableState:
        """Where it stands now."""
        error = self.error
        return ServableState(
            id=self.id,
            state=self.reported_state,
            error_code=error.code if error else Code.OK,
            error_message=error.message if error else "",
        )

    def is_repaired(self) -> bool:
        """Whether the files of a version that failed have changed since, and have stopped changing."""
        if self.failed_files is None:
            return False
        before, self.seen_files = self.seen_files, Fingerprint.of(self.path)
        return self.seen_files != self.failed_files and self.seen_files == before
