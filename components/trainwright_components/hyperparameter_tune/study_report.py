"""The page of a study: what was found, history, importance, parallel coordinates, learning curves, all trials."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from trainwright_components.reports import Report, dotted
from trainwright_components.tuning.importances import parameter_importances
from trainwright_components.tuning.space import ParameterSpec, Value
from trainwright_components.tuning.study import Goal, Study, Trial, TrialState

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_TOO_FEW = "Too few different results to say which parameter matters."
_STATES = {TrialState.STOPPING: "cut short"}
_NOT_SET = -0.08  # a condition left the parameter out: below the axis


def study_report(study: Study, *, params: Mapping[str, Value], training: Mapping[str, Any]) -> str:
    """A self-contained page; `params` and `training` are what all trials share, defaults included."""
    settings, best = study.settings, study.best
    rated = [trial for trial in study.trials if trial.value(settings.metric) is not None]
    report = Report("Hyperparameter tuning")
    if best is not None:
        value = best.value(settings.metric)
        report.add_text(f"Best {settings.metric} ({str(settings.goal).lower()}d): {value:.6g}, in trial {best.id}.")
        report.add_mapping(dict(best.params))
        report.add_heading("Hyperparameters of the best trial").add_mapping(
            dict(dotted({"params": {**params, **best.params}, "training": training}))
        )
    report.add_heading("History").add_figure(
        _history(study, rated), caption="Each trial's result, and the best so far."
    )
    report.add_heading("Importance")
    importances = parameter_importances(study)
    if importances:
        report.add_figure(
            _importance(importances), caption="Share of each parameter in the differences between results."
        )
    else:
        report.add_text(_TOO_FEW)
    report.add_heading("Parallel coordinates")
    report.add_figure(_parallel_coordinates(study, rated), caption="One line per trial; the darker, the better.")
    if any(len(trial.measurements) > 1 for trial in study.trials):
        report.add_heading("Learning curves").add_figure(_curves(study), caption="Dashed: stopped early.")
    report.add_heading("Trials").add_table(
        [_row(trial, study) for trial in study.trials],
        header=["trial", "state", settings.metric, "seconds", *study.space.names, "reason"],
    )
    return report.add_heading("Settings").add_mapping(_settings(study)).html()


def _row(trial: Trial, study: Study) -> list[Value | None]:
    state = "stopped early" if trial.is_stopped_early else _STATES.get(trial.state, trial.state.value.lower())
    numbers = [trial.value(study.settings.metric), trial.seconds]
    return [trial.id, state, *numbers, *(trial.params.get(name) for name in study.space.names), trial.reason]


def _settings(study: Study) -> dict[str, Value | None]:
    settings = study.settings
    return {
        "algorithm": settings.algorithm,
        "max_trial_count": settings.max_trial_count,
        "parallel_trial_count": settings.parallel_trial_count,
        "max_failed_trial_count": settings.max_failed_trial_count,
        "max_duration_s": settings.max_duration_s,
        "max_trial_duration_s": settings.max_trial_duration_s,
        "median_stopping": settings.median_stopping,
        "measurement_selection": settings.measurement_selection.value,
        "seed": settings.seed,
    }


def _figure(width: float, height: float) -> "Figure":
    from matplotlib.figure import Figure  # not pyplot: no global state, no display

    return Figure(figsize=(width, height), layout="constrained")


def _history(study: Study, rated: Sequence[Trial]) -> "Figure":
    figure = _figure(8, 3.5)
    axes = figure.subplots()
    pick = max if study.settings.goal is Goal.MAXIMIZE else min
    ids = [trial.id for trial in rated]
    values = _values(study, rated)
    full = [value for trial, value in zip(rated, values, strict=True) if not trial.is_stopped_early]
    full_ids = [trial.id for trial in rated if not trial.is_stopped_early]
    axes.scatter(ids, values, s=24, label="trial")
    axes.step(
        full_ids, [pick(full[: n + 1]) for n in range(len(full))], where="post", color="tab:red", label="best so far"
    )
    axes.set(xlabel="trial", ylabel=study.settings.metric)
    axes.locator_params(axis="x", integer=True)
    axes.legend()
    return figure


def _importance(importances: Mapping[str, float]) -> "Figure":
    figure = _figure(8, 1.5 + 0.35 * len(importances))
    axes = figure.subplots()
    names = list(importances)[::-1]
    axes.barh(names, [importances[name] for name in names])
    axes.set(xlim=(0, 1))
    return figure


def _parallel_coordinates(study: Study, rated: Sequence[Trial]) -> "Figure":
    names = study.space.names
    figure = _figure(max(8, 1.6 * (len(names) + 1)), 4)
    axes = figure.subplots()
    values = _values(study, rated)
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    span = (high - low) or 1.0
    for trial, value in zip(rated, values, strict=True):
        share = (value - low) / span
        quality = share if study.settings.goal is Goal.MAXIMIZE else 1 - share
        heights = [_height(study.space[name], trial.params.get(name)) for name in names]
        axes.plot(range(len(names) + 1), [*heights, share], color="tab:blue", alpha=0.15 + 0.85 * quality)
    for index, name in enumerate(names):
        axes.axvline(index, color="0.7", linewidth=1)
        for mark in study.space[name].marks():
            axes.text(index, _height(study.space[name], mark), f" {_short(mark)}", fontsize=8, va="center")
    axes.axvline(len(names), color="0.7", linewidth=1)
    for height, bound in ((0.0, low), (1.0, high)):
        axes.text(len(names), height, f" {_short(bound)}", fontsize=8, va="center")
    axes.set(
        xticks=range(len(names) + 1), xticklabels=[*names, study.settings.metric], yticks=[], ylim=(2 * _NOT_SET, 1.08)
    )
    for spine in axes.spines.values():
        spine.set_visible(False)
    return figure


def _curves(study: Study) -> "Figure":
    figure = _figure(8, 3.5)
    axes = figure.subplots()
    metric = study.settings.metric
    for trial in study.trials:
        points = [(m.step_count, m.metrics[metric]) for m in trial.measurements if metric in m.metrics]
        if points:
            axes.plot(
                *zip(*points, strict=True),
                "--" if trial.is_stopped_early else "-",
                label=f"trial {trial.id}",
                linewidth=1,
            )
    axes.set(xlabel="step", ylabel=metric)
    axes.locator_params(axis="x", integer=True)
    if len(study.trials) <= 12:
        axes.legend(fontsize=8)
    return figure


def _values(study: Study, rated: Sequence[Trial]) -> list[float]:
    return [value for trial in rated if (value := trial.value(study.settings.metric)) is not None]


def _height(parameter: ParameterSpec, value: Value | None) -> float:
    return _NOT_SET if value is None else parameter.position(value)


def _short(value: Value) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
