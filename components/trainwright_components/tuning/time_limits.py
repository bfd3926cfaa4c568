"""How long a study and its trials have run, counted over every process that ran them, and when that is too long.

Only time in which a controller ran counts: a study that was killed and resumed a day later has the rest of its time. A
kill loses at most the last second.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from trainwright_components.tuning.store import TrialStore
from trainwright_components.tuning.study import TuningSettings

SAVE_EVERY_S = 1.0


@dataclass(kw_only=True)
class TimeLimits:
    """The time of a study: it stands still until the next `tick`.

    Args:
        clock: Seconds that only grow.
    """

    store: TrialStore
    settings: TuningSettings
    clock: Callable[[], float] = time.monotonic
    study_s: float = 0.0
    trials_s: dict[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._ticked_at = self._saved_at = self.clock()
        self._is_limited = self.settings.max_duration_s > 0 or self.settings.max_trial_duration_s > 0
        self.study_s, self.trials_s = self.store.durations()

    def tick(self, running: Iterable[int]) -> None:
        """Count the time since the last tick for the study and the trials that ran meanwhile."""
        now = self.clock()
        passed, self._ticked_at = now - self._ticked_at, now
        self.study_s += passed
        for trial_id in running:
            self.trials_s[trial_id] = self.trials_s.get(trial_id, 0.0) + passed
        if self._is_limited and now - self._saved_at >= SAVE_EVERY_S:
            self.save()

    def save(self) -> None:
        """Keep the count for a process that resumes the study."""
        self._saved_at = self._ticked_at
        self.store.save_durations(self.study_s, self.trials_s)

    def forget(self, trial_id: int) -> None:
        """A trial that has ended needs no clock; one that starts again begins at zero."""
        self.trials_s.pop(trial_id, None)

    def is_study_over(self) -> bool:
        """Whether the study has had its time."""
        return 0 < self.settings.max_duration_s <= self.study_s

    def is_trial_over(self, trial_id: int) -> bool:
        """Whether a trial has had its time, all its attempts together."""
        return 0 < self.settings.max_trial_duration_s <= self.trials_s.get(trial_id, 0.0)
