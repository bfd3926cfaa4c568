"""What a tuning algorithm is: parameters for the next trial, from the space and the trials that have ended."""

from collections.abc import Callable, Iterable
from importlib import import_module
from typing import ClassVar, Protocol

from trainwright_components.tuning.algorithms import ALGORITHMS
from trainwright_components.tuning.space import SearchSpace, Value
from trainwright_components.tuning.study import Trial, TuningSettings


class Suggester(Protocol):
    """Chooses the parameters of trials.

    Nothing is kept on disk here: a resumed study is rebuilt from the records of its trials, which are the only truth.
    Each trial draws from a seed of its own, so that interruptions and parallelism do not shift the later ones.
    """

    takes_starting_point: ClassVar[bool]
    """Whether the first trial may have parameters that the algorithm did not choose."""

    def __init__(self, space: SearchSpace, settings: TuningSettings, trials: Iterable[Trial] = ()) -> None:
        """`trials` are those of a study that is resumed."""
        ...

    def suggest(self, trial_id: int) -> dict[str, Value] | None:
        """The parameters of a new trial; None when there are no more to try."""
        ...

    def learn(self, trial: Trial) -> None:
        """Take in a trial that ended, whoever chose its parameters."""
        ...


def make_suggester(space: SearchSpace, settings: TuningSettings, trials: Iterable[Trial] = ()) -> Suggester:
    """The suggester of the study's algorithm."""
    module, _, name = ALGORITHMS[settings.algorithm].partition(":")
    suggester: Callable[..., Suggester] = getattr(import_module(module), name)
    return suggester(space, settings, trials)
