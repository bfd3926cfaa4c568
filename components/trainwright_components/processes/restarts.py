"""When a process that ended is started again."""

from dataclasses import dataclass

FIRST_WAIT_S = 0.5
_MAX_WAIT_S = 30.0
_STABLE_S = 60.0


@dataclass(kw_only=True)
class Restarts:
    """Counts the failures in a row of one process that shall run always.

    Args:
        first_wait_s: Before the first restart; each further one in a row waits twice as long.
    """

    first_wait_s: float = FIRST_WAIT_S
    failures: int = 0

    def is_early(self, lived_s: float) -> bool:
        """Whether a process that lived so long failed soon after its start."""
        return lived_s <= _STABLE_S

    def note_end(self, lived_s: float) -> None:
        """Count an end; one after a long life is the first again."""
        self.failures = self.failures + 1 if self.is_early(lived_s) else 1

    @property
    def wait_s(self) -> float:
        """Seconds until the next start."""
        return min(_MAX_WAIT_S, self.first_wait_s * 2.0 ** (self.failures - 1))
