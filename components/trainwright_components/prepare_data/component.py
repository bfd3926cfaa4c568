"""KFP face of `prepare_data`: unpack, call, record."""

from kfp import dsl

from trainwright_components.images import CPU_IMAGE


@dsl.component(base_image=CPU_IMAGE, install_kfp_package=False)
def prepare_data(
    dataset: dsl.Output[dsl.Dataset],
    report: dsl.Output[dsl.HTML],
    source: str = "digits",
    label: str = "",
    task: str = "auto",
    source_format: str = "",
    validation_source: str = "",
    test_source: str = "",
    validation_fraction: float = 0.15,
    test_fraction: float = 0.15,
    stratify: bool = True,
    key_column: str = "",
    time_column: str = "",
    split_column: str = "",
    weight_column: str = "",
    exclude: list[str] = [],
    kinds: dict[str, str] = {},
    expected_schema: str = "",
    reference_above_mb: int = 1024,
    seed: int = 0,
) -> None:
    """Turn data into a dataset: typed, split, encoded, described.

    Args:
        source: A bundled set (digits, breast_cancer, wine, iris, diabetes), a file, a pattern, or a folder.
        label: The column to predict; the source's own when empty.
        task: auto, classification, regression, or none for data without a label.
        source_format: csv, jsonl, parquet, tfrecord, npz or images; found from the names of the files when empty.
        validation_source: Rows for validation, when they are files of their own.
        test_source: Rows for the final test, when they are files of their own.
        validation_fraction: The share of rows for validation; 0 for none.
        test_fraction: The share of rows for the final test; 0 for none.
        stratify: Whether each class is split in the same shares.
        key_column: Rows with the same value here stay in one split.
        time_column: The latest rows by this column are the test, those before them the validation.
        split_column: The column that says train, validation or test.
        weight_column: The column with the weight of each row.
        exclude: Columns that are no features.
        kinds: The kind of a column where its values do not tell, such as {"zip": "categorical"}.
        expected_schema: A schema.json or a prepared dataset that the data has to fit.
        reference_above_mb: TFRecord sources of at least this size are referred to and not copied.
        seed: Another number gives another split.

    Returns:
        dataset: The prepared folder: train, validation and test as TFRecords, schema.json, statistics.json.
        report: A page of statistics with plots.
    """
    from pathlib import Path

    from trainwright_components.prepare_data import prepare
    from trainwright_components.prepare_data.settings import PrepareSettings

    settings = PrepareSettings(
        label=label,
        task=task,
        source_format=source_format,
        validation_source=validation_source,
        test_source=test_source,
        validation_fraction=validation_fraction,
        test_fraction=test_fraction,
        stratify=stratify,
        key_column=key_column,
        time_column=time_column,
        split_column=split_column,
        weight_column=weight_column,
        exclude=tuple(exclude),
        kinds=kinds,
        expected_schema=expected_schema,
        reference_above_mb=reference_above_mb,
        seed=seed,
    )
    prepared = prepare.prepare_data(source, Path(dataset.path), settings)
    dataset.metadata["rows"] = {split: numbers.rows for split, numbers in prepared.statistics.splits.items()}
    dataset.metadata["is_referenced"] = prepared.is_referenced
    Path(report.path).write_text(prepared.draw_report().html(), encoding="utf-8")
