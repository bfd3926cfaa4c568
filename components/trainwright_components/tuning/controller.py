"""Runs a study: starts trials side by side, watches them, records what came of them. Imports no TensorFlow."""

import logging
import math
import shutil
import signal
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from trainwright_components.errors import TrainingFailed, UserCodeError
from trainwright_components.processes.ending import AFTER_KILL_S
from trainwright_components.tuning.median_stopping import should_stop
from trainwright_components.tuning.objective import LOG_FILE, MODEL_FOLDER, STOP_FILE, read_measurements
from trainwright_components.tuning.runners.protocol import RunningTrial, TrialRunner
from trainwright_components.tuning.space import SearchSpace, Value
from trainwright_components.tuning.store import TrialStore
from trainwright_components.tuning.study import (
    Goal,
    Measurement,
    MeasurementSelection,
    Study,
    Trial,
    TrialState,
    TuningSettings,
)
from trainwright_components.tuning.suggesters.protocol import make_suggester
from trainwright_components.tuning.time_limits import TimeLimits

logger = logging.getLogger(__name__)

POLL_S = 0.1
PROGRESS_EVERY_S = 10.0
FAILURES_WITHOUT_SUCCESS = 5


def run_study(
    folder: Path,
    space: SearchSpace,
    settings: TuningSettings,
    runner: TrialRunner,
    *,
    starting_point: Mapping[str, Value] | None = None,
    fingerprint: str = "",
    clock: Callable[[], float] = time.monotonic,
) -> Study:
    """Run trials until the limits of `settings` are reached; a study that `folder` already holds is resumed.

    With a `starting_point` the first trial has these parameters; otherwise the algorithm chooses them. A study that had
    failed runs its failed trials again. `fingerprint` stands for what all trials share: a study with another
    one is not resumed. The limits of time go by `clock`.

    Raises:
        TrainingFailed: Too many trials failed, or the study's time was over before one succeeded; the message has the
            reasons.
        UserCodeError: The same, where the user's own code raised the error.
    """
    store = TrialStore(folder)
    with store.locked():
        store.make_room_for(Study(settings=settings, space=space, fingerprint=fingerprint))
        controller = _Controller(
            store=store, space=space, settings=settings, runner=runner, fingerprint=fingerprint, clock=clock
        )
        return controller.run(starting_point)


@dataclass(kw_only=True)
class _Running:
    process: RunningTrial
    measurements: list[Measurement] = field(default_factory=list)
    is_overdue: bool = False


