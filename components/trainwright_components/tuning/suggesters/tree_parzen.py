"""Points from results: a tree-structured Parzen estimator that knows the conditions of a space.

After Bergstra et al., "Algorithms for Hyper-Parameter Optimization" (2011): the point is chosen whose density among the
better trials is largest beside its density among the others. Optuna's `group=True` splits all trials once: a branch of
the space without one of the best trials is then sent away from all that was tried in it, and is not tried enough to
learn. Here parameters under one condition are drawn together from the trials in which they counted, split among
themselves; candidates are whole points, so that a branch is taken for what can be expected within it; and the best
trial of each branch is among the better ones.
"""

import math
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from trainwright_components.tuning.space import (
    CategoricalSpec,
    Condition,
    ParameterSpec,
    SearchSpace,
    Value,
)
from trainwright_components.tuning.study import Goal, Trial, TuningSettings
from trainwright_components.tuning.suggesters.protocol import Suggester

Point = Mapping[str, Value]

# Chosen on seven spaces, four of them with conditions, for studies of some tens of trials.
CANDIDATES = 32
BETTER_SHARE, MOST_BETTER = 0.1, 25
MAX_STARTUP_TRIALS = 5
MIN_STARTUP_TRIALS = 3
WIDTH = 0.1  # of a kernel around a single trial, in shares of a parameter's range


