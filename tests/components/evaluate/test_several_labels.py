"""Models of several labels or targets: numbers of each, thresholds by name, the champion, the page."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn import metrics as exact

from trainwright_components.datasets.reader import read_split
from trainwright_components.datasets.schema import Schema
from trainwright_components.datasets.task import Task
from trainwright_components.errors import InvalidSetting
from trainwright_components.evaluate.blessing import CheckKind
from trainwright_components.evaluate.evaluate import evaluate_model
from trainwright_components.evaluate.page import build_report
from trainwright_components.metrics.settings import EvaluationSettings
from trainwright_components.training.trained_model import TrainedModel

LABELS = ("much ash", "much magnesium", "much malic_acid")


def keras_answers(model: Path, dataset: Path) -> tuple[np.ndarray, np.ndarray]:
    trained = TrainedModel.load(model)
    features, labels = next(iter(read_split(dataset, "test").batch(1_000)))
    outputs = trained.model.predict(trained.module.preprocess(features, trained.context), verbose=0)
    return labels.numpy(), np.asarray(outputs)


def with_other_order(saved_model: Path, folder: Path, names: tuple[str, ...]) -> str:
    """A served version that knows its labels under `names`."""
    shutil.copytree(saved_model, folder / "1")
    file = folder / "1" / "assets.extra" / "schema.json"
    content = json.loads(file.read_text())
    content["label"]["value_names"] = names
    file.write_text(json.dumps(content))
    return str(folder)


def test_labels_agree_with_scikit_learn(multilabel_model: Path, multilabel_dataset: Path) -> None:
    limits: dict[str, Any] = {"micro_f1": 0.3, "auc.much ash": {"min": 0.1}, "recall.much magnesium": {"max": 0.001}}
    settings = EvaluationSettings(thresholds=limits, batch_size=11)
    evaluation = evaluate_model(multilabel_model, multilabel_dataset, settings=settings)
    labels, logits = keras_answers(multilabel_model, multilabel_dataset)
    predicted = logits > 0
    assert evaluation.task is Task.MULTILABEL
    assert evaluation.metrics["micro_f1"] == pytest.approx(exact.f1_score(labels, predicted, average="micro"))
    assert evaluation.metrics["hamming_loss"] == pytest.approx(exact.hamming_loss(labels, predicted))
    assert evaluation.metrics["auc"] == pytest.approx(exact.roc_auc_score(labels, logits), abs=1e-6)
    passed = {check.metric: check.passed for check in evaluation.checks if check.limit is not None}
    assert passed == {"micro_f1": True, "auc.much ash": True, "recall.much magnesium": False}
    page = build_report(evaluation).html()
    assert "<td>much malic_acid</td>" in page
    assert "hamming_loss" in page


def test_targets_agree_with_scikit_learn(targets_model: Path, targets_dataset: Path) -> None:
    settings = EvaluationSettings(thresholds={"r2.proline": 0.99, "rmse.total_phenols": 2.0})
    evaluation = evaluate_model(targets_model, targets_dataset, settings=settings)
    labels, outputs = keras_answers(targets_model, targets_dataset)
    each = exact.root_mean_squared_error(labels, outputs, multioutput="raw_values")
    assert evaluation.metrics["rmse"] == pytest.approx(each.mean(), rel=1e-5)
    assert evaluation.metrics["r2"] == pytest.approx(exact.r2_score(labels, outputs), rel=1e-4)
    checks = {check.metric: check for check in evaluation.checks}
    assert checks["rmse.total_phenols"].value == pytest.approx(each[1], rel=1e-5)
    assert [checks[name].passed for name in ("rmse.total_phenols", "r2.proline")] == [True, False]
    page = build_report(evaluation).html()
    assert "<td>total_phenols</td>" in page
    assert page.count("<svg") == 2


def test_a_limit_of_a_label_that_there_is_not_is_refused(multilabel_model: Path, multilabel_dataset: Path) -> None:
    settings = EvaluationSettings(thresholds={"f1.much gold": 0.5})
    with pytest.raises(InvalidSetting, match=r"no metric is called 'f1\.much gold'"):
        evaluate_model(multilabel_model, multilabel_dataset, settings=settings)


def test_the_champion_is_matched_by_the_names_of_its_labels(
    multilabel_model: Path, multilabel_saved_model: Path, multilabel_dataset: Path, tmp_path: Path
) -> None:
    base = with_other_order(multilabel_saved_model, tmp_path / "turned", LABELS[::-1])
    evaluation = evaluate_model(
        multilabel_model, multilabel_dataset, settings=EvaluationSettings(champion_base_path=base)
    )
    labels, logits = keras_answers(multilabel_model, multilabel_dataset)
    assert evaluation.champion is not None
    assert evaluation.champion.scores is not None
    turned = exact.f1_score(labels, logits[:, ::-1] > 0, average="micro")
    assert evaluation.champion.scores.metrics["micro_f1"] == pytest.approx(turned)
    base = with_other_order(multilabel_saved_model, tmp_path / "other", ("gold", *LABELS[1:]))
    evaluation = evaluate_model(
        multilabel_model, multilabel_dataset, settings=EvaluationSettings(champion_base_path=base)
    )
    assert not evaluation.is_blessed
    (check,) = (check for check in evaluation.checks if check.kind is CheckKind.CHAMPION)
    assert "it does not predict 'much ash'" in check.message


def test_the_champion_of_the_same_targets_gives_the_same_numbers(
    targets_model: Path, targets_saved_model: Path, targets_dataset: Path, tmp_path: Path
) -> None:
    shutil.copytree(targets_saved_model, tmp_path / "3")
    settings = EvaluationSettings(champion_base_path=str(tmp_path))
    evaluation = evaluate_model(targets_model, targets_dataset, settings=settings)
    assert evaluation.champion is not None
    assert evaluation.champion.answers_alike
    assert evaluation.is_blessed
    assert Schema.load(targets_dataset).value_names == ("proline", "total_phenols")