@dataclass(kw_only=True)
class _Controller:
    store: TrialStore
    space: SearchSpace
    settings: TuningSettings
    runner: TrialRunner
    fingerprint: str
    clock: Callable[[], float]
    trials: dict[int, Trial] = field(default_factory=dict)
    running: dict[int, _Running] = field(default_factory=dict)
    retries: deque[Trial] = field(default_factory=deque)
    killed: set[int] = field(default_factory=set)
    progress_at: float = 0.0

    def __post_init__(self) -> None:
        self.limits = TimeLimits(store=self.store, settings=self.settings, clock=self.clock)

    @property
    def study(self) -> Study:
        trials = tuple(self.trials[trial_id] for trial_id in sorted(self.trials))
        return Study(settings=self.settings, space=self.space, trials=trials, fingerprint=self.fingerprint)

    def run(self, starting_point: Mapping[str, Value] | None) -> Study:
        self._resume()
        try:
            while True:
                if self._has_failed():
                    raise self._failure()
                if self.limits.is_study_over() and self._has_work():
                    self._cut_short()
                    break
                while len(self.running) < self.settings.parallel_trial_count and self._start_next(starting_point):
                    pass
                if not self.running:
                    break
                _wait(self.running.values())
                self.limits.tick(self.running)
                for trial_id in list(self.running):
                    self._look_after(trial_id)
                self._show_progress()
        finally:
            for running in self.running.values():
                running.process.close()
            self.limits.save()
            self.store.save_study(self.study)
        if self.study.best is None:
            raise self._failure()
        return self.study

    def _resume(self) -> None:
        """Take over what an earlier process left: results count, and trials that were cut short run again."""
        self.trials = {trial.id: trial for trial in self.store.trials()}
        for trial in list(self.trials.values()):
            if trial.state.is_final:
                continue
            outcome = self.store.outcome(trial.id)
            if outcome is None:
                self.retries.append(trial)
            else:
                self.trials[trial.id] = self._judged(trial, outcome)
                self.store.save_trial(self.trials[trial.id])
        if self._has_failed():
            failed = [trial for trial in self.trials.values() if trial.state is TrialState.INFEASIBLE]
            self.retries.extend(failed)
            for trial in failed:
                self.limits.forget(trial.id)
        self.trials |= {trial.id: Trial(id=trial.id, params=trial.params) for trial in self.retries}
        self.suggester = make_suggester(self.space, self.settings, self.study.trials)
        self.store.save_study(self.study)
        if self.trials:
            finished = len(self.trials) - len(self.retries)
            logger.info("resuming with %d finished trials; %d are retried", finished, len(self.retries))

    def _has_work(self) -> bool:
        return bool(self.running or self.retries or len(self.trials) < self.settings.max_trial_count)

    def _start_next(self, starting_point: Mapping[str, Value] | None) -> bool:
        if self.retries:
            trial = self.retries.popleft()
            self.store.prepare_retry(trial)
            trial = Trial(id=trial.id, params=trial.params, attempt=trial.attempt + 1, started_at=time.time())
        elif len(self.trials) < self.settings.max_trial_count:
            trial_id = len(self.trials) + 1
            params = self._params(trial_id, starting_point)
            if params is None:
                return False
            trial = Trial(id=trial_id, params=params, started_at=time.time())
        else:
            return False
        self.trials[trial.id] = trial
        self.store.save_trial(trial)
        process = self.runner.start(self.store.trial_folder(trial.id), trial.params)
        self.limits.tick(self.running)  # of the new trial's time nothing has passed: starting it may have taken long
        self.running[trial.id] = _Running(process=process)
        again = " again" if trial.attempt > 1 else ""
        logger.info(
            "trial %d of %d started%s: %s", trial.id, self.settings.max_trial_count, again, _words(trial.params)
        )
        return True

    def _params(self, trial_id: int, starting_point: Mapping[str, Value] | None) -> dict[str, Value] | None:
        if trial_id == 1 and starting_point is not None and self.suggester.takes_starting_point:
            return dict(starting_point)
        return self.suggester.suggest(trial_id)

    def _look_after(self, trial_id: int) -> None:
        running, trial = self.running[trial_id], self.trials[trial_id]
        exit_code = _as_signal(running.process.poll())
        measurements = read_measurements(self.store.trial_folder(trial_id))
        has_news = len(measurements) > len(running.measurements)
        running.measurements = measurements
        if exit_code is not None:
            self._end(trial, exit_code, is_overdue=running.is_overdue)
        elif self.limits.is_trial_over(trial_id):
            if not running.is_overdue:
                running.is_overdue = True
                running.process.kill()
        elif has_news and trial.state is TrialState.ACTIVE and self._is_hopeless(measurements):
            (self.store.trial_folder(trial_id) / STOP_FILE).touch()
            self.trials[trial_id] = replace(trial, state=TrialState.STOPPING)

    def _is_hopeless(self, measurements: list[Measurement]) -> bool:
        return self.settings.median_stopping and should_stop(measurements, self.study.trials, self.settings)

    def _end(self, trial: Trial, exit_code: int, *, is_overdue: bool) -> None:
        del self.running[trial.id]
        outcome = self.store.outcome(trial.id)
        if outcome is None and is_overdue:
            limit = self.settings.max_trial_duration_s
            outcome = {"reason": f"the trial ran longer than {limit:g} s (tuning.max_trial_duration_s) and was ended"}
        if outcome is None:
            if exit_code < 0 and trial.id not in self.killed:
                self.killed.add(trial.id)  # one more chance, which a trial that raised an error does not get
                logger.warning("trial %d was ended by %s; it is retried", trial.id, _signal_name(exit_code))
                self.retries.append(trial)
                return
            outcome = {"reason": _how_it_ended(exit_code)}
        ended = self._judged(trial, outcome)
        self.limits.forget(trial.id)
        self.trials[trial.id] = ended
        self.store.save_trial(ended)
        self.suggester.learn(ended)
        self.store.save_study(self.study)
        self._discard_models()
        self._tell(ended)

    def _cut_short(self) -> None:
        """End what runs, since the study's time is over; with more time these trials are resumed."""
        for running in self.running.values():
            running.process.kill()
        deadline = time.monotonic() + AFTER_KILL_S
        while any(running.process.poll() is None for running in self.running.values()) and time.monotonic() < deadline:
            _wait(running for running in self.running.values() if running.process.poll() is None)
        for trial_id, running in list(self.running.items()):
            if self.store.outcome(trial_id) is not None:  # it had ended by itself
                self._end(self.trials[trial_id], 0, is_overdue=False)
            else:
                running.process.close()
                self.retries.append(self.trials[trial_id])
                del self.running[trial_id]
        for trial in self.retries:
            self.trials[trial.id] = replace(
                trial,
                state=TrialState.STOPPING,
                measurements=tuple(read_measurements(self.store.trial_folder(trial.id))),
                reason="cut short: the study's time was over (tuning.max_duration_s)",
            )
            self.store.save_trial(self.trials[trial.id])
        logger.warning("%s", self._how_time_ran_out())

    def _how_time_ran_out(self) -> str:
        finished = sum(trial.state.is_final for trial in self.trials.values())
        return (
            f"The study's time is over: it ran {self.limits.study_s:.1f} s (tuning.max_duration_s is "
            f"{self.settings.max_duration_s:g}); {finished} of {self.settings.max_trial_count} trials have ended, "
            f"{len(self.retries)} cut short. With a larger limit the study is resumed where it is"
        )

    def _judged(self, trial: Trial, outcome: Mapping[str, Any]) -> Trial:
        """The trial with its result, or with the reason why it has none."""
        measurements = tuple(read_measurements(self.store.trial_folder(trial.id)))
        ended = replace(trial, measurements=measurements, ended_at=time.time())
        reason = outcome.get("reason", "")
        if not reason:
            final = self._final(measurements, outcome["metrics"])
            reason = _why_unusable(final, self.settings.metric)
        if reason:
            trace = outcome.get("user_traceback", "")
            return replace(ended, state=TrialState.INFEASIBLE, reason=reason, user_traceback=trace)
        stopped = bool(outcome.get("is_stopped_early"))
        return replace(ended, state=TrialState.SUCCEEDED, final_measurement=final, is_stopped_early=stopped)

    def _final(self, measurements: tuple[Measurement, ...], metrics: Mapping[str, float]) -> Measurement:
        metric = self.settings.metric
        rated = [m for m in measurements if metric in m.metrics and math.isfinite(m.metrics[metric])]
        if self.settings.measurement_selection is MeasurementSelection.BEST_MEASUREMENT and rated:
            pick = max if self.settings.goal is Goal.MAXIMIZE else min
            return pick(rated, key=lambda m: m.metrics[metric])
        last = measurements[-1] if measurements else Measurement(step_count=0, metrics={})
        return replace(last, metrics={**last.metrics, **metrics})

    def _discard_models(self) -> None:
        """Keep the model of the best trial so far alone."""
        best = self.study.best
        for trial in self.trials.values():
            if trial.state.is_final and (best is None or trial.id != best.id):
                shutil.rmtree(self.store.trial_folder(trial.id) / MODEL_FOLDER, ignore_errors=True)

    def _has_failed(self) -> bool:
        failed = sum(trial.state is TrialState.INFEASIBLE for trial in self.trials.values())
        if limit := self.settings.max_failed_trial_count:
            return failed >= limit
        return self.study.best is None and failed >= min(FAILURES_WITHOUT_SUCCESS, self.settings.max_trial_count)

    def _failure(self) -> TrainingFailed | UserCodeError:
        failed = [trial for trial in self.study.trials if trial.state is TrialState.INFEASIBLE]
        time_is_over = f". {self._how_time_ran_out()}" if self.limits.is_study_over() else ""
        if not failed:
            return TrainingFailed(f"no trial has a result{time_is_over}")
        by_reason: dict[str, list[str]] = {}
        for trial in failed:
            by_reason.setdefault(trial.reason, []).append(str(trial.id))
        reasons = "; ".join(f"{reason} (trial {', '.join(ids)})" for reason, ids in by_reason.items())
        log = self.store.trial_folder(failed[-1].id) / LOG_FILE
        succeeded = (
            "none succeeded" if self.study.best is None else "which is the limit (tuning.max_failed_trial_count)"
        )
        message = f"{len(failed)} of {len(self.trials)} trials failed, {succeeded}: {reasons}. Log of the last: {log}"
        message += time_is_over
        if trace := failed[-1].user_traceback:
            return UserCodeError(message, user_traceback=trace)
        return TrainingFailed(message)

    def _tell(self, trial: Trial) -> None:
        value, best = trial.value(self.settings.metric), self.study.best
        if value is None or best is None:
            logger.warning("trial %d of %d failed: %s", trial.id, self.settings.max_trial_count, trial.reason)
            return
        logger.info(
            "trial %d of %d %s after %.1f s: %s = %.6g (best %.6g, trial %d)",
            trial.id,
            self.settings.max_trial_count,
            "stopped early" if trial.is_stopped_early else "done",
            trial.seconds,
            self.settings.metric,
            value,
            best.value(self.settings.metric),
            best.id,
        )

    def _show_progress(self) -> None:
        if time.monotonic() < self.progress_at:
            return
        is_first, self.progress_at = not self.progress_at, time.monotonic() + PROGRESS_EVERY_S
        for trial_id, running in self.running.items():
            if running.measurements and not is_first:
                last = running.measurements[-1]
                logger.info("trial %d at step %d: %s", trial_id, last.step_count, _words(last.metrics))


