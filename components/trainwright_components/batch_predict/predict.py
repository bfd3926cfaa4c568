"""Score many rows with a SavedModel, batch by batch. Knows TensorFlow; knows nothing of KFP."""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from trainwright_components.batch_predict.answers import read_answers
from trainwright_components.batch_predict.page import PredictionSummary
from trainwright_components.batch_predict.prediction_files import WRITERS, PredictionWriter
from trainwright_components.batch_predict.rows import batches, check_needed, open_rows
from trainwright_components.datasets.chunks import Chunk, Column, Source, is_missing
from trainwright_components.datasets.encode import encode_features
from trainwright_components.datasets.progress import ProgressLog
from trainwright_components.datasets.schema import Schema
from trainwright_components.datasets.sources.dialect import DialectOptions
from trainwright_components.errors import InvalidData, InvalidSetting
from trainwright_components.files import whole_folder
from trainwright_components.hints import did_you_mean
from trainwright_components.saved_models.layout import SAVED_MODEL_FILE, written_schema
from trainwright_components.saved_models.loaded import LoadedModel, LoadedSignature, LoadingFailed
from trainwright_components.saved_models.signatures import SERVING_DEFAULT
from trainwright_components.settings import given_settings, read_settings

DEFAULT_BATCH_SIZE = 256
ROW = "row"
_REASON_CHARACTERS = 300

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class PredictSettings:
    """How to score.

    Args:
        source_format: The source's format; found from the names of the files when empty.
        encoding: Of text files, as `data.encoding` of training; as training's or found when empty.
        delimiter: Between their values, as `data.delimiter`; as training's or found when empty.
        header: Whether their first line names the columns: yes, no or auto.
        split: Of a prepared dataset; all of them when empty.
        output_format: `jsonl`, `csv` or `parquet`.
        batch_size: Rows scored at a time.
        keep_columns: Columns of the source that are repeated beside the predictions, such as a key.
        signature: The signature that answers.
    """

    source_format: str = ""
    encoding: str = ""
    delimiter: str = ""
    header: str = "auto"
    split: str = ""
    output_format: str = "jsonl"
    batch_size: int = DEFAULT_BATCH_SIZE
    keep_columns: tuple[str, ...] = ()
    signature: str = SERVING_DEFAULT

    def __post_init__(self) -> None:
        if self.output_format not in WRITERS:
            hint = did_you_mean(self.output_format, tuple(WRITERS))
            raise InvalidSetting(f"output_format {self.output_format!r} is not known{hint}")
        if self.batch_size < 1:
            raise InvalidSetting(f"batch_size must be at least 1, got {self.batch_size}")
        _ = self.dialect  # checks what it is made of

    @property
    def dialect(self) -> DialectOptions:
        """What is said about how text files are written."""
        return DialectOptions(encoding=self.encoding, delimiter=self.delimiter, header=self.header, said_by="")

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Self:
        """Settings from untyped values.

        Raises:
            InvalidSetting: An unknown name, or a value of the wrong type.
        """
        return read_settings(cls, values, where="prediction")


@dataclass(frozen=True, kw_only=True)
class _Model:
    signature: LoadedSignature
    schema: Schema


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """Where the predictions are, how many, and a page about them."""

    file: Path
    rows: int
    seconds: float
    report_html: str


def predict_rows(
    saved_model: str | Path,
    source: str | Path,
    output: str | Path,
    settings: PredictSettings | Mapping[str, Any] | None = None,
) -> Predictions:
    """Score every row of `source` and write `output`/predictions.<format>, whole or not at all.

    Args:
        saved_model: An exported model.
        source: Anything that prepare_data reads, without a label, or a prepared dataset.
        output: The folder of the predictions.
        settings: Formats, columns to keep, signature, as `PredictSettings` or its fields by name; the defaults when
            absent.

    Returns:
        The file, how many rows it holds, and a page about them.

    Raises:
        InvalidSetting: The model or the source is not there.
        InvalidData: A row does not fit what the model takes.
    """
    saved_model, output = Path(saved_model), Path(output)
    settings = given_settings(PredictSettings, settings)
    model = _load(saved_model, settings.signature)
    rows = open_rows(
        str(source),
        source_format=settings.source_format,
        split=settings.split,
        schema=model.schema,
        dialect=settings.dialect,
    )
    summary = PredictionSummary(str(source))
    started_s = time.monotonic()
    name = f"predictions.{settings.output_format}"
    with whole_folder(output, marker=name) as folder:
        with WRITERS[settings.output_format](folder / name) as writer:
            count = _score(rows, model, writer, summary, settings)
        if not count:
            raise InvalidData(f"{source} holds no rows")
    return Predictions(
        file=output / name, rows=count, seconds=time.monotonic() - started_s, report_html=summary.report().html()
    )


def _score(
    rows: Source,
    model: _Model,
    writer: PredictionWriter,
    summary: PredictionSummary,
    settings: PredictSettings,
) -> int:
    count, progress = 0, ProgressLog(_log, "scored")
    kept = tuple(dict.fromkeys([*rows.traits.identifiers, *settings.keep_columns]))
    for chunk in rows.chunks():
        check_needed(chunk, model.schema.feature_names, kept)
        for batch in batches(chunk, settings.batch_size):
            answers = read_answers(_answer(model, batch), model.schema.label)
            columns: dict[str, Column] = {ROW: np.arange(count + 1, count + batch.rows + 1)}
            columns |= {name: _kept(batch, name) for name in kept if name not in (ROW, *answers)}
            writer.write(columns | answers)
            summary.add(answers)
            count += batch.rows
            progress.add(batch.rows)
    return count


def _load(folder: Path, name: str) -> _Model:
    if not (folder / SAVED_MODEL_FILE).is_file():
        raise InvalidSetting(
            f"{folder} holds no SavedModel; give the folder with {SAVED_MODEL_FILE}, "
            "or the name of a model that is served here; a folder is meant where none is served by its name"
        )
    try:
        signatures = LoadedModel.load(folder).signatures
    except LoadingFailed as error:
        raise InvalidSetting(f"the SavedModel in {folder} cannot be loaded: {error}") from error
    if name not in signatures:
        raise InvalidSetting(f"the SavedModel in {folder} has no signature {name!r}{did_you_mean(name, signatures)}")
    return _Model(signature=signatures[name], schema=signatures[name].schema(written_schema(folder)))


def _answer(model: _Model, batch: Chunk) -> dict[str, Column]:
    import tensorflow as tf

    columns = encode_features(batch, model.schema)
    try:
        return model.signature.answer(columns)
    except (tf.errors.OpError, ValueError) as error:
        last = batch.first_row + batch.rows - 1
        raise InvalidData(f"{batch.place(0)} to {last}: the model cannot score these rows: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """The line that says what is wrong, among those that say where in the graph."""
    lines = str(getattr(error, "message", error)).splitlines()
    around = ("Graph execution error", "Detected at node", "<stack traces", " ", "\t")
    told = [line for line in lines if line and not line.startswith(around)]
    return (told or lines)[0][:_REASON_CHARACTERS]


def _kept(chunk: Chunk, name: str) -> Column:
    column = chunk.columns[name]
    if column.dtype != object:
        return column
    missing = is_missing(column).tolist()
    values = [None if absent else value for value, absent in zip(column.tolist(), missing, strict=True)]
    if any(isinstance(value, bytes) for value in values):
        raise InvalidSetting(f"keep_columns names {name!r}, which holds bytes; keep texts and numbers only")
    return np.array(values, dtype=object)
