"""Folds: dealt evenly and together, trained on as the model was, and as good as scikit-learn finds them."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import cross_val_score

from trainwright_components.check_evaluation.check import check_evaluation
from trainwright_components.datasets.reader import read_split
from trainwright_components.datasets.row_keys import RowKeys
from trainwright_components.datasets.schema import Schema
from trainwright_components.errors import InvalidSetting
from trainwright_components.evaluate.cross_validation import deal
from trainwright_components.evaluate.evaluate import evaluate_model
from trainwright_components.evaluate.page import build_report
from trainwright_components.metrics.settings import EvaluationSettings
from trainwright_components.prepare_data.prepare import prepare_data
from trainwright_components.train_distributed.train import train_model

FEATURES = ("bmi", "bp", "s5", "age")
LINEAR = f"""
import keras
import tensorflow as tf


def preprocess(features, context):
    train = [context.statistics.split("train").column(name) for name in {FEATURES}]
    columns = [(features[name] - each.mean) / each.std for name, each in zip({FEATURES}, train)]
    return {{"x": tf.stack(columns, axis=1)}}


def build_model(context):
    inputs = keras.Input((4,), name="x")
    mean = context.statistics.split("train").column(context.schema.label.name).mean
    outputs = keras.layers.Dense(1, bias_initializer=keras.initializers.Constant(mean))(inputs)
    model = keras.Model({{"x": inputs}}, outputs)
    model.compile(keras.optimizers.SGD(0.3), "mse")
    return model
