"""KFP face of `prepare_data`: unpack, call, record."""

from kfp import dsl

from trainwright_components.images import CPU_IMAGE


@dsl.component(base_image=CPU_IMAGE, install_kfp_package=False)
def prepare_data(
    dataset: dsl.Output[dsl.Dataset],
    report: dsl.Output[dsl.HTML],
    source: str = "digits",
    label: str = "",
    validation_fraction: float = 0.15,
    test_fraction: float = 0.15,
    seed: int = 0,
) -> None:
    """Turn data into a dataset: typed, split, encoded, described.

    Args:
        dataset: The prepared folder: train, validation and test as TFRecords, schema.json, statistics.json.
        report: A page of statistics with plots.
        source: What to read: a bundled set (digits), or the path of a file or a folder.
        label: The column to predict; a bundled set knows its own.
        validation_fraction: The share of rows for validation.
        test_fraction: The share of rows for the final test.
        seed: Another number gives another split.
    """
    from pathlib import Path

    from trainwright_components.prepare_data import prepare

    prepared = prepare.prepare_data(
        source,
        Path(dataset.path),
        label=label,
        validation_fraction=validation_fraction,
        test_fraction=test_fraction,
        seed=seed,
    )
    dataset.metadata["rows"] = {name: split.rows for name, split in prepared.statistics.splits.items()}
    Path(report.path).write_text(prepared.report_html, encoding="utf-8")
