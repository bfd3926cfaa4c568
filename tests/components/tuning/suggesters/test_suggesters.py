"""What every tuning algorithm promises: the contract that each must pass."""

import itertools
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

from trainwright_components import hyperparameter_tune
from trainwright_components.errors import InvalidSetting
from trainwright_components.tuning.algorithms import ALGORITHMS, ALIASES, DEFAULT_ALGORITHM
from trainwright_components.tuning.space import Value
from trainwright_components.tuning.space_parsing import parse_space
from trainwright_components.tuning.study import Measurement, Trial, TrialState, TuningSettings
from trainwright_components.tuning.suggesters.protocol import Suggester, make_suggester

SPACE: dict[str, Any] = {
    "optimizer": {"type": "categorical", "values": ["adam", "sgd"]},
    "nesterov": {"type": "categorical", "values": [True, False], "when": {"optimizer": ["sgd"]}},
    "layers": {"type": "integer", "min_value": 1, "max_value": 3, "scale_type": "UNIT_LOG_SCALE"},
    "width": {"type": "discrete", "values": [16, 32, 64], "when": {"layers": [2, 3]}},
}
POINTS = 21  # (adam, or sgd with one of 2) times (1 layer, or 2 or 3 with one of 3 widths)
CONTINUOUS = {
    "rate": {"type": "double", "min_value": 1e-5, "max_value": 0.1, "scale_type": "UNIT_LOG_SCALE"},
    "decay": {"type": "double", "min_value": 0.9, "max_value": 0.999, "scale_type": "UNIT_REVERSE_LOG_SCALE"},
}


def ended(trial_id: int, params: Mapping[str, Value]) -> Trial:
    """Each seventh fails; wide nets with sgd do best."""
    if trial_id % 7 == 0:
        return Trial(id=trial_id, params=params, state=TrialState.INFEASIBLE)
    loss = 1 / float(params.get("width", 8)) + (params.get("optimizer") != "sgd") + float(params.get("rate", 0))
    final = Measurement(step_count=1, metrics={"loss": loss})
    return Trial(id=trial_id, params=params, state=TrialState.SUCCEEDED, final_measurement=final)


class SuggesterContract:
    """Run for every algorithm of the table."""

    algorithm: ClassVar[str]
    is_finite: ClassVar[bool] = False
    """Whether it tries each point of a finite space once, ends then, and takes no other space."""

    def make(self, space: Mapping[str, Any], trials: tuple[Trial, ...] = (), *, seed: int = 3) -> Suggester:
        settings = TuningSettings.from_mapping(
            {"metric": "loss", "algorithm": self.algorithm, "max_trial_count": 20, "seed": seed}
        )
        return make_suggester(parse_space(space), settings, trials)

    def study(self, space: Mapping[str, Any] = SPACE, *, count: int = 20, seed: int = 3) -> list[Trial]:
        suggester, trials = self.make(space, seed=seed), []
        for trial_id in range(1, count + 1):
            params = suggester.suggest(trial_id)
            if params is None:
                break
            trials.append(ended(trial_id, params))
            suggester.learn(trials[-1])
        return trials

    def test_every_trial_lies_in_the_space(self) -> None:
        space = parse_space(SPACE)
        for trial in self.study():
            assert all(space[name].contains(value) for name, value in trial.params.items())

    def test_a_parameter_is_given_when_its_condition_is_met_and_only_then(self) -> None:
        for params in (trial.params for trial in self.study()):
            assert ("nesterov" in params) == (params["optimizer"] == "sgd")
            assert ("width" in params) == (params["layers"] in (2, 3))
            assert {"optimizer", "layers"} <= set(params)

    def test_the_same_seed_gives_the_same_trials_and_another_seed_others(self) -> None:
        assert self.study() == self.study()
        assert (self.study(seed=4) == self.study()) == self.is_finite

    @pytest.mark.parametrize("known", [0, 1, 6, 7, 19])
    def test_a_resumed_study_goes_on_as_if_it_had_not_been_interrupted(self, known: int) -> None:
        whole = self.study()
        assert self.make(SPACE, tuple(whole[:known])).suggest(known + 1) == whole[known].params

    def test_trials_that_still_run_do_not_stand_in_the_way(self) -> None:
        suggester = self.make(SPACE)
        suggested = [suggester.suggest(trial_id) for trial_id in range(1, 9)]
        for trial_id in (8, 3, 1):
            params = suggested[trial_id - 1]
            assert params is not None
            suggester.learn(ended(trial_id, params))
        assert suggester.suggest(9) is not None

    def test_a_trial_whose_parameters_it_did_not_choose_is_taken_in(self) -> None:
        start: dict[str, Value] = {
            "optimizer": "sgd",
            "nesterov": True,
            "layers": 3,
            "width": 64,
            "of_another_space": 1.0,
        }
        suggester = self.make(SPACE, (ended(1, start),))
        params = suggester.suggest(2)
        assert params is not None
        assert set(params) <= set(SPACE)

    def test_a_continuous_space_is_searched_or_refused_by_name(self) -> None:
        if self.is_finite:
            with pytest.raises(InvalidSetting, match=r"search_space\.rate is a double, which GRID_SEARCH cannot"):
                self.make(CONTINUOUS).suggest(1)
            return
        rates = [float(trial.params["rate"]) for trial in self.study(CONTINUOUS, count=12)]
        assert all(1e-5 <= rate <= 0.1 for rate in rates)
        assert len(set(rates)) == len(rates)

    def test_a_finite_algorithm_repeats_nothing_and_ends_when_all_was_tried(self) -> None:
        trials = [tuple(trial.params.items()) for trial in self.study(count=POINTS + 5)]
        assert len(trials) == (POINTS if self.is_finite else POINTS + 5)
        if self.is_finite:
            assert len(set(trials)) == POINTS
            assert self.make(SPACE).suggest(POINTS + 1) is None


class TestTreeParzen(SuggesterContract):
    algorithm = "TPE"


class TestRandomSearch(SuggesterContract):
    algorithm = "RANDOM_SEARCH"

    def test_all_names_are_drawn_equally_often(self) -> None:
        suggester = self.make(SPACE)
        drawn = [suggester.suggest(trial_id) for trial_id in range(1, 401)]
        adam = sum(params is not None and params["optimizer"] == "adam" for params in drawn)
        assert abs(adam - 200) < 4 * math.sqrt(400 * 0.25)  # four standard deviations of a fair coin


class TestGridSearch(SuggesterContract):
    algorithm = "GRID_SEARCH"
    is_finite = True

    def test_the_last_parameter_changes_fastest(self) -> None:
        widths = [trial.params.get("width") for trial in itertools.islice(self.study(), 7)]
        assert widths == [None, 16, 32, 64, 16, 32, 64]


def test_each_algorithm_passes_the_contract_and_is_documented() -> None:
    assert {contract.algorithm for contract in SuggesterContract.__subclasses__()} == set(ALGORITHMS)
    assert {DEFAULT_ALGORITHM, *ALIASES.values()} <= set(ALGORITHMS)
    readme = (Path(hyperparameter_tune.__file__).parent / "README.md").read_text(encoding="utf-8")
    assert [name for name in ALGORITHMS if f"`{name}`" not in readme] == []
