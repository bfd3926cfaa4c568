"""Score a file of rows with a served or exported model."""

from kfp import dsl

from trainwright_components.batch_predict.component import batch_predict


@dsl.pipeline(name="batch-score", display_name="Batch score")
def batch_score(
    model: str,
    source: str,
    source_format: str = "",
    encoding: str = "",
    delimiter: str = "",
    header: str = "auto",
    split: str = "",
    output_format: str = "jsonl",
    keep_columns: list = [],
) -> None:
    """Score a file of rows with a model that is served, or with an exported one.

    Args:
        model: The name of a model deployed on this machine, for its served version; or a SavedModel's folder or URI.
        source: A file, a pattern or a folder of rows without a label, or a prepared dataset; gs:// and s3:// too.
        source_format: csv, jsonl, parquet, tfrecord, npz or images; found from the names of the files when empty.
        encoding: Of text files, such as utf-16 or cp1252; as that of training or found when empty.
        delimiter: Between the values of text files: one sign, tab or blanks; as that of training or found when empty.
        header: Whether the first line of text files names the columns: yes, no or auto.
        split: Of a prepared dataset, the split to score; all of them when empty.
        output_format: jsonl, csv or parquet.
        keep_columns: Columns of the source to repeat beside the predictions, such as a key.
    """
    saved_model = dsl.importer(artifact_uri=model, artifact_class=dsl.Model, reimport=False)
    batch_predict(
        saved_model=saved_model.output,
        source=source,
        source_format=source_format,
        encoding=encoding,
        delimiter=delimiter,
        header=header,
        split=split,
        output_format=output_format,
        keep_columns=keep_columns,
    )
