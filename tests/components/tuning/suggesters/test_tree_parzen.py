"""TPE against chance in spaces with and without conditions, by the same seeds; nothing but results moves it."""

import math
from collections.abc import Callable, Mapping
from statistics import fmean
from typing import Any

import pytest

from trainwright_components.tuning.space import ScaleType
from trainwright_components.tuning.space_parsing import parse_space
from trainwright_components.tuning.study import Measurement, Trial, TrialState, TuningSettings
from trainwright_components.tuning.suggesters.protocol import make_suggester
from trainwright_components.tuning.suggesters.tree_parzen import TreeParzen, first_point

Point = Mapping[str, Any]


def double(low: float, high: float, scale: str = "UNIT_LINEAR_SCALE", **more: Any) -> dict[str, Any]:
    return {"type": "double", "min_value": low, "max_value": high, "scale_type": scale, **more}


LEARNING_RATE = double(1e-5, 1.0, "UNIT_LOG_SCALE")
OPTIMIZERS = {
    "optimizer": {"type": "categorical", "values": ["adam", "sgd", "rmsprop"]},
    "learning_rate": LEARNING_RATE,
    "momentum": double(0.0, 0.999, when={"optimizer": ["sgd"]}),
    "layers": {"type": "discrete", "values": [1, 2, 3, 5, 8]},
}
BRANCHES = {
    "kind": {"type": "categorical", "values": ["cnn", "mlp"]},
    "learning_rate": LEARNING_RATE,
    "filters": {"type": "integer", "min_value": 4, "max_value": 64, "when": {"kind": ["cnn"]}},
    "kernel": {"type": "integer", "min_value": 1, "max_value": 9, "when": {"kind": ["cnn"]}},
    "units": {"type": "integer", "min_value": 8, "max_value": 512, "when": {"kind": ["mlp"]}},
    "dropout": double(0.0, 0.8, when={"kind": ["mlp"]}),
}
FLAT = {"x": double(-5.0, 10.0), "y": double(0.0, 15.0)}


def optimizer_loss(point: Mapping[str, Any]) -> float:
    """0 with sgd, where learning rate and momentum must both be right; 0.5 is easy to find in the other branches."""
    best_rate = {"adam": -3.0, "sgd": -1.0, "rmsprop": -3.5}[point["optimizer"]]
    beside = 4 * (point["momentum"] - 0.9) ** 2 if point["optimizer"] == "sgd" else 0.5
    rate = (math.log10(point["learning_rate"]) - best_rate) ** 2
    return float(rate + beside + 0.1 * abs(point["layers"] - 3))


def branch_loss(point: Mapping[str, Any]) -> float:
    """0.1 at best in one branch, 0.4 in the other."""
    loss = 0.3 * (math.log10(point["learning_rate"]) + 2.5) ** 2
    if point["kind"] == "cnn":
        return float(loss + 0.1 + ((point["filters"] - 40) / 30) ** 2 + ((point["kernel"] - 5) / 4) ** 2)
    return float(loss + 0.4 + ((point["units"] - 300) / 250) ** 2 + 4 * (point["dropout"] - 0.3) ** 2)


def branin(point: Point) -> float:
    """0.398 at three places; https://www.sfu.ca/~ssurjano/branin.html."""
    x, y = point["x"], point["y"]
    ridge = y - 5.1 / (4 * math.pi**2) * x**2 + 5 / math.pi * x - 6
    return float(ridge**2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10)


def finished(trial_id: int, point: Point, loss: float | None) -> Trial:
    if loss is None:
        return Trial(id=trial_id, params=point, state=TrialState.INFEASIBLE)
    measurement = Measurement(step_count=1, metrics={"loss": loss})
    return Trial(id=trial_id, params=point, state=TrialState.SUCCEEDED, final_measurement=measurement)


def settings_of(algorithm: str = "TPE", seed: int = 0, count: int = 30) -> TuningSettings:
    return TuningSettings.from_mapping(
        {"metric": "loss", "algorithm": algorithm, "max_trial_count": count, "seed": seed}
    )


