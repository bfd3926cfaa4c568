"""The HTML page and the KFP plots of an evaluation."""

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from trainwright_components.evaluate.cross_validation import CrossValidation
from trainwright_components.evaluate.evaluate import Evaluation
from trainwright_components.metrics.bootstrap import THRESHOLD
from trainwright_components.metrics.classification import ClassificationScores
from trainwright_components.metrics.multilabel import MultilabelScores
from trainwright_components.metrics.regression import RegressionScores
from trainwright_components.metrics.score_curve import RocCurve
from trainwright_components.metrics.thresholds import KERAS_PREFIX
from trainwright_components.reports import Report, dotted

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_MATRIX_CLASSES = 100
ROC_NOTE = "rocNote"
_MAX_NUMBERED_CLASSES = 20
_HISTOGRAM_BINS = 40
_MAX_DRAWN_TARGETS = 8


class ClassificationLog(Protocol):
    """The part of KFP's ClassificationMetrics that is used here."""

    metadata: dict[str, Any]

    def log_confusion_matrix(self, categories: list[str], matrix: list[list[float]]) -> None:
        """Record the whole matrix."""

    def log_roc_curve(self, fpr: list[float], tpr: list[float], threshold: list[float]) -> None:
        """Record all points of the curve."""


def log_plots(evaluation: Evaluation, log: ClassificationLog) -> None:
    """Record the confusion matrix and the ROC curve; only a classifier of one label has them."""
    scores = evaluation.scores
    if not isinstance(scores, ClassificationScores):
        return
    if len(scores.classes) <= MAX_MATRIX_CLASSES:
        counts = scores.confusion.tolist()
        whole = all(value.is_integer() for row in counts for value in row)
        rows = [[int(value) if whole else value for value in row] for row in counts]
        log.log_confusion_matrix([each.name for each in scores.classes], rows)
    if scores.roc:
        curve = scores.roc
        log.log_roc_curve(list(curve.false_positive_rates), list(curve.true_positive_rates), list(curve.thresholds))
        log.metadata[ROC_NOTE] = _roc_note(scores)


def _roc_note(scores: ClassificationScores) -> str:
    """Which curve it is, and how its area goes with the metric `auc`."""
    if len(scores.classes) == 2:
        return f"of class {scores.classes[1].name}; its area, up to the points left out, is the metric auc"
    return "micro average of each class against the rest; the metric auc is the mean over the classes"


def build_report(evaluation: Evaluation) -> Report:
    """The page of an evaluation: verdict, metrics, plots, champion, slices."""
    scores = evaluation.scores
    report = Report(f"Evaluation: {'blessed' if evaluation.is_blessed else 'not blessed'}")
    report.add_text(f"{scores.rows:,} rows of the split {evaluation.split!r}.")
    checks = sorted(evaluation.checks, key=lambda check: check.passed)
    report.add_table(
        [("passed" if check.passed else "FAILED", check.message) for check in checks], header=("check", "what it found")
    )
    _add_metrics(report, evaluation)
    if isinstance(scores, ClassificationScores):
        _add_classification(report, scores)
    elif isinstance(scores, MultilabelScores):
        _add_labels(report, scores)
    else:
        _add_regression(report, scores)
    _add_slices(report, evaluation)
    if evaluation.cross_validation:
        _add_folds(report, evaluation.cross_validation)
    report.add_heading("Hyperparameters in effect").add_mapping(dict(dotted(evaluation.hyperparameters)))
    return report


def _add_metrics(report: Report, evaluation: Evaluation) -> None:
    champion, compared = evaluation.champion, evaluation.baselines
    columns = [("this model", evaluation.metrics)]
    if champion and champion.scores:
        other = champion.scores.metrics
        columns.append((f"champion (version {champion.version})", other))
        columns.append(
            ("difference", {name: value - other[name] for name, value in evaluation.metrics.items() if name in other})
        )
    columns += [(f"baseline: {each.name}", each.scores.metrics) for each in compared.baselines]
    report.add_heading("Metrics")
    report.add_table(
        [(name, *(values.get(name) for _, values in columns)) for name in evaluation.metrics],
        header=("metric", *(title for title, _ in columns)),
    )
    if any(name.startswith(KERAS_PREFIX) for name in evaluation.metrics):
        report.add_text(f"Names that begin with {KERAS_PREFIX} are the model's own compiled loss and metrics.")
    if compared.baselines:
        report.add_text(
            f"The baselines were trained on all training rows and are compared by {compared.metric}: the 95 % interval "
            "is that of the paired bootstrap."
        )
    for name, note in compared.notes.items():
        report.add_text(f"Baseline {name}: {note}.")


def _add_classification(report: Report, scores: ClassificationScores) -> None:
    report.add_heading("Classes")
    report.add_table(
        [(c.name, c.precision, c.recall, c.f1, c.auc, c.support) for c in scores.classes],
        header=("class", "precision", "recall", "F1", "AUC", "weight of rows"),
    )
    if len(scores.classes) <= MAX_MATRIX_CLASSES:
        report.add_figure(_draw_confusion(scores), caption="Confusion matrix; colours are shares of each row.")
    if scores.roc:
        report.add_figure(_draw_roc(scores.roc), caption=f"ROC curve, {_roc_note(scores)}.")
    report.add_figure(
        _draw_calibration(scores),
        caption="How often the model is right, by how sure it is; points on the diagonal are perfectly calibrated.",
    )


