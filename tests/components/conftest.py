"""Prepared datasets, trained and exported models on real data, made once for all tests and all their processes."""

import io
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_wine

import trainwright_components
from trainwright_components.cluster.launchers.docker_command import docker_version
from trainwright_components.errors import InvalidSetting
from trainwright_components.processes.locks import locked
from trainwright_components.processes.warm_parent import SOCKET_VARIABLE, WarmParent

MODULES = Path(__file__).parent / "modules"
_WHOLE = ".whole"  # written last into a folder that is made once

MadeOnce = Callable[[str, Callable[[Path], object]], Path]

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
def made_once(tmp_path_factory: pytest.TempPathFactory) -> MadeOnce:
    """Makes a folder of a name once for all processes of a test run; tests only read it."""
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "made_once"

    def made_once(name: str, make: Callable[[Path], object]) -> Path:
        folder = shared / name
        with locked(shared / f"{name}.lock"):
            if not (folder / _WHOLE).exists():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                make(folder)
                (folder / _WHOLE).touch()
        return folder

    return made_once


@pytest.fixture(scope="session")
def digits_dataset(made_once: MadeOnce) -> Path:
    """scikit-learn's digits: 1,797 rows, feature `image` (8, 8) float32 in 0-16, label `digit` of ten classes."""
    return _prepare("digits", "digits", made_once)


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
def tabular_dataset(tabular_csv: Path, made_once: MadeOnce) -> Path:
    """`tabular_csv` prepared: three classes, four numeric features, one categorical, missing values in two."""
    return _prepare("tabular", tabular_csv, made_once, label="cultivar")


@pytest.fixture(scope="session")
def regression_dataset(made_once: MadeOnce) -> Path:
    """scikit-learn's diabetes: 442 rows, ten numeric features, label `progression`, a number in 25-346."""
    return _prepare("regression", "diabetes", made_once)


@pytest.fixture(scope="session")
def several_csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """scikit-learn's wine as CSV: four numbers, three answers of yes and no about others, two more numbers."""
    wine = load_wine(as_frame=True).data
    table = wine[["alcohol", "hue", "flavanoids", "color_intensity"]].copy()
    for name, limit in (("ash", 2.4), ("magnesium", 100), ("malic_acid", 2)):
        table[f"much {name}"] = np.where(wine[name] > limit, "yes", "no")
    table[["proline", "total_phenols"]] = wine[["proline", "total_phenols"]]
    path = tmp_path_factory.mktemp("several") / "wine.csv"
    table.to_csv(path, index=False)
    return path


@pytest.fixture(scope="session")
def multilabel_dataset(several_csv: Path, made_once: MadeOnce) -> Path:
    """`several_csv` prepared: the labels `much ash`, `much magnesium`, `much malic_acid`, six numeric features."""
    labels = ("much ash", "much magnesium", "much malic_acid")
    return _prepare("multilabel", several_csv, made_once, labels=labels)


@pytest.fixture(scope="session")
def targets_dataset(several_csv: Path, made_once: MadeOnce) -> Path:
    """`several_csv` prepared: the targets `proline`, in hundreds, and `total_phenols`, in units; four features."""
    labels = ("proline", "total_phenols")
    exclude = ("much ash", "much magnesium", "much malic_acid")
    return _prepare("targets", several_csv, made_once, labels=labels, exclude=exclude)


def _prepare(name: str, source: str | Path, made_once: MadeOnce, **options: Any) -> Path:
    from trainwright_components.prepare_data.prepare import prepare_data
    from trainwright_components.prepare_data.settings import PrepareSettings

    settings = PrepareSettings(**options)
    made = made_once(f"{name}_dataset", lambda folder: prepare_data(source, folder / "dataset", settings))
    return made / "dataset"


def _train(name: str, module: str | Path, dataset: Path, made_once: MadeOnce, **options: Any) -> Path:
    from trainwright_components.training.configuration.settings import TrainingSettings
    from trainwright_components.training.run import run_training
    from trainwright_components.user_module.module import load_module

    params = options.pop("params", {})
    settings = TrainingSettings(batch_size=32, **options)

    def train(folder: Path) -> None:
        run_training(load_module(module), dataset, folder / "model", params=params, settings=settings)

    return made_once(f"{name}_model", train) / "model"


@pytest.fixture(scope="session")
def digits_model(digits_dataset: Path, made_once: MadeOnce) -> Path:
    """The shipped digits example, small and trained for a moment: about nine of ten right."""
    params = {"filters": 8, "units": 16, "dropout": 0.0, "learning_rate": 0.01}
    module = "trainwright_pipelines.examples.digits"
    return _train("digits", module, digits_dataset, made_once, params=params, epochs=4)


@pytest.fixture(scope="session")
def tabular_model(tabular_dataset: Path, made_once: MadeOnce) -> Path:
    """A classifier of `tabular_dataset` with a vocabulary in `preprocess`, a custom layer and logits."""
    return _train("tabular", MODULES / "wine.py", tabular_dataset, made_once, epochs=30)


@pytest.fixture(scope="session")
def regression_model(regression_dataset: Path, made_once: MadeOnce) -> Path:
    """A linear regression on `regression_dataset` without preprocessing."""
    return _train("regression", MODULES / "diabetes.py", regression_dataset, made_once, epochs=30)


@pytest.fixture(scope="session")
def multilabel_model(multilabel_dataset: Path, made_once: MadeOnce) -> Path:
    """A linear model of `multilabel_dataset` that puts out logits."""
    return _train("multilabel", MODULES / "several.py", multilabel_dataset, made_once, epochs=20)


@pytest.fixture(scope="session")
def targets_model(targets_dataset: Path, made_once: MadeOnce) -> Path:
    """A linear model of `targets_dataset`."""
    return _train("targets", MODULES / "several.py", targets_dataset, made_once, epochs=20)


@pytest.fixture(scope="session")
def digits_saved_model(digits_model: Path, digits_dataset: Path, made_once: MadeOnce) -> Path:
    """`digits_model` exported; `golden.jsonl` and `card.md` lie beside it."""
    return _export("digits", digits_model, digits_dataset, made_once)


@pytest.fixture(scope="session")
def tabular_saved_model(tabular_model: Path, tabular_dataset: Path, made_once: MadeOnce) -> Path:
    """`tabular_model` exported."""
    return _export("tabular", tabular_model, tabular_dataset, made_once)


@pytest.fixture(scope="session")
def regression_saved_model(regression_model: Path, regression_dataset: Path, made_once: MadeOnce) -> Path:
    """`regression_model` exported."""
    return _export("regression", regression_model, regression_dataset, made_once)


@pytest.fixture(scope="session")
def multilabel_saved_model(multilabel_model: Path, multilabel_dataset: Path, made_once: MadeOnce) -> Path:
    """`multilabel_model` exported."""
    return _export("multilabel", multilabel_model, multilabel_dataset, made_once)


@pytest.fixture(scope="session")
def targets_saved_model(targets_model: Path, targets_dataset: Path, made_once: MadeOnce) -> Path:
    """`targets_model` exported."""
    return _export("targets", targets_model, targets_dataset, made_once)


def _export(name: str, model: Path, dataset: Path, made_once: MadeOnce) -> Path:
    from trainwright_components.export_savedmodel.export import export_model

    def export(folder: Path) -> None:
        golden, card = folder / "golden.jsonl", folder / "card.md"
        export_model(model, dataset, folder / "saved_model", golden=golden, card=card)

    return made_once(f"{name}_export", export) / "saved_model"


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
