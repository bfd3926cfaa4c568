"""`trainwright new`: what it writes fits the data and trains."""

import base64
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
import yaml

from trainwright_components.datasets.schema import Schema
from trainwright_components.datasets.sources.bundled import BUNDLED_NAMES
from trainwright_components.datasets.statistics import Statistics
from trainwright_components.prepare_data.prepare import prepare_data
from trainwright_components.prepare_data.settings import PrepareSettings
from trainwright_components.training.module_check import check_module
from trainwright_components.user_module.module import Context, load_module, resolve_params
from trainwright_pipelines.requests.locations import BUNDLED_SOURCES
from trainwright_pipelines.scaffold.project import TRAINING, training_for

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
)  # one grey pixel


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Numbers with gaps, categories with gaps, an awkward name, a label of classes and one of numbers."""
    random = np.random.default_rng(0)
    size = random.normal(10, 3, 120)
    frame = pd.DataFrame(
        {
            "size": np.where(random.random(120) < 0.1, np.nan, size),
            "rooms": random.integers(1, 6, 120),
            'odd "name"/x': random.normal(size=120),
            "city": random.choice(np.array(["Bern", "Genève", None], object), 120),
            "kind": np.where(size > 10, "large", "small"),
            "price": size * 100 + random.normal(size=120),
        }
    )
    path = tmp_path / "table.csv"
    frame.to_csv(path, index=False)
    return path


@pytest.mark.parametrize("label", ["kind", "price"])
def test_the_written_module_fits_the_table_and_builds(
    trainwright: Callable[..., Any], table: Path, tmp_path: Path, label: str
) -> None:
    folder = tmp_path / "my project"
    outcome = trainwright("new", str(folder), "--source", str(table), "--label", label)
    assert outcome.code == 0, outcome.err
    params = yaml.safe_load((folder / "params.yaml").read_text())
    assert (folder / params["source"]).resolve() == table
    assert params["model_name"] == "my_project"
    dataset = tmp_path / "dataset"
    prepare_data(table, dataset, PrepareSettings(label=params["label"]))
    module = load_module(folder / params["module"])
    context = Context(
        params=resolve_params(module, params["params"]),
        schema=Schema.load(dataset),
        statistics=Statistics.load(dataset),
        dataset=dataset,
    )
    check_module(module, context)
    features = {
        feature.name: tf.constant(["Genève", "Atlantis"] if feature.vocabulary else [math.nan, 10.0])
        for feature in context.schema.features
    }
    inputs = module.preprocess(features, context)
    assert np.isfinite(inputs["row"].numpy()).all()


@pytest.mark.parametrize(
    ("labels", "loss"), [(("lit", "paved"), "binary_crossentropy"), (("price", "rooms"), "scaled_error")]
)
def test_several_labels_make_a_module_with_an_output_for_each(
    trainwright: Callable[..., Any], table: Path, tmp_path: Path, labels: tuple[str, ...], loss: str
) -> None:
    frame = pd.read_csv(table).assign(lit=["yes", "no"] * 60, paved=[True, True, False] * 40)
    frame.to_csv(table, index=False)
    folder, dataset = tmp_path / "project", tmp_path / "dataset"
    named = [part for name in labels for part in ("--label", name)]
    outcome = trainwright("new", str(folder), "--source", str(table), *named)
    assert outcome.code == 0, outcome.err
    params = yaml.safe_load((folder / "params.yaml").read_text())
    assert "label" not in params
    assert params["data"] == {"labels": list(labels)}
    assert f"Predicts `{labels[0]}`, `{labels[1]}` (" in (folder / "README.md").read_text()
    prepare_data(table, dataset, PrepareSettings(labels=labels))
    module = load_module(folder / params["module"])
    context = Context(
        params=resolve_params(module, params["params"]),
        schema=Schema.load(dataset),
        statistics=Statistics.load(dataset),
        dataset=dataset,
    )
    model = check_module(module, context)
    assert model is not None
    assert model.output_shape == (None, 2)
    assert model.loss.name == loss
    if loss == "scaled_error":
        scales = np.array(model.loss.get_config()["scales"])
        found = model.loss(np.zeros((1, 2), np.float32), np.array([[3.0, -4.0]], np.float32) * scales)
        assert float(found) == pytest.approx((3**2 + 4**2) / 2, rel=1e-5)


@pytest.mark.parametrize(
    "options", [("--set", 'data.labels=["kind"]'), ("--label", "kind", "--set", "data.label_separator=a")]
)
def test_what_new_was_told_of_labels_is_what_a_run_is_told(
    trainwright: Callable[..., Any], table: Path, tmp_path: Path, options: tuple[str, ...]
) -> None:
    outcome = trainwright("new", str(tmp_path / "project"), "--source", str(table), *options)
    assert outcome.code == 0, outcome.err
    params = yaml.safe_load((tmp_path / "project" / "params.yaml").read_text())
    schema = prepare_data(table, tmp_path / "dataset", {**params["data"], "label": params.get("label", "")}).schema
    assert schema.label is not None
    assert schema.value_names == (("l", "ll", "rge", "sm") if schema.label.separator else ("large", "small"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--label", "lit", "--label", "lit"), "data.labels names 'lit' more than once"),
        (("--label", "lit", "--set", 'data.labels=["lit", "kind"]'), "leave label empty"),
        (("--label", "kind", "--label", "city", "--set", 'data.labels=["kind"]'), "given by --set and by --label"),
        (("--label", "kind", "--label", "citi"), "did you mean 'city'"),
        (("--label", "kind", "--label", "price"), "label 'kind' of table.csv holds"),
    ],
)
def test_labels_that_do_not_go_together_are_refused(
    trainwright: Callable[..., Any], table: Path, tmp_path: Path, options: tuple[str, ...], words: str
) -> None:
    outcome = trainwright("new", str(tmp_path / "project"), "--source", str(table), *options)
    assert outcome.code == 2
    assert words in outcome.err
    assert not (tmp_path / "project").exists()


def test_the_written_module_takes_what_is_left_when_columns_are_kept_out(
    trainwright: Callable[..., Any], table: Path, tmp_path: Path
) -> None:
    folder, dataset = tmp_path / "project", tmp_path / "dataset"
    assert trainwright("new", str(folder), "--source", str(table), "--label", "kind").code == 0
    prepare_data(table, dataset, PrepareSettings(label="kind", key_column="rooms", exclude=("city", "price")))
    module = load_module(folder / "model.py")
    schema, statistics = Schema.load(dataset), Statistics.load(dataset)
    context = Context(params=resolve_params(module, {}), schema=schema, statistics=statistics, dataset=dataset)
    check_module(module, context)
    numbers, marks_of_missing = len(schema.features), 1
    assert module.build_model(context).input_shape == (None, numbers + marks_of_missing)


def test_a_project_without_data_starts_from_the_digits(trainwright: Callable[..., Any], tmp_path: Path) -> None:
    folder = tmp_path / "first_steps"
    assert trainwright("new", str(folder)).code == 0
    assert yaml.safe_load((folder / "params.yaml").read_text())["source"] == "digits"
    assert "build_model" in (folder / "model.py").read_text()
    assert "handwritten digits" in (folder / "README.md").read_text()


def test_a_bundled_table_knows_its_label(trainwright: Callable[..., Any], tmp_path: Path) -> None:
    folder = tmp_path / "wines"
    assert trainwright("new", str(folder), "--source", "wine").code == 0
    params = yaml.safe_load((folder / "params.yaml").read_text())
    assert (params["source"], params["label"]) == ("wine", "cultivar")


def test_nothing_is_overwritten(trainwright: Callable[..., Any], tmp_path: Path) -> None:
    folder = tmp_path / "p"
    folder.mkdir()
    (folder / "model.py").write_text("mine")
    outcome = trainwright("new", str(folder))
    assert outcome.code == 2
    assert "already holds model.py" in outcome.err
    assert [file.name for file in folder.iterdir()] == ["model.py"]
    assert (folder / "model.py").read_text() == "mine"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--source", "{table}", "--label", "prize"], "did you mean 'price'?"),
        (["--source", "{folder}/tabel.csv", "--label", "price"], "did you mean 'table.csv'?"),
    ],
)
def test_a_column_or_file_that_is_not_there_is_refused(
    trainwright: Callable[..., Any], table: Path, tmp_path: Path, options: list[str], message: str
) -> None:
    outcome = trainwright("new", str(tmp_path / "p"), *(each.format(table=table, folder=tmp_path) for each in options))
    assert outcome.code in {1, 2}
    assert message in outcome.err
    assert not (tmp_path / "p").exists()


def test_columns_that_the_module_does_not_use_are_named(trainwright: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(PNG)
    rows = "".join(f"a.png,{number % 7},{number % 2}\n" for number in range(20))
    (tmp_path / "table.csv").write_text(f"path,size,label\n{rows}")
    outcome = trainwright("new", str(tmp_path / "p"), "--source", str(tmp_path / "table.csv"), "--label", "label")
    assert "not used by model.py: path (image)" in outcome.out
    assert "Not used by `model.py`" in (tmp_path / "p" / "README.md").read_text()


def test_columns_that_the_module_does_not_use_are_no_features(trainwright: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(PNG)
    rows = "".join(f"a.png,{number % 7},{number % 2},a.png\n" for number in range(20))
    (tmp_path / "table.csv").write_text(f"photo: front,size,label,null\n{rows}")
    trainwright("new", str(tmp_path / "p"), "--source", str(tmp_path / "table.csv"), "--label", "label")
    params = yaml.safe_load((tmp_path / "p" / "params.yaml").read_text())
    assert params["data"] == {"exclude": ["photo: front", "null"]}
    settings = PrepareSettings(label="label", exclude=tuple(params["data"]["exclude"]))
    prepare_data(tmp_path / "table.csv", tmp_path / "dataset", settings)
    assert Schema.load(tmp_path / "dataset").feature_names == ("size",)


def test_a_folder_of_images_gets_a_project_without_options(trainwright: Callable[..., Any], tmp_path: Path) -> None:
    for name in ("cat/1", "cat/2", "dog/1", "dog/2"):
        file = tmp_path / "pictures" / f"{name}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(PNG)
    outcome = trainwright("new", str(tmp_path / "p"), "--source", str(tmp_path / "pictures"))
    assert outcome.code == 0, outcome.err
    params = yaml.safe_load((tmp_path / "p" / "params.yaml").read_text())
    assert (params["source"], params["label"]) == ("../pictures", "label")
    assert params["training"]["monitor"] == "val_accuracy"


def test_a_trained_model_needs_rows(trainwright: Callable[..., Any], table: Path, tmp_path: Path) -> None:
    refused = trainwright("new", str(tmp_path / "p"), "--keras", str(tmp_path / "model.keras"))
    assert (refused.code, "--keras needs --source" in refused.err) == (2, True)
    command = ["--source", str(table), "--label", "kind", "--keras", str(tmp_path / "model.keras")]
    refused = trainwright("new", str(tmp_path / "p"), *command)
    assert (refused.code, "there is no model at" in refused.err) == (2, True)


def test_the_names_of_the_bundled_sets_are_those_of_the_library() -> None:
    assert BUNDLED_SOURCES == BUNDLED_NAMES


def test_what_is_said_of_the_table_goes_into_the_parameters(trainwright: Callable[..., Any], tmp_path: Path) -> None:
    table = tmp_path / "servo.data"
    table.write_bytes("".join(f"{'AB'[n % 2]};{n % 7},5;é;{n % 3}\n" for n in range(90)).encode("cp1252"))
    command = ["new", str(tmp_path / "p"), "--source", str(table), "--label", "column_4"]
    refused = trainwright(*command)
    assert (refused.code, "data.encoding=cp1252" in refused.err) == (2, True)
    said = ["--set", "data.encoding=cp1252", "--set", "data.task=regression", "--set", 'data.exclude=["column_3"]']
    assert trainwright(*command, *said).code == 0
    params = yaml.safe_load((tmp_path / "p" / "params.yaml").read_text())
    assert params["data"] == {"encoding": "cp1252", "task": "regression", "exclude": ["column_3"]}
    prepare_data(table, tmp_path / "d", PrepareSettings.from_mapping(params["data"], label=params["label"]))
    schema = Schema.load(tmp_path / "d")
    assert (schema.feature_names, schema.label and schema.label.kind) == (("column_1", "column_2"), "number")


def test_lags_go_into_the_parameters_and_among_the_columns(
    trainwright: Callable[..., Any], table: Path, tmp_path: Path
) -> None:
    pd.read_csv(table).assign(day=range(120)).to_csv(table, index=False)
    lags = {"time_column": "day", "lags": [1, 7], "windows": [7], "season": 7}
    options = [text for name, value in lags.items() for text in ("--set", f"data.{name}={value}")]
    outcome = trainwright("new", str(tmp_path / "p"), "--source", str(table), "--label", "price", *options)
    assert outcome.code == 0, outcome.err
    assert yaml.safe_load((tmp_path / "p" / "params.yaml").read_text())["data"] == lags
    readme = (tmp_path / "p" / "README.md").read_text()
    assert "`price_lag_1`, `price_lag_7`, `price_mean_7` are made of `price` of earlier rows" in readme
    assert "| `price_mean_7` | numeric | float32 |" in readme


def test_a_small_table_gets_small_batches_and_more_epochs() -> None:
    assert training_for(42, 4) == {"epochs": 2000, "early_stopping_patience": 250, "batch_size": 4}
    assert training_for(100_000, 64) == dict(TRAINING)


def test_the_readme_says_which_columns_are_no_features_and_why(
    trainwright: Callable[..., Any], table: Path, tmp_path: Path
) -> None:
    frame = pd.read_csv(table)
    frame.assign(number=10**18 + np.arange(len(frame)), nothing=None, day=np.arange(len(frame))).to_csv(table)
    options = ("--set", 'data.exclude=["city"]', "--set", "data.time_column=day")
    outcome = trainwright("new", str(tmp_path / "p"), "--source", str(table), "--label", "kind", *options)
    assert outcome.code == 0, outcome.err
    told = (tmp_path / "p" / "README.md").read_text().partition("No features, until")[2]
    for line in (
        "- `nothing`: it has no value in any row",
        "- `unnamed_1`: row index: it counts the 120 rows in the order of the file, from 0 to 119\n",
        "- `number`: unique id: each of the 120 rows has another name",
        "- `city`: `data.exclude` names it",
        "- `day`: it is `data.time_column`",
    ):
        assert line in told
    assert told.count("\n- ") == 5