def run(space: dict[str, Any], loss: Callable[[Point], float], *, parallel: int = 1, **settings: Any) -> list[Trial]:
    """Trials of which so many always run at the same time, the first of them ending first."""
    suggester = make_suggester(parse_space(space), settings_of(**settings))
    running: list[tuple[int, Point]] = []
    trials: list[Trial] = []
    for trial_id in range(1, 31 + parallel - 1):
        if trial_id <= 30:
            params = suggester.suggest(trial_id)
            assert params is not None
            running.append((trial_id, params))
        if len(running) == parallel or trial_id > 30:
            ended, point = running.pop(0)
            trials.append(finished(ended, point, loss(point)))
            suggester.learn(trials[-1])
    return trials


def mean_best(space: dict[str, Any], loss: Callable[[Point], float], **settings: Any) -> float:
    """The best of 30 trials, in the mean of ten seeds."""
    return fmean(min(loss(trial.params) for trial in run(space, loss, seed=seed, **settings)) for seed in range(10))


@pytest.mark.parametrize(
    ("space", "loss", "parallel", "share"),
    [(OPTIMIZERS, optimizer_loss, 1, 0.7), (BRANCHES, branch_loss, 3, 0.7), (FLAT, branin, 1, 0.5)],
    ids=["one conditional parameter", "two branches, in parallel", "flat"],
)
def test_tpe_comes_closer_than_chance(
    space: dict[str, Any], loss: Callable[[Point], float], parallel: int, share: float
) -> None:
    chance = mean_best(space, loss, algorithm="RANDOM_SEARCH")
    assert mean_best(space, loss, parallel=parallel) < share * chance


def test_a_rebuilt_study_goes_on_as_if_it_had_not_been_interrupted() -> None:
    whole = run(OPTIMIZERS, optimizer_loss, seed=4)
    for known in (0, 5, 12, 29):
        rebuilt = TreeParzen(parse_space(OPTIMIZERS), settings_of(seed=4), whole[:known])
        assert rebuilt.suggest(known + 1) == whole[known].params


def test_points_of_trials_that_run_or_failed_are_avoided() -> None:
    space, settings = {"x": double(0.0, 1.0)}, settings_of()
    results = [
        finished(n, {"x": x}, (x - 0.4) ** 2) for n, x in enumerate((0.1, 0.4, 0.6, 0.9, 0.2, 0.7, 0.5), start=1)
    ]
    failed = [finished(n, {"x": 0.4}, None) for n in range(8, 20)]
    alone = [TreeParzen(parse_space(space), settings, results).suggest(n)["x"] for n in range(20, 50)]
    beside = [TreeParzen(parse_space(space), settings, [*results, *failed]).suggest(n)["x"] for n in range(20, 50)]
    assert fmean(abs(float(x) - 0.4) for x in beside) > 2 * fmean(abs(float(x) - 0.4) for x in alone)
    suggester = TreeParzen(parse_space(space), settings, results)
    running = [suggester.suggest(n)["x"] for n in range(20, 50)]
    assert fmean(abs(float(x) - 0.4) for x in running) > 2 * fmean(abs(float(x) - 0.4) for x in alone)


def test_the_first_points_are_spread_over_every_range() -> None:
    space = parse_space({**OPTIMIZERS, "width": {"type": "integer", "min_value": 1, "max_value": 10}})
    for turn in (0, 10):
        points = [first_point(space, index=turn + n, count=10, seed=1) for n in range(10)]
        assert sorted(int(-math.log10(float(point["learning_rate"])) * 2) for point in points) == list(range(10))
        assert sorted(point["width"] for point in points) == list(range(1, 11))
        assert {point["optimizer"] for point in points} == {"adam", "sgd", "rmsprop"}


@pytest.mark.parametrize("scale", list(ScaleType))
def test_each_value_has_an_equal_part_of_the_scale_and_is_found_again(scale: ScaleType) -> None:
    numbers = {"min_value": 1, "max_value": 9, "scale_type": scale.value}
    space = parse_space(
        {
            "integer": {"type": "integer", **numbers},
            "double": {"type": "double", **numbers},
            "discrete": {"type": "discrete", "values": [1, 5, 9]},
            "categorical": {"type": "categorical", "values": ["a", True, False]},
        }
    )
    for name in ("integer", "discrete", "categorical"):
        for value in space[name].points():
            assert space[name].at(space[name].share(value)) is value
        assert (space[name].at(0.0), space[name].at(1.0)) == (space[name].points()[0], space[name].points()[-1])
    for share in (0.0, 0.25, 0.5, 1.0):
        assert space["double"].share(space["double"].at(share)) == pytest.approx(share)
