"""Convert a SavedModel to TFLite in several modes, measure each, and keep the smallest within a budget."""

import logging
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trainwright_components.datasets.reader import count_rows, sample_split
from trainwright_components.datasets.schema import Schema
from trainwright_components.datasets.task import Task, task_of
from trainwright_components.errors import BudgetExceeded, InvalidData, InvalidModule
from trainwright_components.files import write_whole
from trainwright_components.metrics.table import score_metric
from trainwright_components.quantize_tflite.budget import Budget
from trainwright_components.quantize_tflite.convert import (
    EXACT_MODE,
    MODES,
    ConversionFailed,
    Mode,
    choose_modes,
    convert,
)
from trainwright_components.quantize_tflite.measure import Arrays, Measurement, Rows, measure, score_answers
from trainwright_components.quantize_tflite.settings import QuantizationSettings
from trainwright_components.quantize_tflite.source import Source, open_source
from trainwright_components.settings import given_settings

logger = logging.getLogger(__name__)

_REFERENCE_BATCH = 256


@dataclass(frozen=True, kw_only=True)
class ModeResult:
    """One mode: what was measured of its model, or why there is none."""

    mode: str
    size_bytes: int | None = None
    measured: Measurement | None = None
    excesses: tuple[str, ...] = ()
    failure: str = ""

    @property
    def is_within_budget(self) -> bool:
        """Whether there is a model and it breaks no limit."""
        return self.measured is not None and not self.excesses

    def to_mapping(self) -> dict[str, Any]:
        """The fields as JSON values."""
        measured = asdict(self.measured) if self.measured else {}
        return {"mode": self.mode, "size_bytes": self.size_bytes, **measured, "excesses": list(self.excesses)} | (
            {"failure": self.failure} if self.failure else {}
        )


@dataclass(frozen=True, kw_only=True)
class Quantization:
    """What was tried and what was kept.

    Args:
        chosen: The smallest within the budget, else the one that breaks the fewest limits, those without NaN first;
            None when no mode converted.
        float_score: Accuracy, micro F1 or R2 of the SavedModel on the same rows.
        takes_raw_features: Whether preprocessing is inside the TFLite model.
        input_names: What the TFLite model calls its inputs, by the names of the columns, or of what `preprocess` makes.
    """

    task: Task
    modes: tuple[ModeResult, ...]
    chosen: ModeResult | None
    budget: Budget
    split: str
    rows: int
    float_score: float | None
    takes_raw_features: bool
    input_names: Mapping[str, str]
    output_name: str
    class_names: tuple[str, ...]

    @property
    def is_within_budget(self) -> bool:
        """Whether the kept model breaks no limit."""
        return self.chosen is not None and self.chosen.is_within_budget

    @property
    def score_name(self) -> str:
        """What `score` means here."""
        return score_metric(self.task)

    @property
    def metrics(self) -> dict[str, float]:
        """The numbers of the kept model, and the size and score of every mode."""
        numbers: dict[str, float | None] = {f"float_{self.score_name}": self.float_score}
        for result in self.modes:
            if result.measured:
                numbers[f"{result.mode}_size_bytes"] = result.size_bytes
                numbers[f"{result.mode}_{self.score_name}"] = result.measured.score
        if self.chosen and self.chosen.measured:
            measured = self.chosen.measured
            numbers |= {
                "size_bytes": self.chosen.size_bytes,
                self.score_name: measured.score,
                "agreement": measured.agreement,
                "latency_p50_ms": measured.p50_ms,
                "latency_p90_ms": measured.p90_ms,
            }
        return {name: float(value) for name, value in numbers.items() if value is not None}

    @property
    def metadata(self) -> dict[str, Any]:
        """What is kept beside the model, as JSON values."""
        return {
            "framework": "LiteRT",
            "is_within_budget": self.is_within_budget,
            "score_name": self.score_name,
            "takes_raw_features": self.takes_raw_features,
            "input_names": dict(self.input_names),
            "output_name": self.output_name,
            "class_names": list(self.class_names),
            **(self.chosen.to_mapping() if self.chosen else {}),
        }

    def require_budget(self) -> None:
        """Fail when the kept model is over the budget.

        Raises:
            InvalidModule: No mode converted.
            BudgetExceeded: Every mode breaks a limit.
        """
        if self.chosen is None:
            failures = "; ".join(f"{result.mode}: {result.failure}" for result in self.modes)
            raise InvalidModule(f"no TFLite mode can hold this model: {failures}")
        if not self.is_within_budget:
            tried = ", ".join(result.mode for result in self.modes)
            raise BudgetExceeded(
                f"no TFLite mode keeps the budget (tried {tried}); the nearest, {self.chosen.mode}, "
                f"{' and '.join(self.chosen.excesses)}"
            )


