"""KFP face of `quantize_model`: unpack, call, record."""

from kfp import dsl

from trainwright_components.images import CPU_IMAGE


@dsl.component(base_image=CPU_IMAGE, install_kfp_package=False)
def quantize_tflite(
    saved_model: dsl.Input[dsl.Model],
    dataset: dsl.Input[dsl.Dataset],
    tflite_model: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
    report: dsl.Output[dsl.HTML],
    modes: list = [],
    budget: dict = {},
    split: str = "test",
    max_rows: int = 1000,
    calibration_rows: int = 200,
    dynamic_batch: bool = False,
    integer_io: bool = False,
    threads: int = 1,
) -> None:
    """Shrink a SavedModel to TFLite in several ways, and keep the smallest that stays within a budget.

    Args:
        saved_model: The model, as export-savedmodel wrote it.
        dataset: The prepared dataset: train rows to calibrate with, others to compare on.
        modes: Of float32, dynamic_range, float16, int8 and int16x8; all when empty.
        budget: Limits by name, of max_size_bytes, max_latency_ms, max_accuracy_drop and min_agreement.
        split: What the modes are compared on.
        max_rows: How many rows at most, drawn evenly from all of it.
        calibration_rows: How many train rows, drawn evenly, teach integer modes the ranges of activations.
        dynamic_batch: Whether the model takes any number of rows at a time, not one.
        integer_io: Whether integer modes take and give integers.
        threads: Threads of the interpreter that is timed.

    Returns:
        tflite_model: The flatbuffer; over budget too, but then this step fails.
        metrics: The numbers of the kept model, and size and score of every mode.
        report: A page with every mode, and a plot of size against score.
    """
    from pathlib import Path

    from trainwright_components.files import write_whole
    from trainwright_components.quantize_tflite.page import build_report
    from trainwright_components.quantize_tflite.quantize import QuantizationSettings, quantize_model

    settings = QuantizationSettings(
        modes=tuple(modes),
        budget=budget,
        split=split,
        max_rows=max_rows,
        calibration_rows=calibration_rows,
        dynamic_batch=dynamic_batch,
        integer_io=integer_io,
        threads=threads,
    )
    quantization = quantize_model(
        Path(saved_model.path), Path(dataset.path), Path(tflite_model.path), settings=settings
    )
    write_whole(Path(report.path), build_report(quantization).html())
    for name, value in quantization.metrics.items():
        metrics.log_metric(name, value)
    metrics.metadata["modes"] = [result.to_mapping() for result in quantization.modes]
    tflite_model.metadata.update(quantization.metadata)
    quantization.require_budget()
