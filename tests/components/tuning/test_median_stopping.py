"""The median rule on numbers worked out by hand."""

import pytest

from trainwright_components.tuning.median_stopping import should_stop
from trainwright_components.tuning.study import Measurement, Trial, TrialState, TuningSettings


def measured(*values: float, first_step: int = 1) -> tuple[Measurement, ...]:
    return tuple(
        Measurement(step_count=step, metrics={"score": value}) for step, value in enumerate(values, start=first_step)
    )


def finished(*values: float, is_stopped_early: bool = False, state: TrialState = TrialState.SUCCEEDED) -> Trial:
    return Trial(id=1, params={}, state=state, measurements=measured(*values), is_stopped_early=is_stopped_early)


def settings(goal: str = "MAXIMIZE", least: int = 3) -> TuningSettings:
    given = {"metric": "score", "goal": goal, "median_stopping": True, "median_stopping_min_trials": least}
    return TuningSettings.from_mapping(given)


# up to step 2 the running averages are 2, 4 and 6; up to step 3 they are 3, 5 and 7
DONE = (finished(1, 3, 5), finished(3, 5, 7), finished(5, 7, 9))


@pytest.mark.parametrize(
    ("own", "expected"),
    [((3.9, 1), True), ((4, 1), False), ((1, 4.1), False), ((4, 4.5, 4.9), True), ((0, 0, 5), False)],
)
def test_a_trial_stops_when_its_best_is_below_the_median_of_running_averages(
    own: tuple[float, ...], expected: bool
) -> None:
    assert should_stop(measured(*own), DONE, settings()) is expected


@pytest.mark.parametrize(("own", "expected"), [((4.1, 9), True), ((9, 4), False)])
def test_the_rule_turns_round_when_minimizing(own: tuple[float, ...], expected: bool) -> None:
    assert should_stop(measured(*own), DONE, settings("MINIMIZE")) is expected


def test_too_few_finished_trials_stop_nothing() -> None:
    assert not should_stop(measured(-100), DONE, settings(least=4))


def test_stopped_and_failed_trials_do_not_count() -> None:
    others = (
        finished(0, is_stopped_early=True),
        finished(0, state=TrialState.INFEASIBLE),
        finished(0, state=TrialState.ACTIVE),
    )
    assert not should_stop(measured(-100), (*DONE[:2], *others), settings())


def test_a_trial_without_measurements_goes_on() -> None:
    assert not should_stop((), DONE, settings())


def test_finished_trials_that_reported_only_later_do_not_count() -> None:
    late = Trial(id=4, params={}, state=TrialState.SUCCEEDED, measurements=measured(100, first_step=10))
    assert not should_stop(measured(0), (*DONE[:2], late), settings())
