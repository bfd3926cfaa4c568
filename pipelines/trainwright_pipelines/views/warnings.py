"""What a run and its steps went on without, each said once for all steps that it concerns."""

from collections.abc import Sequence
from dataclasses import dataclass

from trainwright_pipelines.engine.records import Run, Task

_SHOWN_STEPS = 3


@dataclass(frozen=True, kw_only=True)
class Warned:
    """One warning, and the labels of the steps that it was told of; none for one of the whole run."""

    message: str
    steps: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """Both on one line."""
        shown = ", ".join(self.steps[:_SHOWN_STEPS])
        if len(self.steps) > _SHOWN_STEPS:
            shown += f" and {len(self.steps) - _SHOWN_STEPS} more"
        return f"{shown}: {self.message}" if shown else self.message


def gather_warnings(run: Run, tasks: Sequence[Task]) -> list[Warned]:
    """Those of the run, then those of its steps, in the order of `tasks`."""
    steps: dict[str, list[str]] = {}
    for task in tasks:
        for message in task.warnings:
            steps.setdefault(message, []).append(task.label)
    of_steps = [Warned(message=message, steps=tuple(labels)) for message, labels in steps.items()]
    return [*(Warned(message=message) for message in run.warnings), *of_steps]
