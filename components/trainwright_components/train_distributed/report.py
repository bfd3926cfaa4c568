"""The page about a training: curves, throughput, cluster, restarts, settings."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainwright_components.cluster.spec import ClusterSpec
from trainwright_components.files import write_whole
from trainwright_components.reports import Report
from trainwright_components.training.result import TrainingResult
from trainwright_components.training.settings import TrainingSettings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_VALIDATION = "val_"


def write_report(
    path: Path,
    result: TrainingResult,
    *,
    settings: TrainingSettings,
    params: Mapping[str, Any],
    cluster: ClusterSpec,
) -> None:
    """Write the page to `path`."""
    page = Report("Training")
    page.add_heading("Result").add_mapping(dict(result.metrics))
    page.add_heading("Curves").add_figure(_curves(result.history), caption="Metrics after each epoch")
    page.add_heading("Course").add_mapping(
        {
            "epochs": len(result.history),
            "steps": result.steps,
            "seconds": result.seconds,
            "examples per second": result.examples_per_second,
            "strategy": f"{result.strategy}: {result.strategy_reason}",
            "replicas": result.replicas,
            "difference to one device": _equivalence(result, settings),
            "cluster": ", ".join(f"{role} {count}" for role, count in cluster.to_mapping().items()) or "this process",
            "went on from step": result.resumed_at or None,
            "stopped early": result.stop_reason or None,
        }
    )
    for note in result.notes:
        page.add_text(f"Note: {note}.")
    if result.restarts:
        page.add_heading("Restarts")
        page.add_table(
            [
                (one.after_s, one.reason, one.step, ", ".join(one.members) or "nobody", one.took_s)
                for one in result.restarts
            ],
            header=("after s", "reason", "at step", "started again", "back after s"),
        )
    if result.evaluations:
        _add_evaluations(page, result)
    page.add_heading("Parameters").add_mapping({name: _cell(value) for name, value in params.items()})
    page.add_heading("Settings").add_mapping(dict(_dotted(settings.to_mapping())))
    write_whole(path, page.html())


def _equivalence(result: TrainingResult, settings: TrainingSettings) -> str | None:
    if not settings.equivalence_steps:
        return None
    found = result.course.equivalence
    return f"{found.largest_difference:.1e} after {found.steps} steps" if found else "not measured: the log says why"


def _add_evaluations(page: Report, result: TrainingResult) -> None:
    names = list(result.evaluations[0].metrics)
    page.add_heading("Checkpoints, as the evaluator scored them").add_mapping(dict(result.best_checkpoint))
    page.add_table(
        [(one.step, one.epoch + 1, *(one.metrics[name] for name in names)) for one in result.evaluations],
        header=("step", "epoch", *names),
    )


def _curves(history: Sequence[Mapping[str, float]]) -> "Figure":
    from matplotlib.figure import Figure

    names = [name for name in history[0] if not name.startswith(_VALIDATION)] if history else []
    names += [
        name.removeprefix(_VALIDATION) for name in (history[0] if history else ()) if name.startswith(_VALIDATION)
    ]
    names = list(dict.fromkeys(names))
    figure = Figure(figsize=(5 * max(1, len(names)), 3.5))
    epochs = range(1, len(history) + 1)
    for number, name in enumerate(names, start=1):
        axes = figure.add_subplot(1, len(names), number)
        for key, label in ((name, "training"), (_VALIDATION + name, "validation")):
            if history and key in history[0]:
                axes.plot(epochs, [metrics[key] for metrics in history], marker=".", label=label)
        axes.set_title(name)
        axes.set_xlabel("epoch")
        axes.legend()
    return figure


def _dotted(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str | int | float | bool | None]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _dotted(value, f"{prefix}{name}.")
        else:
            yield prefix + name, _cell(value)


def _cell(value: Any) -> str | int | float | bool | None:
    return value if isinstance(value, str | int | float | bool | None) else str(value)