def _add_labels(report: Report, scores: MultilabelScores) -> None:
    report.add_heading("Labels")
    report.add_text(f"A label is predicted where its probability is above {THRESHOLD}.")
    report.add_table(
        [
            (each.name, each.precision, each.recall, each.f1, each.auc, each.support, each.support / scores.total)
            for each in scores.labels
        ],
        header=("label", "precision", "recall", "F1", "AUC", "weight of rows", "share"),
    )


def _add_regression(report: Report, scores: RegressionScores) -> None:
    if scores.targets:
        names = list(scores.metrics)
        report.add_heading("Targets")
        report.add_text("The metrics above are means over the targets; max_error is the largest of all.")
        report.add_table(
            [(target, *(numbers.get(name) for name in names)) for target, numbers in scores.targets.items()],
            header=("target", *names),
        )
    report.add_heading("Residuals")
    if len(scores.sample_labels) < scores.rows:
        report.add_text(f"The plots show {len(scores.sample_labels):,} rows drawn at random.")
    said = "Predictions against labels, and the error's distribution."
    for place, target in enumerate([*scores.targets][:_MAX_DRAWN_TARGETS]):
        labels, predictions = scores.sample_labels[:, place], scores.sample_predictions[:, place]
        report.add_figure(_draw_residuals(labels, predictions), caption=f"{target}: {said[0].lower()}{said[1:]}")
    if not scores.targets:
        report.add_figure(
            _draw_residuals(scores.sample_labels.ravel(), scores.sample_predictions.ravel()), caption=said
        )


def _add_slices(report: Report, evaluation: Evaluation) -> None:
    if not evaluation.slices:
        return
    names = list(evaluation.scores.metrics)
    report.add_heading("Slices")
    report.add_table(
        [
            ("all rows", evaluation.scores.rows, *evaluation.scores.metrics.values()),
            *((s.name, s.scores.rows, *(s.scores.metrics.get(name) for name in names)) for s in evaluation.slices),
        ],
        header=("slice", "rows", *names),
    )


def _add_folds(report: Report, found: CrossValidation) -> None:
    mean, std = found.mean, found.std
    report.add_heading("Cross-validation")
    report.add_text(
        f"The module was trained {len(found.folds)} times more on the training and validation rows without one fold, "
        "with the same parameters and settings, and scored on that fold. The rows of the test are in none."
    )
    report.add_table([(name, mean[name], std[name]) for name in mean], header=("metric", "mean", "standard deviation"))
    report.add_table(
        [
            (number, fold.trained_on, fold.rows, *(fold.metrics.get(name) for name in mean))
            for number, fold in enumerate(found.folds, start=1)
        ],
        header=("fold", "rows to train", "rows scored", *mean),
    )


def _draw_confusion(scores: ClassificationScores) -> "Figure":
    from matplotlib.figure import Figure

    names, matrix = [each.name for each in scores.classes], scores.confusion
    totals = matrix.sum(axis=1, keepdims=True)
    shares = np.divide(matrix, totals, out=np.zeros_like(matrix), where=totals > 0)
    side = min(9.0, 2.5 + 0.45 * len(names))
    figure = Figure(figsize=(side, side))
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if len(names) <= _MAX_NUMBERED_CLASSES:
        axes.set_xticks(range(len(names)), names, rotation=90 if max(map(len, names)) > 2 else 0)
        axes.set_yticks(range(len(names)), names)
        for (row, column), value in np.ndenumerate(matrix):
            colour = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, f"{value:g}", ha="center", va="center", color=colour, fontsize=8)
    axes.set(xlabel="prediction", ylabel="label")
    return figure


def _draw_roc(curve: RocCurve) -> "Figure":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.5, 4.5))
    axes = figure.subplots()
    axes.plot(curve.false_positive_rates, curve.true_positive_rates)
    axes.plot([0, 1], [0, 1], color="grey", linestyle=":")
    axes.set(xlabel="false positive rate", ylabel="true positive rate", xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    return figure


def _draw_calibration(scores: ClassificationScores) -> "Figure":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.5, 4.5))
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="grey", linestyle=":")
    total = sum(weight for weight, _, _ in scores.calibration)
    for weight, confidence, accuracy in scores.calibration:
        axes.plot(confidence, accuracy, "o", color="C0", markersize=4 + 16 * weight / total)
    axes.set(xlabel="confidence", ylabel="accuracy", xlim=(-0.05, 1.05), ylim=(-0.05, 1.05))
    return figure


def _draw_residuals(labels: NDArray[np.float64], predictions: NDArray[np.float64]) -> "Figure":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4))
    left, right = figure.subplots(1, 2)
    ends = [min(labels.min(), predictions.min()), max(labels.max(), predictions.max())]
    left.plot(ends, ends, color="grey", linestyle=":")
    left.plot(labels, predictions, ".", alpha=0.4)
    left.set(xlabel="label", ylabel="prediction")
    right.hist(predictions - labels, bins=_HISTOGRAM_BINS)
    right.axvline(0, color="grey", linestyle=":")
    right.set(xlabel="prediction minus label", ylabel="rows")
    return figure
