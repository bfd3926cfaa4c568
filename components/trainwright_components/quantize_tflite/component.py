"""KFP face of `quantize_model`: unpack, call, record."""

from typing import Any

from kfp import dsl

from trainwright_components.images import CPU_IMAGE


@dsl.component(base_image=CPU_IMAGE, install_kfp_package=False)
def quantize_tflite(
    saved_model: dsl.Input[dsl.Model],
    dataset: dsl.Input[dsl.Dataset],
    tflite_model: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
    report: dsl.Output[dsl.HTML],
    quantization: dict[str, Any] = {},
) -> None:
    """Shrink a SavedModel to TFLite in several ways, and keep the smallest that stays within a budget.

    Args:
        saved_model: The model, as export-savedmodel wrote it.
        dataset: The prepared dataset: train rows to calibrate with, others to compare on.
        quantization: TFLite models: enabled, modes and budget, among others.

    Returns:
        tflite_model: The flatbuffer; over budget too, but then this step fails.
        metrics: The numbers of the kept model, and size and score of every mode.
        report: A page with every mode, and a plot of size against score.
    """
    from pathlib import Path

    from trainwright_components.files import write_whole
    from trainwright_components.quantize_tflite.page import build_report
    from trainwright_components.quantize_tflite.quantize import quantize_model
    from trainwright_components.quantize_tflite.settings import QuantizationSettings
    from trainwright_components.settings import check_enabled

    settings = QuantizationSettings.from_mapping(quantization)
    check_enabled(settings.enabled, where="quantization", output="quantize")
    quantized = quantize_model(Path(saved_model.path), Path(dataset.path), Path(tflite_model.path), settings=settings)
    write_whole(Path(report.path), build_report(quantized).html())
    for name, value in quantized.metrics.items():
        metrics.log_metric(name, value)
    metrics.metadata["modes"] = [result.to_mapping() for result in quantized.modes]
    tflite_model.metadata.update(quantized.metadata)
    quantized.require_budget()
