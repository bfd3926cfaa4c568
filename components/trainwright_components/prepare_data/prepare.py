"""Turn a source of rows into a dataset: split, encode, describe. Knows data; knows nothing of KFP."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trainwright_components.datasets.schema import Feature, Label, Schema
from trainwright_components.datasets.statistics import Statistics
from trainwright_components.datasets.writer import DatasetWriter, choose_shards
from trainwright_components.errors import InvalidSetting
from trainwright_components.files import whole_folder
from trainwright_components.reports import Report


@dataclass(frozen=True, kw_only=True)
class PreparedData:
    """What was prepared, where it is, and a page about it."""

    dataset: Path
    schema: Schema
    statistics: Statistics
    report_html: str


def prepare_data(
    source: str,
    output: Path,
    *,
    label: str = "",
    validation_fraction: float = 0.15,
    test_fraction: float = 0.15,
    seed: int = 0,
) -> PreparedData:
    """Prepare `source` as a dataset in the folder `output`."""
    if source != "digits":
        raise InvalidSetting(f"source must be digits, got {source!r}")
    from sklearn.datasets import load_digits

    digits = load_digits()
    schema = Schema(
        features=(Feature(name="image", kind="image", dtype="float32", shape=(8, 8)),),
        label=Label(name="digit", kind="class", dtype="int64", class_names=tuple(map(str, range(10)))),
    )
    draw = np.random.default_rng(seed).random(len(digits.target))
    split = np.where(draw < test_fraction, 2, np.where(draw < test_fraction + validation_fraction, 1, 0))
    with whole_folder(output) as folder:
        shards = {
            name: choose_shards(int((split == number).sum()))
            for number, name in enumerate(("train", "validation", "test"))
        }
        with DatasetWriter(folder, schema, shards=shards) as writer:
            for number, name in enumerate(shards):
                rows = split == number
                columns = {
                    "image": digits.images[rows].astype(np.float32),
                    "digit": digits.target[rows].astype(np.int64),
                }
                writer.write(name, columns)
    assert writer.statistics is not None
    page = Report("Dataset digits").add_table(
        [[name, split.rows] for name, split in writer.statistics.splits.items()], header=["split", "rows"]
    )
    return PreparedData(dataset=output, schema=schema, statistics=writer.statistics, report_html=page.html())
