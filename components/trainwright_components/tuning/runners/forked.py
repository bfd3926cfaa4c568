"""Trials as forks of a process that has its imports done."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainwright_components.processes.child import WarmChild
from trainwright_components.processes.warm_parent import WarmParent
from trainwright_components.tuning.objective import LOG_FILE
from trainwright_components.tuning.runners.protocol import RunningTrial, TrialRunner
from trainwright_components.tuning.space import Value


@dataclass(frozen=True, kw_only=True)
class ForkedTrials:
    """Trials as forks of a warm process on this machine.

    Args:
        objective: `package.module:function` or `file.py:function`.
        options: Keyword arguments of the objective beside the trial, as JSON.
        parallel: Trials that share the cores of this machine.
    """

    parent: WarmParent
    objective: str
    options: Mapping[str, Any] = field(default_factory=dict)
    parallel: int = 1

    def start(self, folder: Path, params: Mapping[str, Value]) -> WarmChild:
        """Fork one trial with its share of the cores."""
        threads = str(max(1, (os.cpu_count() or 1) // self.parallel))
        return self.parent.spawn(
            "trainwright_components.tuning.objective:run_trial",
            {"folder": str(folder), "objective": self.objective, "params": dict(params), "options": dict(self.options)},
            env={"TF_NUM_INTRAOP_THREADS": threads, "TF_NUM_INTEROP_THREADS": threads, "OMP_NUM_THREADS": threads},
            log=folder / LOG_FILE,
        )


if TYPE_CHECKING:
    _runner: type[TrialRunner] = ForkedTrials
    _trial: type[RunningTrial] = WarmChild