"""


def test_folds_are_as_good_as_scikit_learn_finds_them(tmp_path: Path) -> None:
    """Least squares, which gradient descent on few columns reaches."""
    dataset, module, model = tmp_path / "dataset", tmp_path / "linear.py", tmp_path / "model"
    module.write_text(LINEAR)
    prepare_data("diabetes", dataset, {"validation_fraction": 0, "test_fraction": 0.2})
    train_model(dataset, module, model, training={"epochs": 40, "batch_size": 400, "seed": 3})
    evaluated = evaluate_model(model, dataset, settings={"folds": 3})
    found = evaluated.cross_validation
    assert found is not None

    rows = list(read_split(dataset, "train"))
    names = Schema.load(dataset).feature_names
    fold_of = deal([repr(tuple(row[name].numpy().item() for name in names)) for row, _ in rows], None, folds=3, seed=3)
    cv = [(np.flatnonzero(fold_of != fold), np.flatnonzero(fold_of == fold)) for fold in range(3)]
    features = [[row[name].numpy() for name in FEATURES] for row, _ in rows]
    labels = [label.numpy() for _, label in rows]
    exact = -cross_val_score(LinearRegression(), features, labels, cv=cv, scoring="neg_root_mean_squared_error")

    assert [fold.rows for fold in found.folds] == [len(test) for _, test in cv]
    assert [fold.metrics["rmse"] for fold in found.folds] == pytest.approx(exact, rel=1e-3)
    assert found.mean["rmse"] == pytest.approx(exact.mean(), rel=1e-3)
    assert found.std["rmse"] == pytest.approx(exact.std(ddof=1), abs=1e-3 * exact.mean())
    assert evaluated.numbers["folds_rmse_mean"] == found.mean["rmse"]
    assert evaluated.metadata["cross_validation"]["std"] == found.std
    page = build_report(evaluated).html()
    assert "Cross-validation" in page
    assert f"{found.mean['rmse']:.4f}"[:5] in page


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "metric"), [("multilabel", "micro_f1"), ("targets", "rmse")])
def test_several_labels_have_folds_too(request: pytest.FixtureRequest, kind: str, metric: str) -> None:
    model, dataset = (request.getfixturevalue(f"{kind}_{what}") for what in ("model", "dataset"))
    evaluated = evaluate_model(model, dataset, settings={"folds": 3, "split": "train"})
    folds = evaluated.cross_validation
    assert folds is not None
    counts = [sum(1 for _ in read_split(dataset, split)) for split in ("train", "validation")]
    assert sum(fold.rows for fold in folds.folds) == sum(counts)
    values = [fold.metrics[metric] for fold in folds.folds]
    assert folds.mean[metric] == pytest.approx(np.mean(values))
    assert folds.std[metric] == pytest.approx(np.std(values, ddof=1))
    assert folds.mean[metric] == pytest.approx(evaluated.metrics[metric], rel=0.3)


def test_folds_have_the_classes_shares_and_keep_groups_together() -> None:
    rng = np.random.default_rng(0)
    groups, classes = rng.integers(60, size=300).tolist(), []
    classes = [int(group % 3 == 0) for group in groups]
    fold_of = deal(groups, classes, folds=5, seed=1)
    assert all(len(set(fold_of[np.array(groups) == group])) == 1 for group in set(groups))
    sizes = np.bincount(fold_of, minlength=5)
    assert sizes.max() - sizes.min() <= 5
    of_class = np.bincount(fold_of, weights=classes, minlength=5)
    assert of_class.max() - of_class.min() <= 5

    alone = list(range(300))
    fold_of = deal(alone, classes, folds=5, seed=1)
    for value in (0, 1):
        counts = np.bincount(fold_of[np.array(classes) == value], minlength=5)
        assert counts.max() - counts.min() <= 1
    assert (fold_of == deal(alone, classes, folds=5, seed=1)).all()
    assert (fold_of != deal(alone, classes, folds=5, seed=2)).any()


def test_a_key_keeps_its_rows_in_one_fold(tmp_path: Path) -> None:
    """`x` is the key times ten: the stored numbers say which keys the stored rows have."""
    rng = np.random.default_rng(0)
    keys = rng.integers(150, size=800)
    table = pd.DataFrame({"patient": keys, "x": keys * 10.0, "noise": rng.normal(size=800), "y": rng.normal(size=800)})
    table.to_csv(tmp_path / "t.csv", index=False)
    prepare_data(tmp_path / "t.csv", tmp_path / "d", {"label": "y", "key_column": "patient"})
    found = RowKeys.load(tmp_path / "d")
    assert (found.split_by, found.column) == ("key_column", "patient")
    for split in ("train", "validation", "test"):
        rows = list(read_split(tmp_path / "d", split))
        pairs = {(float(row["x"]), key) for (row, _), key in zip(rows, found.keys[split], strict=True)}
        assert len({x for x, _ in pairs}) == len({key for _, key in pairs}) == len(pairs) > 1
    assert len(list((tmp_path / "d" / "train").iterdir())) > 1  # shards, which take the rows in turns


def test_a_larger_dataset_keeps_the_keys_of_the_rows_that_it_is_evaluated_on(tmp_path: Path) -> None:
    keys = np.arange(1_200) // 3
    pd.DataFrame({"k": keys, "x": keys / 8, "y": np.arange(1_200) / 2}).to_csv(tmp_path / "t.csv", index=False)
    prepare_data(tmp_path / "t.csv", tmp_path / "d", {"label": "y", "key_column": "k"})
    found = RowKeys.load(tmp_path / "d")
    assert found.keys.keys() == {"validation", "test"}
    rows = [float(row["x"]) for row, _ in read_split(tmp_path / "d", "test")]
    assert len({*zip(rows, found.keys["test"], strict=True)}) == len({*rows}) == len({*found.keys["test"]}) > 30


@pytest.mark.parametrize(
    ("rows", "data", "module", "message"),
    [
        (
            1001,
            {},
            "",
            "folds=5 would train 5 models more, .* tables of at most 1,000 rows, and this one has 1,001",
        ),
        (11, {}, "", "folds=5 needs 10 rows outside of the test; there are 9"),
        (200, {"time_column": "t"}, "", "later than those that it scores: they are split by data.time_column 't'"),
        (200, {}, "def make_dataset(split, context): ...", "the module reads its own in make_dataset"),
    ],
)
def test_folds_that_would_mislead_are_refused_before_training(
    tmp_path: Path, rows: int, data: dict[str, Any], module: str, message: str
) -> None:
    rng = np.random.default_rng(0)
    columns = {"t": np.arange(rows), "x": rng.normal(size=rows), "y": rng.normal(size=rows)}
    pd.DataFrame(columns).to_csv(tmp_path / "t.csv", index=False)
    prepare_data(tmp_path / "t.csv", tmp_path / "d", {"label": "y", "task": "regression", **data})
    (tmp_path / "m.py").write_text(module)
    with pytest.raises(InvalidSetting, match=message):
        check_evaluation(tmp_path / "d", tmp_path / "m.py", evaluation={"folds": 5})


@pytest.mark.parametrize("folds", [1, 2, 21, -3])
def test_a_number_of_folds_that_says_nothing_is_refused(folds: int) -> None:
    with pytest.raises(InvalidSetting, match=r"evaluation\.folds must be 3 to 20, or 0"):
        EvaluationSettings.from_mapping({"folds": folds})