def _wait(trials: Iterable[_Running]) -> None:
    """Until a trial has ended, but no longer than it may take to see its measurements."""
    processes: Any = [trial.process for trial in trials]  # whatever has a fileno(); the stubs know sockets only
    wait(processes, POLL_S)


def _why_unusable(final: Measurement, metric: str) -> str:
    if metric not in final.metrics:
        known = ", ".join(sorted(final.metrics)) or "none"
        return f"metric {metric!r} was not reported (tuning.metric); reported: {known}"
    if not math.isfinite(final.metrics[metric]):
        return f"{metric} is {final.metrics[metric]} at step {final.step_count}: the training run diverged"
    return ""


def _as_signal(exit_code: int | None) -> int | None:
    """Trainings that were asked to end leave with 143, as shells say SIGTERM."""
    return -signal.SIGTERM if exit_code == 128 + signal.SIGTERM else exit_code


def _how_it_ended(exit_code: int) -> str:
    if exit_code >= 0:
        return f"the trial's process ended with exit code {exit_code} before it had a result"
    hint = " (out of memory is the usual cause)" if exit_code == -signal.SIGKILL else ""
    return f"the trial's process was ended by {_signal_name(exit_code)}, again{hint}"


def _signal_name(exit_code: int) -> str:
    try:
        return signal.Signals(-exit_code).name
    except ValueError:
        return f"signal {-exit_code}"


def _words(values: Mapping[str, Value]) -> str:
    return " ".join(
        f"{name}={value:.6g}" if isinstance(value, float) else f"{name}={value}" for name, value in values.items()
    )
