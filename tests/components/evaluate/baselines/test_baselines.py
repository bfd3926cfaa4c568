"""Baselines on rows made here, against scikit-learn's own pipelines on tables of pandas."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from tests.campaigns.baselines import own_scores

from trainwright_components.datasets.schema import Feature, History, Label, Schema
from trainwright_components.datasets.task import Task
from trainwright_components.datasets.writer import DatasetWriter
from trainwright_components.evaluate.baselines import fitting
from trainwright_components.evaluate.baselines.fitting import BASELINES, SEASONAL, FittedBaselines, fit_baselines
from trainwright_components.evaluate.baselines.logistic_regression import LogisticRegressionBaseline
from trainwright_components.evaluate.baselines.protocol import Baseline, TrainingRows, Unfit
from trainwright_components.evaluate.baselines.regression_per_label import RegressionPerLabel
from trainwright_components.evaluate.evaluate import evaluate_model

ROWS = 240
FEATURES = (
    Feature(name="size", kind="numeric", dtype="float32"),
    Feature(name="pair", kind="numeric", dtype="int64", shape=(2,)),
    Feature(name="colour", kind="categorical", dtype="string", vocabulary=("blue", "green", "red")),
    Feature(name="note", kind="text", dtype="string"),
)
LABELS = {
    Task.CLASSIFICATION: Label(name="label", kind="class", dtype="int64", class_names=("no", "yes", "never")),
    Task.MULTILABEL: Label(
        name="label", kind="multilabel", dtype="int64", shape=(3,), value_names=("high", "low", "never")
    ),
    Task.REGRESSION: Label(name="label", kind="number", dtype="float32"),
}
EVERY_BASELINE = [(task, name) for task, names in BASELINES.items() for name in names] + [(Task.REGRESSION, SEASONAL)]
HISTORY = History(label="label", time="day", lags=(1, 7), season=7)
BEFORE = Feature(name="label_lag_7", kind="numeric", dtype="float32")


def make_columns(task: Task, rows: int = ROWS, seed: int = 0) -> dict[str, np.ndarray]:
    """Columns with missing values; the label hangs on all of them. No row has the last class or label."""
    random = np.random.default_rng(seed)
    size = random.normal(10, 3, rows).astype(np.float32)
    pair = random.integers(0, 5, (rows, 2))
    colour = random.choice(["blue", "green", "red"], rows, p=[0.5, 0.3, 0.2]).astype(object)
    note = random.choice(["is very good", "is quite bad", "so so", ""], rows).astype(object)
    truth = (size - 10) / 3 + pair[:, 0] - 2 + (colour == "red") + 2 * (note == "is very good")
    truth = (truth + random.normal(size=rows)).astype(np.float32)
    size[::11], colour[::13] = np.nan, ""
    labels = {
        Task.CLASSIFICATION: (truth > 1).astype(np.int64),
        Task.MULTILABEL: np.stack([truth > 1, truth < 0, truth < -99], axis=1).astype(np.int64),
    }
    label = labels.get(task, truth)
    weight = random.integers(1, 4, rows).astype(np.float32)
    return {"size": size, "pair": pair, "colour": colour, "note": note, "label": label, "weight": weight}


def write_dataset(folder: Path, schema: Schema, columns: dict[str, np.ndarray]) -> Path:
    with DatasetWriter(folder, schema, shards={"train": 2}) as writer:
        writer.write("train", {name: columns[name] for name in schema.column_names})
    return folder


def raw_features(columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """As TensorFlow gives them."""
    return {
        name: np.array([str(value).encode() for value in columns[name]], object) if columns[name].dtype == object
        else columns[name]
        for name in ("size", "pair", "colour", "note")
    }  # fmt: skip


def as_table(columns: dict[str, np.ndarray]) -> pd.DataFrame:
    table = pd.DataFrame({"size": columns["size"], "colour": columns["colour"], "note": columns["note"]})
    table["one"], table["two"] = columns["pair"].T
    return table


def pipeline_with(model: Any) -> Any:
    """What a user of scikit-learn would write."""
    numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    categories = make_pipeline(
        SimpleImputer(missing_values="", strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore")
    )
    columns = make_column_transformer(
        (numbers, ["size", "one", "two"]), (categories, ["colour"]), (TfidfVectorizer(), "note")
    )
    return make_pipeline(columns, model)


@pytest.fixture(scope="module", params=list(Task), ids=str)
def fitted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Task, FittedBaselines]:
    task: Task = request.param
    schema = Schema(features=FEATURES, label=LABELS[task], weight="weight")
    dataset = write_dataset(tmp_path_factory.mktemp(str(task)), schema, make_columns(task))
    return task, fit_baselines(dataset, schema)


@pytest.mark.parametrize(("task", "name"), EVERY_BASELINE, ids=[name for _, name in EVERY_BASELINE])
class TestBaseline:
    """What each of the table does."""

    @pytest.fixture
    def baseline(self, task: Task, name: str) -> Baseline:
        return fitting._make(name)

    def rows(self, task: Task, columns: dict[str, np.ndarray], weights: np.ndarray | None = None) -> TrainingRows:
        from trainwright_components.evaluate.baselines.columns import compact

        before = np.nan_to_num(columns["size"], nan=10)
        features = (*FEATURES, BEFORE)
        return TrainingRows(
            schema=Schema(features=features, label=LABELS[task], history=HISTORY),
            labels=columns["label"],
            weights=np.ones(len(columns["label"])) if weights is None else weights.astype(np.float64),
            columns=compact(raw_features(columns) | {BEFORE.name: before}, features),
        )

    def test_it_answers_as_a_model_of_the_task_does(self, task: Task, baseline: Baseline) -> None:
        rows = self.rows(task, make_columns(task))
        assert baseline.fit(rows) == ""
        answers = baseline.answer(rows.columns, ROWS)
        assert answers.shape == ((ROWS,) if task is Task.REGRESSION else (ROWS, 3))
        if task is Task.MULTILABEL:
            assert (answers[:, 2] == 0).all(), "no training row has this label"
        if task is Task.CLASSIFICATION:
            assert answers.sum(axis=1) == pytest.approx(np.ones(ROWS), abs=1e-5)
            assert (answers[:, 2] == 0).all(), "no training row has this class"

    def test_a_weight_of_three_is_a_row_three_times(self, task: Task, name: str) -> None:
        columns = make_columns(task)
        columns["note"][:] = "the same"  # how rare a word is does not hang on weights
        columns["size"] = np.nan_to_num(columns["size"], nan=10)
        columns["colour"][columns["colour"] == ""] = "blue"
        scaled = {each: values[:1] for each, values in columns.items()}
        columns["weight"][:] = 3
        weighted, repeated = fitting._make(name), fitting._make(name)
        weighted.fit(self.rows(task, columns, columns["weight"]))
        repeated.fit(self.rows(task, {each: np.concatenate([values] * 3) for each, values in columns.items()}))
        one = self.rows(task, scaled).columns
        assert weighted.answer(one, 1) == pytest.approx(repeated.answer(one, 1), abs=2e-3)

    def test_what_training_has_not_seen_is_answered(self, task: Task, baseline: Baseline) -> None:
        baseline.fit(self.rows(task, make_columns(task)))
        strange = make_columns(task, rows=3)
        strange["size"][:] = [np.nan, np.inf, 1e30]
        strange["colour"][:] = ["violet", "", "red"]
        strange["note"][:] = ["ünseen", "", "\x00"]
        assert np.isfinite(baseline.answer(self.rows(task, strange).columns, 3)).all()


def test_the_numbers_are_those_of_scikit_learn(fitted: tuple[Task, FittedBaselines]) -> None:
    task, baselines = fitted
    train, test = make_columns(task), make_columns(task, rows=60, seed=1)
    weights, labels = train["weight"], train["label"]
    simple, linear = baselines.answer(raw_features(test), 60)
    if task is Task.CLASSIFICATION:
        model = pipeline_with(LogisticRegression(max_iter=1000))
        model.fit(as_table(train), labels, logisticregression__sample_weight=weights)
        wanted = model.predict_proba(as_table(test))
        assert linear[:, :2] == pytest.approx(wanted, abs=2e-3)
        assert (linear.argmax(axis=1) == wanted.argmax(axis=1)).all()
        assert simple[0, 1] == pytest.approx(np.average(labels == 1, weights=weights))
    elif task is Task.MULTILABEL:
        for place in (0, 1):
            model = pipeline_with(LogisticRegression(max_iter=1000))
            model.fit(as_table(train), labels[:, place], logisticregression__sample_weight=weights)
            assert linear[:, place] == pytest.approx(model.predict_proba(as_table(test))[:, 1], abs=2e-3)
        assert simple[0] == pytest.approx(np.average(labels, axis=0, weights=weights), abs=1e-6)
    else:
        model = pipeline_with(Ridge()).fit(as_table(train), labels, ridge__sample_weight=weights)
        assert linear == pytest.approx(model.predict(as_table(test)), abs=1e-3)
        assert simple == pytest.approx(np.full(60, np.average(labels, weights=weights)), rel=1e-5)
    assert baselines.notes == {}


def test_labels_for_which_no_time_is_left_keep_their_shares() -> None:
    rows = TrainingRows(
        schema=Schema(features=FEATURES[:1], label=LABELS[Task.MULTILABEL]),
        labels=make_columns(Task.MULTILABEL)["label"],
        weights=np.ones(ROWS),
        columns={"size": np.ones((ROWS, 1), np.float32)},
    )
    baseline = RegressionPerLabel(time_limit_s=0.0)
    assert baseline.fit(rows) == "high and those after it keep their shares, since 0 s had passed"
    assert baseline.answer(rows.columns, 2) == pytest.approx(np.tile(rows.labels.mean(axis=0), (2, 1)))


def fit_on(tmp_path: Path, schema: Schema, columns: dict[str, np.ndarray], **options: Any) -> FittedBaselines:
    return fit_baselines(write_dataset(tmp_path, schema, columns), schema, **options)


def names_of(fitted: FittedBaselines) -> list[str]:
    return [each.name for each in fitted.baselines]


@pytest.mark.parametrize(
    ("options", "note"),
    [
        ({"has_own_dataset": True}, "make_dataset reads the rows its own way"),
        ({"max_bytes": 1_000}, "240 training rows would take about 0.0 GiB of memory, more than"),
    ],
)
def test_the_simple_baseline_alone_says_why(options: dict[str, Any], note: str, tmp_path: Path) -> None:
    schema = Schema(features=FEATURES, label=LABELS[Task.CLASSIFICATION])
    fitted = fit_on(tmp_path, schema, make_columns(Task.CLASSIFICATION), **options)
    assert names_of(fitted) == ["majority class"]
    assert note in fitted.notes["logistic regression"]


def test_images_have_the_simple_baseline(digits_dataset: Path) -> None:
    fitted = fit_baselines(digits_dataset, Schema.load(digits_dataset))
    assert names_of(fitted) == ["majority class"]
    assert fitted.notes == {"logistic regression": "not trained, since 'image' is an image"}


def test_rows_of_one_class_have_the_simple_baseline(tmp_path: Path) -> None:
    columns = make_columns(Task.CLASSIFICATION)
    columns["label"][:] = 1
    fitted = fit_on(tmp_path, Schema(features=FEATURES, label=LABELS[Task.CLASSIFICATION]), columns)
    assert names_of(fitted) == ["majority class"]
    assert fitted.notes["logistic regression"] == "the training rows are all of one class"


def test_weights_below_zero_have_no_baseline(tmp_path: Path) -> None:
    columns = make_columns(Task.REGRESSION)
    columns["weight"][5] = -1
    fitted = fit_on(tmp_path, Schema(features=FEATURES, label=LABELS[Task.REGRESSION], weight="weight"), columns)
    assert not fitted.baselines
    assert "a weight below 0" in fitted.notes["mean"]


def test_seasonal_naive_answers_with_the_label_of_a_season_before_or_the_mean(tmp_path: Path) -> None:
    schema = Schema(features=(BEFORE,), label=LABELS[Task.REGRESSION], history=HISTORY, weight="weight")
    columns = {"label": np.array([4, 8, 6, 5], np.float32), "weight": np.array([1, 1, 1, 5], np.float32)}
    columns[BEFORE.name] = np.array([np.nan, np.nan, 4, 8], np.float32)
    fitted = fit_on(tmp_path, schema, columns)
    assert names_of(fitted) == ["mean", "ridge regression", "seasonal naive"]
    note = "where 'label_lag_7' is missing, as in 2 of 4 training rows, it answers with their mean"
    assert fitted.notes == {"seasonal naive": note}
    asked = {BEFORE.name: np.array([6, np.nan, -1], np.float32)}
    assert fitted.answer(asked, 3)[2].tolist() == [6, (4 + 8 + 6 + 5 * 5) / 8, -1]


def test_a_model_that_does_not_take_the_season_has_no_seasonal_naive(tmp_path: Path) -> None:
    schema = Schema(features=FEATURES, label=LABELS[Task.REGRESSION], history=HISTORY)
    fitted = fit_on(tmp_path, schema, make_columns(Task.REGRESSION))
    assert names_of(fitted) == ["mean", "ridge regression"]
    assert fitted.notes == {"seasonal naive": "not trained, since the model does not take 'label_lag_7'"}


def test_several_values_per_label_are_predicted_together(tmp_path: Path) -> None:
    columns = make_columns(Task.REGRESSION)
    columns["label"] = np.stack([columns["label"], -2 * columns["label"]], axis=1)
    label = replace(LABELS[Task.REGRESSION], shape=(2,))
    fitted = fit_on(tmp_path, Schema(features=FEATURES, label=label), columns)
    simple, linear = fitted.answer(raw_features(columns), ROWS)
    assert linear.shape == (ROWS, 2)
    assert simple[0] == pytest.approx(columns["label"].mean(axis=0), rel=1e-4)
    assert linear[:, 1] == pytest.approx(-2 * linear[:, 0], abs=1e-3)


def test_a_fit_goes_on_where_it_was_until_it_converges_or_the_time_is_up() -> None:
    rows = TestBaseline().rows(Task.CLASSIFICATION, make_columns(Task.CLASSIFICATION))
    cut, in_parts, at_once = (
        LogisticRegressionBaseline(time_limit_s=limit_s, at_once=count)
        for limit_s, count in ((0.0, 3), (60.0, 3), (60.0, 100))
    )
    assert cut.fit(rows) == "stopped after 3 iterations, since 0 s had passed"
    assert in_parts.fit(rows) == at_once.fit(rows) == ""
    cut_answer, *answers = (each.answer(rows.columns, ROWS) for each in (cut, in_parts, at_once))
    assert answers[0] == pytest.approx(answers[1], abs=5e-3)
    assert np.abs(cut_answer - answers[1]).max() > 5e-3


def test_too_many_coefficients_are_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    from trainwright_components.evaluate.baselines import logistic_regression

    monkeypatch.setattr(logistic_regression, "_MAX_COEFFICIENTS", 5)
    columns = make_columns(Task.CLASSIFICATION)
    rows = TestBaseline().rows(Task.CLASSIFICATION, columns)
    with pytest.raises(Unfit, match=r"would have \d+ coefficients, more than 5"):
        LogisticRegressionBaseline().fit(rows)


def test_a_second_script_finds_the_same_numbers_from_the_files(tabular_model: Path, tabular_dataset: Path) -> None:
    """Its own reading of the records, and pipelines of scikit-learn on tables of pandas."""
    evaluation = evaluate_model(tabular_model, tabular_dataset)
    models = evaluation.metadata["baselines"]["models"]
    own = own_scores(tabular_dataset, "test")
    assert set(own) == set(models)
    for name, scores in own.items():
        for metric, value in scores.items():
            assert models[name]["metrics"][metric] == pytest.approx(value, rel=1e-3)
