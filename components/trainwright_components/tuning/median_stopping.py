"""Vizier's median stopping rule: a trial's best value against the median of the finished trials' running averages."""

from collections.abc import Sequence
from statistics import fmean, median

from trainwright_components.tuning.study import Goal, Measurement, Trial, TrialState, TuningSettings


def should_stop(measurements: Sequence[Measurement], finished: Sequence[Trial], settings: TuningSettings) -> bool:
    """Whether a running trial with these measurements should end now.

    A finished trial's performance is the mean of what it reported up to the running trial's last step. Trials that
    failed or were themselves stopped are not counted. The running trial stops if its best value so far is strictly
    worse than the median performance.
    """
    own = _values(measurements, settings.metric)
    if not own:
        return False
    last_step = measurements[-1].step_count
    performances = [
        fmean(values)
        for trial in finished
        if trial.state is TrialState.SUCCEEDED and not trial.is_stopped_early
        if (values := _values([m for m in trial.measurements if m.step_count <= last_step], settings.metric))
    ]
    if len(performances) < settings.median_stopping_min_trials:
        return False
    if settings.goal is Goal.MAXIMIZE:
        return max(own) < median(performances)
    return min(own) > median(performances)


def _values(measurements: Sequence[Measurement], metric: str) -> list[float]:
    return [m.metrics[metric] for m in measurements if metric in m.metrics]
