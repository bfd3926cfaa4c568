"""KFP face of `evaluate_model`: unpack, call, record."""

from typing import Any, NamedTuple

from kfp import dsl

from trainwright_components.images import CPU_IMAGE


@dsl.component(base_image=CPU_IMAGE, install_kfp_package=False)
def evaluate(
    model: dsl.Input[dsl.Model],
    dataset: dsl.Input[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
    classification_metrics: dsl.Output[dsl.ClassificationMetrics],
    report: dsl.Output[dsl.HTML],
    evaluation: dict[str, Any] = {},
    quantization: dict[str, Any] = {},
    serving: dict[str, Any] = {},
) -> NamedTuple(  # type: ignore[valid-type]  # KFP's own form
    "Outputs",
    [
        ("is_blessed", bool),
        ("reasons", list),
        ("compared_with", str),
        ("quantize", bool),
        ("deploy", bool),
        ("scores", dict),
    ],
):
    """Score a trained model on held-out rows, beside the model that is served now, and decide whether it may be served.

    Args:
        model: The trained model, as train-distributed or hyperparameter-tune wrote it.
        dataset: The prepared dataset.
        evaluation: What is asked of the model, such as thresholds, slices and champion_tolerance.
        quantization: TFLite models: enabled, modes and budget, among others.
        serving: Where the model is served: enabled, and base_path, the folder of its versions.

    Returns:
        metrics: The numbers, those of each slice, and those of the champion.
        classification_metrics: Confusion matrix and ROC curve of a classifier.
        report: A page with the verdict, the metrics and plots.
        is_blessed: Whether every check passed.
        reasons: Every check with kind, metric, value, limit, passed, message and advice; failed ones first.
        compared_with: The champion's version, none where no version was served; empty without serving.base_path.
        quantize: Whether to make a TFLite model: it is blessed, and quantization.enabled.
        deploy: Whether to serve the model: it is blessed, and serving.enabled.
        scores: The model's metric and that of each baseline, by name, for the model card.
    """
    from pathlib import Path
    from typing import NamedTuple

    from trainwright_components.evaluate.evaluate import evaluate_model
    from trainwright_components.evaluate.page import build_report, log_plots
    from trainwright_components.files import write_whole
    from trainwright_components.metrics.settings import EvaluationSettings
    from trainwright_components.saved_models.serving import ServingSettings
    from trainwright_components.settings import is_enabled

    served, quantizes = ServingSettings.from_mapping(serving), is_enabled(quantization, where="quantization")
    settings = EvaluationSettings.from_mapping(evaluation, champion_base_path=served.base_path)
    evaluated = evaluate_model(Path(model.path), Path(dataset.path), settings=settings)
    for name, value in evaluated.numbers.items():
        metrics.log_metric(name, value)
    metrics.metadata.update(evaluated.metadata)
    log_plots(evaluated, classification_metrics)
    write_whole(Path(report.path), build_report(evaluated).html())

    class Outputs(NamedTuple):
        is_blessed: bool
        reasons: list
        compared_with: str
        quantize: bool
        deploy: bool
        scores: dict

    return Outputs(
        is_blessed=evaluated.is_blessed,
        reasons=evaluated.reasons,
        compared_with=evaluated.compared_with,
        quantize=evaluated.is_blessed and quantizes,
        deploy=evaluated.is_blessed and served.enabled,
        scores=evaluated.baselines.scores,
    )
