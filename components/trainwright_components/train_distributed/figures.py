"""The figures of the page about a training run: metrics by epoch, learning rate and speed by step."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from trainwright_components.training.timeline import Timeline

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_VALIDATION = "val_"
_WIDTH, _HEIGHT = 5, 3.5


def draw_metrics(history: Sequence[Mapping[str, float]]) -> "Figure":
    """One plot per metric, training beside validation."""
    from matplotlib.figure import Figure

    first = history[0] if history else {}
    names = list(dict.fromkeys(name.removeprefix(_VALIDATION) for name in first))
    figure = Figure(figsize=(_WIDTH * max(1, len(names)), _HEIGHT))
    epochs = range(1, len(history) + 1)
    for number, name in enumerate(names, start=1):
        axes = figure.add_subplot(1, len(names), number)
        for key, label in ((name, "training"), (_VALIDATION + name, "validation")):
            if key in first:
                axes.plot(epochs, [metrics[key] for metrics in history], marker=".", label=label)
        axes.set_title(name)
        axes.set_xlabel("epoch")
        axes.legend()
    return figure


def draw_timeline(timeline: Timeline) -> "Figure":
    """Speed and learning rate by step; lines mark where the training run continued, triangles the checkpoints."""
    from matplotlib.figure import Figure

    steps = [point.step for point in timeline.points]
    figure = Figure(figsize=(2 * _WIDTH, _HEIGHT))
    figure.subplots_adjust(wspace=0.3)
    speed = figure.add_subplot(1, 2, 1)
    speed.plot(steps, [point.examples_per_second for point in timeline.points], marker=".")
    speed.set_title("examples per second")
    rate = figure.add_subplot(1, 2, 2)
    rate.plot(steps, [point.learning_rate for point in timeline.points], marker=".")
    rate.set_title("learning rate")
    for axes in (speed, rate):
        axes.set_xlabel("step")
        axes.set_ylim(bottom=0)
        _mark(axes, timeline)
    return figure


def _mark(axes: "Axes", timeline: Timeline) -> None:
    for step in timeline.resumed_at:
        axes.axvline(step, color="tab:orange", linestyle="--", linewidth=1)
    for one in timeline.roll_backs:
        axes.axvline(one.to_step, color="tab:red", linestyle=":", linewidth=1)
    saved = [one.step for one in timeline.checkpoints]
    axes.plot(saved, [0] * len(saved), linestyle="none", marker="^", color="gray", clip_on=False)