class TreeParzen:
    """Begins with points spread over the space, then goes where trials did well."""

    takes_starting_point: ClassVar[bool] = True

    def __init__(self, space: SearchSpace, settings: TuningSettings, trials: Iterable[Trial] = ()) -> None:
        self._space = space
        self._settings = settings
        self._points: dict[int, tuple[Point, float | None]] = {}
        for trial in trials:
            self.learn(trial)

    def suggest(self, trial_id: int) -> dict[str, Value]:
        """The most promising point; trials that were suggested and have not ended count as ones to keep away from."""
        point = self._next(trial_id)
        self._points[trial_id] = point, None
        return point

    def learn(self, trial: Trial) -> None:
        """Take in its result; parameters that are not of the space do not count."""
        own = {name: value for name, value in trial.params.items() if name in self._space.names}
        self._points[trial.id] = own, trial.value(self._settings.metric)

    def _next(self, trial_id: int) -> dict[str, Value]:
        settings = self._settings
        count = max(MIN_STARTUP_TRIALS, min(MAX_STARTUP_TRIALS, settings.max_trial_count // 4))
        known = [self._points[known_id] for known_id in sorted(self._points) if known_id != trial_id]
        sign = -1 if settings.goal is Goal.MAXIMIZE else 1
        rated = sorted(((sign * value, at) for at, (_, value) in enumerate(known) if value is not None))
        if trial_id <= count or len(rated) < MIN_STARTUP_TRIALS:
            return first_point(self._space, index=trial_id - 1, count=count, seed=settings.seed)
        others = [point for point, value in known if value is None]
        return next_point(self._space, [known[at][0] for _, at in rated], others, seed=(settings.seed, trial_id))


def first_point(space: SearchSpace, *, index: int, count: int, seed: int) -> dict[str, Value]:
    """The point at `index`; every `count` of them are spread over the range of each parameter (a Latin hypercube)."""
    turn, place = divmod(index, count)

    def choice(parameter: ParameterSpec) -> Value:
        rng = random.Random(f"{seed}:{turn}:{parameter.name}")  # noqa: S311  repeatable on purpose
        strata = rng.sample(range(count), count)
        shifts = [rng.random() for _ in range(count)]
        return parameter.at((strata[place] + shifts[place]) / count)

    return space.choose(choice)


def next_point(
    space: SearchSpace, ranked: Sequence[Point], others: Sequence[Point], *, seed: Sequence[int]
) -> dict[str, Value]:
    """The most promising of some candidates.

    Args:
        space: What to choose from.
        ranked: Trials with a result, the best first.
        others: Trials that failed or still run; points like theirs are avoided.
        seed: The same seed and trials give the same point.
    """
    rng = np.random.default_rng(seed)
    candidates: list[dict[str, Value]] = [{} for _ in range(CANDIDATES)]
    scores = np.zeros(CANDIDATES)
    groups = _groups(space)
    for condition, parameters in groups.items():
        concerned = [index for index, point in enumerate(candidates) if condition is None or condition.is_met(point)]
        if not concerned:
            continue
        rated = [point for point in ranked if _counted(parameters, point)]
        names = [parameter.name for parameter in parameters]
        leading = _leading(rated, [branch for branch in groups if branch is not None and branch.parent in names])
        trailing = [point for index, point in enumerate(rated) if index not in leading]
        trailing += [point for point in others if _counted(parameters, point)]
        better = _Density(parameters, [_shares(parameters, rated[index]) for index in sorted(leading)])
        worse = _Density(parameters, [_shares(parameters, point) for point in trailing])
        values = [
            {parameter.name: parameter.at(share) for parameter, share in zip(parameters, shares, strict=True)}
            for shares in better.draw(len(concerned), rng)
        ]
        shares = np.array([_shares(parameters, point) for point in values])
        scores[concerned] += better.logarithm(shares) - worse.logarithm(shares)
        for index, point in zip(concerned, values, strict=True):
            candidates[index].update(point)
    return candidates[int(np.argmax(scores))]


def _groups(space: SearchSpace) -> dict[Condition | None, list[ParameterSpec]]:
    """Parameters by the condition that they share, each after its parent's."""
    groups: dict[Condition | None, list[ParameterSpec]] = {}
    for parameter in space.parameters:
        groups.setdefault(parameter.when, []).append(parameter)
    return groups


def _leading(rated: Sequence[Point], conditions: Sequence[Condition]) -> set[int]:
    """Which trials are the better ones: the best of all, the best that meet each condition, the best that do not."""
    leading = set(range(min(math.ceil(BETTER_SHARE * len(rated)), MOST_BETTER)))
    for condition in conditions:
        is_met = [condition.is_met(point) for point in rated]
        leading |= {is_met.index(answer) for answer in set(is_met)}
    return leading


def _counted(parameters: Sequence[ParameterSpec], point: Point) -> bool:
    return all(parameter.name in point for parameter in parameters)


def _shares(parameters: Sequence[ParameterSpec], point: Point) -> list[float]:
    return [parameter.share(point[parameter.name]) for parameter in parameters]


@dataclass(frozen=True)
class _Density:
    """One kernel around each trial, and a flat one.

    Args:
        trials: Shares of the parameters' ranges, one row for each trial.
    """

    parameters: Sequence[ParameterSpec]
    trials: Sequence[Sequence[float]]

    @property
    def _width(self) -> float:
        """Silverman's rule: the more trials, the narrower; the more parameters, the slower."""
        return WIDTH * float(max(1, len(self.trials)) ** (-1 / (4 + len(self.parameters))))

    @property
    def _other_name(self) -> float:
        """How often a kernel gives a name that is not its own trial's."""
        return 1 / (len(self.trials) + 1)

    def draw(self, count: int, rng: np.random.Generator) -> list[list[float]]:
        """Rows of shares."""
        return [self._draw_one(int(rng.integers(len(self.trials) + 1)), rng) for _ in range(count)]

    def _draw_one(self, kernel: int, rng: np.random.Generator) -> list[float]:
        flat = [float(share) for share in rng.random(len(self.parameters))]
        if kernel == len(self.trials):
            return flat
        row = []
        for parameter, share, center in zip(self.parameters, flat, self.trials[kernel], strict=True):
            if isinstance(parameter, CategoricalSpec):
                row.append(share if rng.random() < self._other_name else center)
                continue
            normal = NormalDist(center, self._width)
            low, high = normal.cdf(0), normal.cdf(1)
            drawn = normal.inv_cdf(min(max(low + share * (high - low), 1e-12), 1 - 1e-12))
            row.append(min(max(drawn, 0.0), 1.0))
        return row

    def logarithm(self, shares: Any) -> Any:
        """Of the density at each row of shares."""
        kernels = np.zeros((len(shares), len(self.trials) + 1))
        centers = np.reshape(np.array(self.trials, float), (len(self.trials), len(self.parameters)))
        for column, parameter in enumerate(self.parameters):
            distances = shares[:, column, None] - centers[None, :, column]
            if isinstance(parameter, CategoricalSpec):
                other = self._other_name / len(parameter.values)
                kernels[:, :-1] += np.log(other + (1 - self._other_name) * (np.abs(distances) < 1e-9))
                kernels[:, -1] -= math.log(len(parameter.values))
                continue
            normals = [NormalDist(float(center), self._width) for center in centers[:, column]]
            inside = np.array([normal.cdf(1) - normal.cdf(0) for normal in normals])
            kernels[:, :-1] -= 0.5 * (distances / self._width) ** 2 + np.log(
                self._width * math.sqrt(2 * math.pi) * inside
            )
        largest = kernels.max(axis=1, keepdims=True)
        return largest[:, 0] + np.log(np.exp(kernels - largest).mean(axis=1))


if TYPE_CHECKING:
    _: type[Suggester] = TreeParzen
