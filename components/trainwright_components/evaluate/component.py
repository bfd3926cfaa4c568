"""KFP face of `evaluate_model`: unpack, call, record."""

from typing import NamedTuple

from kfp import dsl

from trainwright_components.images import CPU_IMAGE


@dsl.component(base_image=CPU_IMAGE, install_kfp_package=False)
def evaluate(
    model: dsl.Input[dsl.Model],
    dataset: dsl.Input[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
    classification_metrics: dsl.Output[dsl.ClassificationMetrics],
    report: dsl.Output[dsl.HTML],
    split: str = "test",
    thresholds: dict = {},
    champion_base_path: str = "",
    champion_metric: str = "",
    champion_tolerance: float = 0.0,
    replace_incomparable_champion: bool = False,
    slices: list = [],
    batch_size: int = 256,
) -> NamedTuple("Outputs", [("is_blessed", bool), ("reasons", list), ("compared_with", str)]):  # type: ignore[valid-type]  # KFP's own form
    """Score a trained model on held-out rows, beside the model that is served now, and decide whether it may be served.

    Args:
        model: The trained model, as train-distributed or hyperparameter-tune wrote it.
        dataset: The prepared dataset.
        split: The part of the dataset to score on.
        thresholds: Limits by metric: a number, or an object with min, max, min_in_slices or max_in_slices.
        champion_base_path: The folder whose highest version is served now; empty compares with nothing.
        champion_metric: The metric that the champion is compared by; accuracy or rmse when empty.
        champion_tolerance: How much worse the model may be: a share of an unbounded error, else in the metric's units.
        replace_incomparable_champion: Whether a champion that cannot be read, or scored on these rows, may be replaced.
        slices: Categorical features whose values are scored one by one.
        batch_size: Rows scored at a time.

    Returns:
        metrics: The numbers, those of each slice, and those of the champion.
        classification_metrics: Confusion matrix and ROC curve of a classifier.
        report: A page with the verdict, the metrics and plots.
        is_blessed: Whether every check passed.
        reasons: Every check with kind, metric, value, limit, passed, message and advice; failed ones first.
        compared_with: The champion's version, none where no version was served; empty without champion_base_path.
    """
    from pathlib import Path
    from typing import NamedTuple

    from trainwright_components.evaluate.evaluate import evaluate_model
    from trainwright_components.evaluate.page import build_report, log_plots
    from trainwright_components.evaluate.settings import EvaluationSettings
    from trainwright_components.files import write_whole

    settings = EvaluationSettings(
        split=split,
        thresholds=thresholds,
        champion_base_path=champion_base_path,
        champion_metric=champion_metric,
        champion_tolerance=champion_tolerance,
        replace_incomparable_champion=replace_incomparable_champion,
        slices=tuple(slices),
        batch_size=batch_size,
    )
    evaluation = evaluate_model(Path(model.path), Path(dataset.path), settings=settings)
    for name, value in evaluation.metrics.items():
        metrics.log_metric(name, value)
    metrics.metadata.update(evaluation.metadata)
    log_plots(evaluation, classification_metrics)
    write_whole(Path(report.path), build_report(evaluation).html())

    class Outputs(NamedTuple):
        is_blessed: bool
        reasons: list
        compared_with: str

    return Outputs(is_blessed=evaluation.is_blessed, reasons=evaluation.reasons, compared_with=evaluation.compared_with)
