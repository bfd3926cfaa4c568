"""The page about a training run: curves, speed, cluster, checkpoints, restarts, settings."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainwright_components.cluster.spec import ClusterSpec
from trainwright_components.files import write_whole
from trainwright_components.reports import Cell, Report, dotted
from trainwright_components.train_distributed.figures import draw_metrics, draw_timeline
from trainwright_components.training.configuration.settings import TrainingSettings
from trainwright_components.training.result import TrainingResult
from trainwright_components.training.timeline import Timeline

_MOST_CHECKPOINTS = 50


def write_report(
    path: Path,
    result: TrainingResult,
    *,
    settings: TrainingSettings,
    params: Mapping[str, Any],
    cluster: ClusterSpec,
    failure: Exception | None = None,
    checkpoint: str = "",
) -> None:
    """Write the page to `path`; of a training run that failed, with what it failed of and what it can go on from.

    `params` are all hyperparameters, the module's own among them.
    """
    page = Report("Training" if failure is None else "Training that failed")
    if failure is not None:
        _add_failure(page, failure, checkpoint)
    if result.metrics:
        page.add_heading("Result" if failure is None else "Last metrics").add_mapping(dict(result.metrics))
    if result.history:
        page.add_heading("Curves").add_figure(draw_metrics(result.history), caption="Metrics after each epoch")
    page.add_heading("Timeline").add_mapping(
        _known(
            {
                "epochs": len(result.history),
                "steps": result.steps,
                "seconds": result.seconds,
                "examples per second": result.examples_per_second or None,
                "strategy": f"{result.strategy}: {result.strategy_reason}" if result.strategy else None,
                "replicas": cluster.who_trains(0) if cluster.has_parameter_servers else result.replicas,
                "difference to one device": _equivalence(result, settings),
                "cluster": ", ".join(f"{role} {count}" for role, count in cluster.to_mapping().items())
                or "this process",
                "went on from step": ", ".join(map(str, result.timeline.resumed_at)) or None,
                "stopped early": result.stop_reason or None,
            }
        )
    )
    _add_timeline(page, result.timeline)
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
    page.add_heading("Parameters").add_mapping(dict(dotted(params)))
    page.add_heading("Settings").add_mapping(dict(dotted(settings.to_mapping())))
    write_whole(path, page.html())


def _add_failure(page: Report, failure: Exception, checkpoint: str) -> None:
    page.add_warning(str(failure) or type(failure).__name__)
    if trace := getattr(failure, "user_traceback", ""):
        page.add_code(trace)
    page.add_text(
        f"{checkpoint} is still there: started again into the same folder, as `trainwright runs resume` does, it goes "
        "on from that checkpoint, also after edits that leave model and data as they are; with others it begins "
        "anew, and keeps the checkpoint aside until it has ended."
        if checkpoint
        else "There is no checkpoint: started again, the training run begins from the start."
    )


def _known(values: Mapping[str, Cell]) -> Mapping[str, Cell]:
    return {name: value for name, value in values.items() if value is not None}


def _equivalence(result: TrainingResult, settings: TrainingSettings) -> str | None:
    if not settings.equivalence_steps:
        return None
    found = result.timeline.equivalence
    return f"{found.largest_difference:.1e} after {found.steps} steps" if found else "not measured: the log says why"


def _add_evaluations(page: Report, result: TrainingResult) -> None:
    names = list(result.evaluations[0].metrics)
    page.add_heading("Checkpoints, as the evaluator scored them").add_mapping(dict(result.best_checkpoint))
    page.add_table(
        [(one.step, one.epoch + 1, *(one.metrics[name] for name in names)) for one in result.evaluations],
        header=("step", "epoch", *names),
    )


def _add_timeline(page: Report, timeline: Timeline) -> None:
    """Speed, checkpoints and returns to them, as far as there were any."""
    if len(timeline.points) > 1:
        page.add_figure(
            draw_timeline(timeline),
            caption="Triangles are checkpoints; dashed lines are steps from which the training run continued after an "
            "interruption, dotted ones those it went back to.",
        )
    if timeline.roll_backs:
        page.add_heading("Went back to a checkpoint")
        page.add_table(
            [(one.step, one.to_step, one.learning_rate, one.reason) for one in timeline.roll_backs],
            header=("from step", "to step", "learning rate", "reason"),
        )
    if timeline.checkpoints:
        shown = timeline.checkpoints[-_MOST_CHECKPOINTS:]
        page.add_heading("Checkpoints")
        page.add_text(f"{len(timeline.checkpoints)} were written" + (", the last of them:" if shown else "."))
        page.add_table(
            [(one.step, round(one.at_s, 3), one.size_bytes, one.took_s and round(one.took_s, 3)) for one in shown],
            header=("step", "after s", "bytes", "seconds to write"),
        )
