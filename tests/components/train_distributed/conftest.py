"""The tiny dataset and modules of the training tests."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from trainwright_components.datasets.schema import Feature, Label, Schema
from trainwright_components.datasets.writer import DatasetWriter
from trainwright_components.processes.warm_parent import WarmParent
from trainwright_components.training.result import TrainingResult
from trainwright_components.training.trained_model import TrainedModel

Difference = Callable[[TrainingResult, TrainingResult], float]


@pytest.fixture(scope="session", autouse=True)
def warm_clusters(warm_parent: WarmParent) -> None:
    """All clusters of these tests come from one process."""


@pytest.fixture(scope="session")
def small_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """53 training and 21 validation rows: numbers `a` (6,), a class of three, a weight."""
    folder = tmp_path_factory.mktemp("small") / "dataset"
    folder.mkdir()
    schema = Schema(
        features=(Feature(name="a", kind="numeric", dtype="float32", shape=(6,)),),
        label=Label(name="kind", kind="class", dtype="int64", class_names=("x", "y", "z")),
        weight="weight",
    )
    random = np.random.default_rng(7)
    with DatasetWriter(folder, schema, shards={"train": 3, "validation": 1}) as writer:
        for split, rows in (("train", 53), ("validation", 21)):
            a = random.normal(size=(rows, 6)).astype("float32")
            kind = np.digitize(a[:, 0] + a[:, 1], [-0.5, 0.5]).astype("int64")
            writer.write(split, {"a": a, "kind": kind, "weight": random.uniform(0.2, 2.0, rows).astype("float32")})
    return folder


@pytest.fixture(scope="session")
def difference() -> Difference:
    """The largest difference between two weights of the same place, of two saved models."""

    def between(one: TrainingResult, other: TrainingResult) -> float:
        models = [TrainedModel.load(result.model_folder).model for result in (one, other)]
        pairs = zip(*(model.get_weights() for model in models), strict=True)
        return max(float(np.abs(ours - theirs).max()) for ours, theirs in pairs)

    return between
