"""Grid search: all points of a finite space, in order."""

from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING, ClassVar

from trainwright_components.tuning.space import SearchSpace, Value
from trainwright_components.tuning.study import Trial, TuningSettings
from trainwright_components.tuning.suggesters.protocol import Suggester


class GridSearch:
    """The trial with id n has the n-th point of the grid."""

    takes_starting_point: ClassVar[bool] = False  # it is a point of the grid, and would be tried twice

    def __init__(self, space: SearchSpace, settings: TuningSettings, trials: Iterable[Trial] = ()) -> None:
        self._space = space

    def suggest(self, trial_id: int) -> dict[str, Value] | None:
        """None after the last point."""
        return next(islice(self._space.grid(), trial_id - 1, None), None)

    def learn(self, trial: Trial) -> None:
        """Nothing."""


if TYPE_CHECKING:
    _: type[Suggester] = GridSearch
