"""What is asked of a model is refused before it is trained, where no model of the dataset could have it."""

import re
from pathlib import Path
from typing import Any

import pytest

from trainwright_components.check_evaluation.check import check_evaluation
from trainwright_components.errors import InvalidSetting

WINE = Path(__file__).parents[1] / "modules" / "wine.py"


@pytest.mark.parametrize(
    ("evaluation", "message"),
    [
        (
            {"thresholds": {"acuracy": 0.9}},
            "evaluation.thresholds: no metric is called 'acuracy'; did you mean 'accuracy'?",
        ),
        ({"thresholds": {"rmse": 3}}, "evaluation.thresholds: no metric is called 'rmse'"),
        (
            {"thresholds": {"recall.clas_0": 0.9}},
            "no metric is called 'recall.clas_0'; did you mean 'recall.class_0'?",
        ),
        ({"thresholds": {"keras_acuracy": 0.9}}, "no metric is called 'keras_acuracy'; did you mean 'keras_accuracy'?"),
        (
            {"champion_metric": "acuracy"},
            "evaluation.champion_metric: no metric is called 'acuracy'; did you mean 'accuracy'",
        ),
        (
            {"slices": ["stregth"]},
            "evaluation.slices names 'stregth', which is no feature of this dataset; did you mean 'strength'?",
        ),
        (
            {"slices": ["alcohol"]},
            "evaluation.slices need categorical features, but 'alcohol' is numeric; categorical here: strength",
        ),
        ({"split": "tset"}, "evaluation.split: the dataset has no rows in 'tset'; did you mean 'test'?"),
    ],
)
def test_what_no_model_of_the_dataset_has_is_refused(
    tabular_dataset: Path, evaluation: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidSetting, match=re.escape(message)):
        check_evaluation(tabular_dataset, WINE, evaluation=evaluation)


def test_what_a_model_of_the_dataset_has_passes(tabular_dataset: Path) -> None:
    thresholds = {"recall.class_0": 0.1, "log_loss": {"max": 2, "max_in_slices": 3}, "keras_loss": {"max": 2}}
    check_evaluation(tabular_dataset, WINE, evaluation={"thresholds": thresholds, "slices": ["strength"]})


def test_metrics_of_a_model_whose_step_is_its_own_are_left_to_the_evaluation(
    tabular_dataset: Path, tmp_path: Path
) -> None:
    module = tmp_path / "own.py"
    module.write_text("def build_model(context): ...\ndef train(context): ...\n")
    check_evaluation(tabular_dataset, module, evaluation={"thresholds": {"keras_anything": {"max": 1}}})
