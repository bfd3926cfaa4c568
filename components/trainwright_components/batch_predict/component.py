"""KFP face of `predict_rows`: unpack, call, record."""

from kfp import dsl

from trainwright_components.images import CPU_IMAGE


@dsl.component(base_image=CPU_IMAGE, install_kfp_package=False)
def batch_predict(
    saved_model: dsl.Input[dsl.Model],
    predictions: dsl.Output[dsl.Dataset],
    report: dsl.Output[dsl.HTML],
    source: str,
    source_format: str = "",
    encoding: str = "",
    delimiter: str = "",
    header: str = "auto",
    split: str = "",
    output_format: str = "jsonl",
    batch_size: int = 256,
    keep_columns: list[str] = [],
    signature: str = "serving_default",
) -> int:
    """Score many rows with a SavedModel.

    Args:
        saved_model: The exported model.
        source: A file, a pattern or a folder that prepare-data could read, without a label; or a prepared dataset.
        source_format: csv, jsonl, parquet, tfrecord, npz or images; found from the names of the files when empty.
        encoding: Of text files, such as utf-16 or cp1252; as that of training or found when empty.
        delimiter: Between the values of text files: one sign, tab or blanks; as that of training or found when empty.
        header: Whether the first line of text files names the columns: yes, no or auto.
        split: Of a prepared dataset, the split to score; all of them when empty.
        output_format: jsonl, csv or parquet.
        batch_size: Rows that the model sees at once.
        keep_columns: Columns of the source to repeat beside the predictions, such as a key.
        signature: Which of the model's functions to call.

    Returns:
        predictions: A folder with one file, predictions.jsonl, predictions.csv or predictions.parquet.
        report: A page with the distribution of the predictions and the first rows.
        Output: How many rows were scored.
    """
    from pathlib import Path

    from trainwright_components.batch_predict.predict import PredictSettings, predict_rows

    settings = PredictSettings(
        source_format=source_format,
        encoding=encoding,
        delimiter=delimiter,
        header=header,
        split=split,
        output_format=output_format,
        batch_size=batch_size,
        keep_columns=tuple(keep_columns),
        signature=signature,
    )
    scored = predict_rows(Path(saved_model.path), source, Path(predictions.path), settings)
    predictions.metadata.update({"rows": scored.rows, "file": scored.file.name, "seconds": round(scored.seconds, 3)})
    Path(report.path).write_text(scored.report_html, encoding="utf-8")
    return scored.rows
