"""The shipped modules learn what they are for, with their default parameters."""

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from trainwright_components.datasets.reader import read_split
from trainwright_components.errors import InvalidData, UserCodeError
from trainwright_components.prepare_data.prepare import prepare_data
from trainwright_components.training.configuration.settings import TrainingSettings
from trainwright_components.training.contexts import make_context
from trainwright_components.training.module_check import check_module
from trainwright_components.training.run import run_training
from trainwright_components.training.trained_model import TrainedModel
from trainwright_components.user_module.module import load_module

# Keras 3.15 reads its variables in a way that NumPy 2.4 finds old-fashioned, whenever a model is saved.
pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
)

EXAMPLES = ("digits", "tabular_classifier", "tabular_regressor")


def file_of(example: str) -> Path:
    return Path(str(import_module(f"trainwright_pipelines.examples.{example}").__file__))


def scores_on_test(example: str, source: str, folder: Path, **settings: Any) -> dict[str, float]:
    dataset = prepare_data(source, folder / "dataset").dataset
    module = load_module(file_of(example))
    result = run_training(module, dataset, folder / "model", settings=TrainingSettings(**settings))
    trained = TrainedModel.load(result.model_folder)
    (rows,) = read_split(dataset, "test").batch(10_000)
    inputs = trained.module.preprocess(rows[0], trained.context)
    scores: dict[str, float] = trained.model.evaluate(inputs, rows[1], verbose=0, return_dict=True)
    return scores


def test_digits_are_told_apart(tmp_path: Path) -> None:
    assert scores_on_test("digits", "digits", tmp_path)["accuracy"] >= 0.97


def test_a_table_is_classified(tmp_path: Path) -> None:
    assert scores_on_test("tabular_classifier", "breast_cancer", tmp_path)["accuracy"] >= 0.93


def test_a_number_is_predicted_better_than_by_the_mean(tmp_path: Path) -> None:
    """The mean of the labels is off by about 77 on this data."""
    assert scores_on_test("tabular_regressor", "diabetes", tmp_path)["rmse"] < 65


def test_several_labels_have_an_output_each(tmp_path: Path) -> None:
    rows = [f"{x},{x % 7},{'yes' if x > 30 else 'no'},{int(x % 7 > 2)}" for x in range(60)]
    (tmp_path / "rows.csv").write_text("\n".join(["x,y,late,high", *rows]))
    prepared = {
        names: prepare_data(tmp_path / "rows.csv", tmp_path / names[0], {"labels": names}).dataset
        for names in (("late", "high"), ("x", "y"))
    }
    module = load_module(file_of("tabular_classifier"))
    model = check_module(module, make_context(module, prepared["late", "high"], {}, TrainingSettings()))
    assert model is not None
    assert model.output_shape == (None, 2)
    module = load_module(file_of("tabular_regressor"))
    with pytest.raises(InvalidData, match="predicts one number"):
        module.build_model(make_context(module, prepared["x", "y"], {}, TrainingSettings()))


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_search_space_is_of_known_parameters(example: str) -> None:
    module = load_module(file_of(example))
    assert set(module.search_space) <= set(module.default_params)


@pytest.mark.parametrize(("example", "source"), [("tabular_classifier", "diabetes"), ("tabular_regressor", "iris")])
def test_the_wrong_kind_of_label_is_told(example: str, source: str, tmp_path: Path) -> None:
    dataset = prepare_data(source, tmp_path / "dataset").dataset
    with pytest.raises(Exception, match="use tabular_") as caught:
        run_training(load_module(file_of(example)), dataset, tmp_path / "model")
    assert not isinstance(caught.value, UserCodeError)


def test_a_table_for_the_digits_is_told_which_module_takes_it(tmp_path: Path) -> None:
    dataset = prepare_data("iris", tmp_path / "dataset").dataset
    with pytest.raises(InvalidData, match="module=tabular_classifier"):
        run_training(load_module(file_of("digits")), dataset, tmp_path / "model")
