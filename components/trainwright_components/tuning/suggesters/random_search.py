"""Random search: each parameter anywhere on its scale, whatever came of the trials before."""

import random
from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar

from trainwright_components.tuning.space import SearchSpace, Value
from trainwright_components.tuning.study import Trial, TuningSettings
from trainwright_components.tuning.suggesters.protocol import Suggester


class RandomSearch:
    """Uniform on the scale of each parameter."""

    takes_starting_point: ClassVar[bool] = True

    def __init__(self, space: SearchSpace, settings: TuningSettings, trials: Iterable[Trial] = ()) -> None:
        self._space = space
        self._seed = settings.seed

    def suggest(self, trial_id: int) -> dict[str, Value]:
        """Drawn from the seeds of the study and the trial."""
        rng = random.Random(f"{self._seed}:{trial_id}")  # noqa: S311  repeatable on purpose
        return self._space.choose(lambda parameter: parameter.at(rng.random()))

    def learn(self, trial: Trial) -> None:
        """Nothing."""


if TYPE_CHECKING:
    _: type[Suggester] = RandomSearch
