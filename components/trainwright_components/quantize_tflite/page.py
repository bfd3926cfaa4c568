"""The HTML page of a quantization."""

from typing import TYPE_CHECKING

from trainwright_components.quantize_tflite.convert import MODES
from trainwright_components.quantize_tflite.quantize import ModeResult, Quantization
from trainwright_components.reports import Report

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def build_report(quantization: Quantization) -> Report:
    """The page: verdict, every mode, size against score."""
    chosen = quantization.chosen
    verdict = (
        chosen.mode if chosen and quantization.is_within_budget else "over budget" if chosen else "no mode converts"
    )
    report = Report(f"TFLite: {verdict}")
    report.add_text(
        f"Measured on {quantization.rows:,} rows of the split {quantization.split!r} with LiteRT. "
        "Drop, agreement and errors are against the SavedModel's own answers; times are of single rows on this machine."
    )
    report.add_text(
        "The model takes raw features: preprocessing is inside."
        if quantization.takes_raw_features
        else "The model takes what the signature `preprocess` gives: TFLite cannot hold this model's preprocessing "
        "(strings, or operations that it lacks), so the caller has to do it."
    )
    limits = {name: limit for name, limit in vars(quantization.budget).items() if limit is not None}
    report.add_text(f"Budget: {', '.join(f'{name} {limit:g}' for name, limit in limits.items()) or 'no limits'}.")
    report.add_heading("Modes")
    report.add_table(
        [_row(result, is_chosen=result is chosen) for result in quantization.modes],
        header=(
            "mode",
            "verdict",
            "bytes",
            quantization.score_name,
            "drop",
            "agreement",
            "largest error",
            "mean error",
            "p50 ms",
            "p90 ms",
        ),
    )
    report.add_mapping({result.mode: MODES[result.mode].summary for result in quantization.modes})
    if any(result.measured and result.measured.score is not None for result in quantization.modes):
        report.add_figure(_draw(quantization), caption=f"Size against {quantization.score_name}.")
    return report


def _row(result: ModeResult, *, is_chosen: bool) -> tuple[str | int | float | None, ...]:
    measured = result.measured
    if measured is None:
        return (result.mode, f"cannot be converted: {result.failure}", *(None,) * 8)
    verdict = "; ".join(result.excesses) or "within budget"
    return (
        result.mode,
        f"chosen; {verdict}" if is_chosen else verdict,
        result.size_bytes,
        measured.score,
        measured.score_drop,
        measured.agreement,
        measured.max_abs_error,
        measured.mean_abs_error,
        measured.p50_ms,
        measured.p90_ms,
    )


def _draw(quantization: Quantization) -> "Figure":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.5, 4))
    axes = figure.subplots()
    for result in quantization.modes:
        if result.measured is None or result.measured.score is None or result.size_bytes is None:
            continue
        size = result.size_bytes / 1024
        axes.plot(size, result.measured.score, "*" if result is quantization.chosen else "o", markersize=11)
        axes.annotate(result.mode, (size, result.measured.score), xytext=(6, 6), textcoords="offset points")
    if quantization.float_score is not None:
        axes.axhline(quantization.float_score, color="grey", linestyle=":", label="SavedModel")
        axes.legend()
    axes.set(xlabel="size in KiB", ylabel=quantization.score_name)
    axes.margins(x=0.25, y=0.25)
    return figure