def quantize_model(
    saved_model: str | Path,
    dataset: str | Path,
    output: str | Path,
    *,
    settings: QuantizationSettings | Mapping[str, Any] | None = None,
) -> Quantization:
    """Write the chosen TFLite model to the file `output`; over budget too, so call `require_budget` afterwards.

    Args:
        saved_model: An exported model.
        dataset: A prepared dataset, to calibrate with and to compare on.
        output: The TFLite file.
        settings: Modes and budget, as `QuantizationSettings` or its fields by name; all modes and no limits when
            absent.

    Returns:
        What each mode gave, and which was chosen.

    Raises:
        InvalidSetting: An unknown mode, limit or split.
        InvalidData: The dataset is not there, or its split has no rows.
        InvalidModule: There is no SavedModel, or it has no signature of numbers.
    """
    saved_model, dataset, output = Path(saved_model), Path(dataset), Path(output)
    settings = given_settings(QuantizationSettings, settings)
    modes, budget = choose_modes(settings.modes), settings.budget
    schema = Schema.load(dataset)
    if not count_rows(dataset, settings.split):
        raise InvalidData(f"the split {settings.split!r} of {dataset} has no rows to compare models on")
    sources = open_source(saved_model)
    with tempfile.TemporaryDirectory() as name:
        contents: dict[str, bytes] = {}
        source, folder = _first_convertible(sources, Path(name), settings, contents)
        rows = _read_rows(source, dataset, schema, settings)
        calibration = _calibration_rows(source, dataset, schema, settings)
        results = []
        for mode in modes:
            result = _try_mode(mode, folder, rows, calibration, budget, settings, contents)
            results.append(result)
            logger.info("%s: %s", mode.name, _summary(result))
    chosen = _choose(results)
    if chosen:
        write_whole(output, contents[chosen.mode])
    return Quantization(
        task=rows.task,
        modes=tuple(results),
        chosen=chosen,
        budget=budget,
        split=settings.split,
        rows=len(rows),
        float_score=score_answers(rows.reference, rows.labels, rows.weights, task=rows.task),
        takes_raw_features=source.takes_raw_features,
        input_names=source.names,
        output_name=source.output_name,
        class_names=schema.value_names,
    )


def _try_mode(
    mode: Mode,
    folder: Path,
    rows: Rows,
    calibration: Sequence[Arrays],
    budget: Budget,
    settings: QuantizationSettings,
    contents: dict[str, bytes],
) -> ModeResult:
    try:
        content = contents.get(mode.name) or convert(folder, mode, calibration, integer_io=settings.integer_io)
        measured = measure(content, rows, threads=settings.threads, dynamic_batch=settings.dynamic_batch)
    except (ConversionFailed, RuntimeError, ValueError) as error:  # LiteRT refuses models with the last two
        return ModeResult(mode=mode.name, failure=str(error))
    contents[mode.name] = content
    excesses = budget.excesses(len(content), measured)
    return ModeResult(mode=mode.name, size_bytes=len(content), measured=measured, excesses=excesses)


def _choose(results: Sequence[ModeResult]) -> ModeResult | None:
    made = [result for result in results if result.measured]
    return min(made, key=_rank, default=None)


def _rank(result: ModeResult) -> tuple[bool, int, int]:
    """A model that answers NaN is not a near miss."""
    has_nan = result.measured is not None and result.measured.not_finite > 0
    return has_nan, len(result.excesses), result.size_bytes or 0


def _first_convertible(
    sources: Sequence[Source], folder: Path, settings: QuantizationSettings, contents: dict[str, bytes]
) -> tuple[Source, Path]:
    """Preprocessing may use operations that TFLite lacks; then the model is converted without it."""
    batch_size = None if settings.dynamic_batch else 1
    exact = MODES[EXACT_MODE]
    for source in sources:
        place = folder / source.signature_name
        source.write(place, batch_size=batch_size)
        try:
            contents[exact.name] = convert(place, exact, [])
        except ConversionFailed as error:
            logger.warning("the signature %s does not convert: %s", source.signature_name, error)
            continue
        return source, place
    return sources[0], folder / sources[0].signature_name


def _read_rows(source: Source, dataset: Path, schema: Schema, settings: QuantizationSettings) -> Rows:
    task = task_of(schema)
    inputs, labels, weights, reference = [], [], [], []
    for features, label, *weight in sample_split(dataset, settings.split, settings.max_rows).batch(_REFERENCE_BATCH):
        inputs.append(source.inputs(features))
        reference.append(source.answer(features))
        labels.append(label.numpy())
        weights += [each.numpy() for each in weight]
    order = np.random.default_rng(0).permutation(sum(map(len, labels)))  # scoring may stop before the last
    return Rows(
        task=task,
        inputs={name: np.concatenate([each[name] for each in inputs])[order] for name in inputs[0]},
        labels=np.concatenate(labels)[order],
        weights=np.concatenate(weights).astype(np.float64)[order] if weights else None,
        reference=np.concatenate(reference)[order],
    )


def _calibration_rows(source: Source, dataset: Path, schema: Schema, settings: QuantizationSettings) -> list[Arrays]:
    only_features = Schema(features=schema.features)
    rows = sample_split(dataset, "train", settings.calibration_rows, schema=only_features).batch(1)
    return [source.inputs(features) for (features,) in rows]


def _summary(result: ModeResult) -> str:
    if not result.measured:
        return f"cannot be converted: {result.failure}"
    score = "" if result.measured.score is None else f", score {result.measured.score:.4f}"
    return f"{result.size_bytes:,} bytes{score}, {result.measured.p50_ms:.3f} ms a row"
