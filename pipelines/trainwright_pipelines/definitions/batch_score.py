"""Score a file of rows with an exported model."""

from kfp import dsl

from trainwright_components.batch_predict.component import batch_predict


@dsl.pipeline(name="batch-score", display_name="Batch score")
def batch_score(
    saved_model_folder: str,
    source: str,
    source_format: str = "",
    split: str = "",
    output_format: str = "jsonl",
    keep_columns: list = [],
) -> None:
    """Score a file of rows with an exported model, such as a version that is served.

    Args:
        saved_model_folder: A SavedModel: the folder of one version, as deploy-serving published it; a URI elsewhere.
        source: A file, a pattern or a folder of rows without a label, or a prepared dataset; gs:// too.
        source_format: csv, jsonl, parquet, tfrecord, npz or images; found from the names of the files when empty.
        split: Of a prepared dataset, the split to score; all of them when empty.
        output_format: jsonl, csv or parquet.
        keep_columns: Columns of the source to repeat beside the predictions, such as a key.
    """
    model = dsl.importer(artifact_uri=saved_model_folder, artifact_class=dsl.Model, reimport=False)
    model.set_display_name("saved-model")
    batch_predict(
        saved_model=model.output,
        source=source,
        source_format=source_format,
        split=split,
        output_format=output_format,
        keep_columns=keep_columns,
    )
