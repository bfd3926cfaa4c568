"""Prepared datasets, trained and exported models on real data, made once for all tests of components."""

import io
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_wine

import trainwright_components
from trainwright_components.cluster.launchers.docker_command import docker_version
from trainwright_components.errors import InvalidSetting
from trainwright_components.processes.warm_parent import SOCKET_VARIABLE, WarmParent

MODULES = Path(__file__).parent / "modules"

# Keras 3.15 reads its variables in a way that NumPy 2.4 finds old-fashioned, whenever a model is saved.
_KERAS_AND_NUMPY = "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("filterwarnings", _KERAS_AND_NUMPY)


@pytest.fixture(scope="session")
def warm_parent() -> Iterator[WarmParent]:
    """Starts processes that have imported TensorFlow and run no operation; clusters find it as a step's do."""
    with pytest.MonkeyPatch.context() as patch, WarmParent.start(("tensorflow", "keras")) as parent:
        patch.setenv(SOCKET_VARIABLE, str(parent.address))
        yield parent


@pytest.fixture(scope="session")
def digits_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """scikit-learn's digits: 1,797 rows, feature `image` (8, 8) float32 in 0-16, label `digit` of ten classes."""
    from trainwright_components.prepare_data.prepare import prepare_data

    return prepare_data("digits", tmp_path_factory.mktemp("digits") / "dataset").dataset


@pytest.fixture(scope="session")
def tabular_csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """scikit-learn's wine as CSV: 178 rows, label `cultivar` (class_0 to class_2), four numbers, the text `strength`.

    Every 15th `ash` and every 20th `strength` is missing.
    """
    wine = load_wine(as_frame=True)
    table = wine.data[["alcohol", "ash", "hue", "proline"]].copy()
    table["strength"] = np.where(
        table["alcohol"] > 13.5, "strong", np.where(table["alcohol"] > 12.5, "medium", "light")
    )
    table.loc[::15, "ash"] = np.nan
    table.loc[::20, "strength"] = None
    table["cultivar"] = pd.Series(wine.target_names[wine.target], index=table.index)
    path = tmp_path_factory.mktemp("tabular") / "wine.csv"
    table.to_csv(path, index=False)
    return path


@pytest.fixture(scope="session")
def tabular_dataset(tabular_csv: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`tabular_csv` prepared: three classes, four numeric features, one categorical, missing values in two."""
    from trainwright_components.prepare_data.prepare import prepare_data
    from trainwright_components.prepare_data.settings import PrepareSettings

    output = tmp_path_factory.mktemp("tabular") / "dataset"
    return prepare_data(tabular_csv, output, PrepareSettings(label="cultivar")).dataset


@pytest.fixture(scope="session")
def regression_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """scikit-learn's diabetes: 442 rows, ten numeric features, label `progression`, a number in 25-346."""
    from trainwright_components.prepare_data.prepare import prepare_data

    return prepare_data("diabetes", tmp_path_factory.mktemp("regression") / "dataset").dataset


def _train(module: str | Path, dataset: Path, folder: Path, **options: Any) -> Path:
    from trainwright_components.training.configuration.settings import TrainingSettings
    from trainwright_components.training.run import run_training
    from trainwright_components.user_module.module import load_module

    params = options.pop("params", {})
    settings = TrainingSettings(batch_size=32, **options)
    return run_training(load_module(module), dataset, folder, params=params, settings=settings).model_folder


@pytest.fixture(scope="session")
def digits_model(digits_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped digits example, small and trained for a moment: about nine of ten right."""
    folder = tmp_path_factory.mktemp("digits_model")
    params = {"filters": 8, "units": 16, "dropout": 0.0, "learning_rate": 0.01}
    return _train("trainwright_pipelines.examples.digits", digits_dataset, folder, params=params, epochs=4)


@pytest.fixture(scope="session")
def tabular_model(tabular_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier of `tabular_dataset` with a vocabulary in `preprocess`, a custom layer and logits."""
    return _train(MODULES / "wine.py", tabular_dataset, tmp_path_factory.mktemp("tabular_model"), epochs=30)


@pytest.fixture(scope="session")
def regression_model(regression_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A linear regression on `regression_dataset` without preprocessing."""
    return _train(MODULES / "diabetes.py", regression_dataset, tmp_path_factory.mktemp("regression_model"), epochs=30)


@pytest.fixture(scope="session")
def digits_saved_model(digits_model: Path, digits_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`digits_model` exported; `golden.jsonl` and `card.md` lie beside it."""
    return _export(digits_model, digits_dataset, tmp_path_factory.mktemp("digits_export"))


@pytest.fixture(scope="session")
def tabular_saved_model(tabular_model: Path, tabular_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`tabular_model` exported."""
    return _export(tabular_model, tabular_dataset, tmp_path_factory.mktemp("tabular_export"))


@pytest.fixture(scope="session")
def regression_saved_model(
    regression_model: Path, regression_dataset: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """`regression_model` exported."""
    return _export(regression_model, regression_dataset, tmp_path_factory.mktemp("regression_export"))


def _export(model: Path, dataset: Path, folder: Path) -> Path:
    from trainwright_components.export_savedmodel.export import export_model

    golden, card = folder / "golden.jsonl", folder / "card.md"
    return export_model(model, dataset, folder / "saved_model", golden=golden, card=card).folder


def docker_answers() -> bool:
    try:
        return bool(docker_version())
    except InvalidSetting:
        return False


@pytest.fixture(scope="session")
def this_python() -> tuple[Path, ...]:
    """What a container needs of this machine to run this Python with all packages."""
    code = Path(trainwright_components.__file__).parents[2]
    return tuple(dict.fromkeys((Path("/usr"), Path(sys.base_prefix), Path(sys.prefix), code)))


@pytest.fixture(scope="session")
def docker_image() -> Iterator[str]:
    """An image with nothing in it but the places where this machine's programs and this Python are mounted."""
    if not docker_answers():
        if os.environ.get("TRAINWRIGHT_TEST_DOCKER"):
            pytest.fail("no Docker daemon answers, and TRAINWRIGHT_TEST_DOCKER says that one should")
        pytest.skip("no Docker daemon answers: clusters of containers are left out")
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for name in ("tmp", "usr", "etc", "proc", "dev", "sys", "sbin"):
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = tarfile.DIRTYPE, 0o1777
            archive.addfile(folder)
        for name in ("bin", "lib", "lib64"):
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, f"usr/{name}"
            archive.addfile(link)
    name = f"trainwright-test:{os.getpid()}"
    path = f"ENV PATH={Path(sys.prefix) / 'bin'}:/usr/bin"
    subprocess.run(["docker", "import", "--change", path, "-", name], input=content.getvalue(), check=True)
    yield name
    subprocess.run(["docker", "rmi", "--force", name], capture_output=True, check=True)
