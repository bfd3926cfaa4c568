"""KFP face of `prepare_data`: unpack, call, record."""

from typing import Any

from kfp import dsl

from trainwright_components.images import CPU_IMAGE


@dsl.component(base_image=CPU_IMAGE, install_kfp_package=False)
def prepare_data(
    dataset: dsl.Output[dsl.Dataset],
    report: dsl.Output[dsl.HTML],
    source: str = "digits",
    label: str = "",
    data: dict[str, Any] = {},
) -> None:
    """Turn data into a dataset: typed, split, encoded, described.

    Args:
        source: A bundled set (digits, breast_cancer, wine, iris, diabetes), a path or a pattern; gs:// and s3:// too.
        label: The column to predict; the source's own when empty.
        data: How rows are read, typed and split, such as task, format, time_column, test_source, exclude and kinds.

    Returns:
        dataset: The prepared folder: train, validation and test as TFRecords; schema, statistics and verdicts as JSON.
        report: A page of statistics with plots.
    """
    from pathlib import Path

    from trainwright_components.prepare_data import prepare
    from trainwright_components.prepare_data.settings import PrepareSettings

    settings = PrepareSettings.from_mapping(data, label=label)
    prepared = prepare.prepare_data(source, Path(dataset.path), settings)
    dataset.metadata["rows"] = {split: numbers.rows for split, numbers in prepared.statistics.splits.items()}
    dataset.metadata["is_referenced"] = prepared.is_referenced
    Path(report.path).write_text(prepared.draw_report().html(), encoding="utf-8")
