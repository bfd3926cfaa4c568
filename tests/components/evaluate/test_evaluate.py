"""Real models scored on real rows: against scikit-learn, thresholds, slices and the champion."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn import metrics as exact

from trainwright_components.datasets.reader import read_split
from trainwright_components.datasets.row_keys import RowKeys
from trainwright_components.datasets.schema import Feature, Label, Schema
from trainwright_components.datasets.statistics import ColumnStatistics, SplitStatistics, Statistics
from trainwright_components.errors import InvalidData, InvalidSetting
from trainwright_components.evaluate.blessing import Check, CheckKind, NotComparable
from trainwright_components.evaluate.champion import Champion
from trainwright_components.evaluate.comparison import baseline_metric
from trainwright_components.evaluate.evaluate import Evaluation, evaluate_model
from trainwright_components.evaluate.page import build_report, log_plots
from trainwright_components.metrics.classification import ClassificationScores
from trainwright_components.metrics.settings import EvaluationSettings
from trainwright_components.training.trained_model import TrainedModel


def keras_answers(
    model: Path, dataset: Path, split: str = "test"
) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Labels, raw outputs and features, with nothing of the component in between."""
    trained = TrainedModel.load(model)
    features, labels = next(iter(read_split(dataset, split).batch(10_000)))
    outputs = trained.model.predict(trained.module.preprocess(features, trained.context), verbose=0)
    return labels.numpy(), outputs, {name: tensor.numpy() for name, tensor in features.items()}


@pytest.fixture(scope="session")
def digits_evaluation(digits_model: Path, digits_dataset: Path) -> Evaluation:
    settings = EvaluationSettings(thresholds={"accuracy": 0.5, "recall.3": {"min": 0.1}}, batch_size=100)
    return evaluate_model(digits_model, digits_dataset, settings=settings)


@pytest.fixture(scope="session")
def tabular_evaluation(tabular_model: Path, tabular_dataset: Path) -> Evaluation:
    settings = EvaluationSettings(split="train", slices=("strength",), batch_size=50, allow_below_baseline=True)
    return evaluate_model(tabular_model, tabular_dataset, settings=settings)


def champions(base: Path, **versions: Path) -> str:
    for version, saved_model in versions.items():
        shutil.copytree(saved_model, base / version.removeprefix("v"))
    return str(base)


def champion_check(evaluation: Evaluation) -> Check:
    (found,) = (check for check in evaluation.checks if check.kind is CheckKind.CHAMPION)
    return found


def test_digits_agree_with_scikit_learn(
    digits_evaluation: Evaluation, digits_model: Path, digits_dataset: Path
) -> None:
    labels, outputs, _ = keras_answers(digits_model, digits_dataset)
    got = digits_evaluation.metrics
    assert got["accuracy"] == exact.accuracy_score(labels, outputs.argmax(axis=1))
    wide = outputs.astype(float)
    wide /= wide.sum(axis=1, keepdims=True)
    assert got["log_loss"] == pytest.approx(exact.log_loss(labels, wide), rel=1e-4)
    assert got["auc"] == pytest.approx(exact.roc_auc_score(labels, wide, multi_class="ovr"), abs=1e-6)
    scores = digits_evaluation.scores
    assert isinstance(scores, ClassificationScores)
    assert (scores.confusion == exact.confusion_matrix(labels, outputs.argmax(axis=1))).all()


def test_the_models_own_metrics_are_beside_ours(digits_evaluation: Evaluation) -> None:
    got = digits_evaluation.metrics
    assert got["keras_accuracy"] == pytest.approx(got["accuracy"], abs=1e-6)
    assert got["keras_loss"] == pytest.approx(got["log_loss"], rel=1e-3)


def test_logits_become_probabilities(
    tabular_evaluation: Evaluation, tabular_model: Path, tabular_dataset: Path
) -> None:
    labels, logits, _ = keras_answers(tabular_model, tabular_dataset, "train")
    odds = np.exp(logits.astype(float))
    wanted = exact.log_loss(labels, odds / odds.sum(axis=1, keepdims=True))
    assert tabular_evaluation.metrics["log_loss"] == pytest.approx(wanted, rel=1e-4)
    assert tabular_evaluation.metrics["keras_loss"] == pytest.approx(wanted, rel=1e-4)


def test_slices_are_scored_one_by_one(
    tabular_evaluation: Evaluation, tabular_model: Path, tabular_dataset: Path
) -> None:
    labels, outputs, features = keras_answers(tabular_model, tabular_dataset, "train")
    sliced = {each.name: each.scores for each in tabular_evaluation.slices}
    assert set(sliced) == {"strength=(missing)", "strength=light", "strength=medium", "strength=strong"}
    for name, value in (("strength=light", b"light"), ("strength=(missing)", b"")):
        rows = features["strength"] == value
        assert sliced[name].rows == rows.sum()
        assert sliced[name].metrics["accuracy"] == pytest.approx((outputs.argmax(axis=1) == labels)[rows].mean())
    assert sum(each.rows for each in sliced.values()) == tabular_evaluation.scores.rows
    assert tabular_evaluation.metadata["slices"]["strength"]["light"]["rows"] == sliced["strength=light"].rows


def test_a_regression_agrees_with_scikit_learn(regression_model: Path, regression_dataset: Path) -> None:
    labels, outputs, _ = keras_answers(regression_model, regression_dataset)
    evaluation = evaluate_model(regression_model, regression_dataset, settings=EvaluationSettings(batch_size=16))
    assert evaluation.metrics["mae"] == pytest.approx(exact.mean_absolute_error(labels, outputs), rel=1e-5)
    assert evaluation.metrics["r2"] == pytest.approx(exact.r2_score(labels, outputs), rel=1e-5)
    assert evaluation.metrics["keras_mae"] == pytest.approx(evaluation.metrics["mae"], rel=1e-5)
    assert evaluation.metrics["keras_loss"] == pytest.approx(evaluation.metrics["mse"], rel=1e-5)
    page = build_report(evaluation).html()
    assert "Residuals" in page
    assert page.count("<svg") == 1


def test_weights_of_rows_count(digits_model: Path, digits_dataset: Path, tmp_path: Path) -> None:
    """The pixels' own column serves as weight: any positive number will do."""
    from trainwright_components.datasets.writer import DatasetWriter

    schema = replace(Schema.load(digits_dataset), weight="weight")
    features, labels = next(iter(read_split(digits_dataset, "test").batch(60)))
    weights = np.linspace(0.1, 3, 60, dtype=np.float32)
    with DatasetWriter(tmp_path, schema, shards={"test": 1}) as writer:
        writer.write("test", {"image": features["image"].numpy(), "digit": labels.numpy(), "weight": weights})
    evaluation = evaluate_model(digits_model, tmp_path)
    _, outputs, _ = keras_answers_of(digits_model, features)
    right = outputs.argmax(axis=1) == labels.numpy()
    assert evaluation.metrics["accuracy"] == pytest.approx(np.average(right, weights=weights))


def keras_answers_of(model: Path, features: Any) -> tuple[None, np.ndarray, None]:
    trained = TrainedModel.load(model)
    return None, trained.model.predict(trained.module.preprocess(features, trained.context), verbose=0), None


def test_blessed_without_a_champion_on_the_first_run(digits_evaluation: Evaluation) -> None:
    assert digits_evaluation.is_blessed
    assert [reason["kind"] for reason in digits_evaluation.reasons] == [
        "threshold",
        "threshold",
        "champion",
        "baseline",
    ]
    assert "no model is served yet" in digits_evaluation.reasons[2]["message"]
    assert digits_evaluation.compared_with == ""


@pytest.mark.parametrize("history", [None, [], [{"version": 1, "event": "withdrawn"}]])
def test_a_folder_that_knows_no_version_has_no_champion(
    tabular_model: Path, tabular_dataset: Path, tmp_path: Path, history: list[dict[str, Any]] | None
) -> None:
    base = tmp_path / "served"
    if history is not None:
        (base / "notes").mkdir(parents=True)
        (base / "2").write_text("a file")
        (base / ".deployments.json").write_text(json.dumps(history))
    evaluation = evaluate_model(
        tabular_model, tabular_dataset, settings=EvaluationSettings(champion_base_path=str(base))
    )
    assert evaluation.is_blessed
    assert "no model is served yet" in champion_check(evaluation).message
    assert evaluation.compared_with == "none"


def test_a_missed_threshold_comes_first_among_the_reasons(tabular_model: Path, tabular_dataset: Path) -> None:
    settings = EvaluationSettings(thresholds={"accuracy": {"min": 0.0}, "log_loss": {"max": 0.0}})
    evaluation = evaluate_model(tabular_model, tabular_dataset, settings=settings)
    assert not evaluation.is_blessed
    assert (evaluation.reasons[0]["metric"], evaluation.reasons[0]["passed"]) == ("log_loss", False)
    json.dumps(evaluation.reasons, allow_nan=False)


def test_the_highest_version_is_the_champion_and_gives_the_same_numbers(
    tabular_model: Path, tabular_dataset: Path, tabular_saved_model: Path, digits_saved_model: Path, tmp_path: Path
) -> None:
    base = champions(tmp_path, v9=digits_saved_model, v10=tabular_saved_model)
    (tmp_path / "11").mkdir()  # a version that is not there yet
    (tmp_path / ".tmp-12").mkdir()
    evaluation = evaluate_model(
        tabular_model, tabular_dataset, settings=EvaluationSettings(split="train", champion_base_path=base)
    )
    champion = evaluation.champion
    assert champion is not None
    assert champion.scores is not None
    assert (champion.version, evaluation.compared_with) == ("10", "10")
    assert champion.scores.metrics == pytest.approx(evaluation.scores.metrics, abs=1e-6)
    assert champion_check(evaluation).passed


def test_a_better_champion_stays_unless_the_tolerance_allows(
    tabular_model: Path, tabular_dataset: Path, tabular_saved_model: Path, tmp_path: Path
) -> None:
    worse = tmp_path / "model"
    shutil.copytree(tabular_model, worse)
    trained = TrainedModel.load(worse)
    kernel = trained.model.layers[-1].kernel
    kernel.assign(np.roll(kernel.numpy(), 1, axis=1))
    trained.model.save(worse / "model.keras")
    base = champions(tmp_path / "served", v1=tabular_saved_model)
    strict = EvaluationSettings(split="train", champion_base_path=base)
    evaluation = evaluate_model(worse, tabular_dataset, settings=strict)
    assert not evaluation.is_blessed
    assert evaluation.reasons[0]["message"].startswith("accuracy is ")
    tolerant = replace(strict, champion_tolerance=1.0, allow_below_baseline=True)
    assert evaluate_model(worse, tabular_dataset, settings=tolerant).is_blessed


def test_the_champion_itself_passes_as_a_new_model(
    regression_model: Path, regression_dataset: Path, regression_saved_model: Path, tmp_path: Path
) -> None:
    settings = EvaluationSettings(champion_base_path=champions(tmp_path, v1=regression_saved_model))
    evaluation = evaluate_model(regression_model, regression_dataset, settings=settings)
    assert evaluation.champion is not None
    assert evaluation.champion.answers_alike
    assert evaluation.is_blessed


def incomparable(kind: str, base: Path, digits_saved_model: Path, tabular_saved_model: Path) -> str:
    """A champion that the table's model cannot be held against."""
    if kind == "other classes":
        return champions(base, v4=digits_saved_model)
    champions(base, v4=tabular_saved_model)
    schema = base / "4" / "assets.extra" / "schema.json"
    schema.write_text(schema.read_text().replace('"class"', '"number"'))
    return str(base)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("other classes", "(version 4) cannot be compared: it knows none of this dataset's classes"),
        ("other label", "(version 4) cannot be compared: it predicts a number, this dataset's label is a class"),
    ],
)
def test_a_champion_that_cannot_be_compared_is_replaced_only_when_asked_for(
    kind: str,
    words: str,
    tabular_model: Path,
    tabular_dataset: Path,
    digits_saved_model: Path,
    tabular_saved_model: Path,
    tmp_path: Path,
) -> None:
    base = incomparable(kind, tmp_path / "served", digits_saved_model, tabular_saved_model)
    settings = EvaluationSettings(champion_base_path=base)
    refused = evaluate_model(tabular_model, tabular_dataset, settings=settings)
    assert not refused.is_blessed
    assert refused.champion is not None
    assert refused.champion.scores is None
    assert words in refused.reasons[0]["message"]
    assert "model_name" in refused.reasons[0]["advice"]
    asked_for = replace(settings, replace_incomparable_champion=True)
    assert evaluate_model(tabular_model, tabular_dataset, settings=asked_for).is_blessed


def damaged(kind: str, base: Path, tabular_saved_model: Path) -> str:
    """A folder whose version 4 cannot be read; where it has a version 3, that one can."""
    if kind == "gone":
        base.mkdir()
        events = [{"version": 4, "event": "published"}, {"version": 5, "event": "withdrawn"}]
        (base / ".deployments.json").write_text(json.dumps(events))
        return str(base)
    if kind == "only an empty one":
        (base / "4").mkdir(parents=True)
        return str(base)
    champions(base, v3=tabular_saved_model, v4=tabular_saved_model)
    version = base / "4"
    match kind:
        case "no graph":
            (version / "saved_model.pb").unlink()
        case "damaged graph":
            (version / "saved_model.pb").write_bytes(b"no model")
        case "half a graph":
            graph = (version / "saved_model.pb").read_bytes()
            (version / "saved_model.pb").write_bytes(graph[: len(graph) // 2])
        case "no variables":
            shutil.rmtree(version / "variables")
        case "damaged schema":
            (version / "assets.extra" / "schema.json").write_text("{")
        case "broken link":
            shutil.rmtree(version)
            version.symlink_to(base / "unmounted")
    return str(base)


DAMAGES = ("no graph", "damaged graph", "half a graph", "no variables", "damaged schema", "broken link", "gone")


@pytest.mark.parametrize("kind", [*DAMAGES, "only an empty one"])
def test_a_champion_that_cannot_be_read_fails_the_evaluation(
    kind: str, tabular_model: Path, tabular_dataset: Path, tabular_saved_model: Path, tmp_path: Path
) -> None:
    base = damaged(kind, tmp_path / "served", tabular_saved_model)
    settings = EvaluationSettings(champion_base_path=base)
    with pytest.raises(InvalidData, match=r"the champion \(version 4 in .*served\) cannot be read: ") as refused:
        evaluate_model(tabular_model, tabular_dataset, settings=settings)
    assert "replace_incomparable_champion=true" in str(refused.value)


@pytest.mark.parametrize("kind", ["damaged graph", "gone"])
def test_a_champion_that_cannot_be_read_is_replaced_when_asked_for(
    kind: str, tabular_model: Path, tabular_dataset: Path, tabular_saved_model: Path, tmp_path: Path
) -> None:
    base = damaged(kind, tmp_path / "served", tabular_saved_model)
    settings = EvaluationSettings(champion_base_path=base, replace_incomparable_champion=True)
    evaluation = evaluate_model(tabular_model, tabular_dataset, settings=settings)
    assert evaluation.is_blessed
    assert "the champion (version 4) is replaced as asked" in evaluation.reasons[0]["message"]
    assert evaluation.compared_with == ("none" if kind == "gone" else "4")


def unlistable(kind: str, folder: Path) -> Path:
    base = folder / "served"
    match kind:
        case "file":
            base.write_text("")
        case "below a file":
            (folder / "file").write_text("")
            base = folder / "file" / "served"
        case "circle":
            base.symlink_to(base)
        case "broken link":
            base.symlink_to(folder / "unmounted")
        case "damaged history":
            base.mkdir()
            (base / ".deployments.json").write_text("[{")
        case "history of another form":
            base.mkdir()
            (base / ".deployments.json").write_text("{}")
    return base


@pytest.mark.parametrize(
    "kind", ["file", "below a file", "circle", "broken link", "damaged history", "history of another form"]
)
def test_a_folder_of_versions_that_cannot_be_listed_fails_the_evaluation(
    kind: str, tabular_model: Path, tabular_dataset: Path, tmp_path: Path
) -> None:
    base = str(unlistable(kind, tmp_path))
    settings = EvaluationSettings(champion_base_path=base, replace_incomparable_champion=True)
    with pytest.raises(InvalidData, match=f"serving.base_path {base} (is a file|cannot be read)"):
        evaluate_model(tabular_model, tabular_dataset, settings=settings)


def test_a_champion_needs_all_of_its_columns_and_minds_no_more(
    tabular_dataset: Path, tabular_saved_model: Path, tmp_path: Path
) -> None:
    schema = Schema.load(tabular_dataset)
    location = champions(tmp_path / "served", v1=tabular_saved_model) + "/1"
    more = (*schema.features, Feature(name="more", kind="numeric", dtype="float32"))
    assert Champion.load(location, replace(schema, features=more)).version == "1"
    fewer = tuple(feature for feature in schema.features if feature.name != "alcohol")
    with pytest.raises(NotComparable, match="it takes 'alcohol', which this dataset does not have"):
        Champion.load(location, replace(schema, features=fewer))


def test_a_champion_meets_categories_that_it_has_never_seen(
    tabular_model: Path, tabular_dataset: Path, tabular_saved_model: Path, tmp_path: Path
) -> None:
    import tensorflow as tf

    location = champions(tmp_path / "served", v1=tabular_saved_model) + "/1"
    champion = Champion.load(location, Schema.load(tabular_dataset))
    features, _ = next(iter(read_split(tabular_dataset, "test").batch(8)))
    answers = champion.answer({**features, "strength": tf.constant(["unheard of"] * len(features["strength"]))})
    assert answers.sum(axis=1) == pytest.approx(1, abs=1e-5)


def test_a_class_more_or_less_is_compared(tabular_dataset: Path, tabular_saved_model: Path, tmp_path: Path) -> None:
    schema = Schema.load(tabular_dataset)
    location = champions(tmp_path / "served", v1=tabular_saved_model) + "/1"
    features, _ = next(iter(read_split(tabular_dataset, "test").batch(8)))
    answers = Champion.load(location, schema).answer(features)
    assert schema.label is not None
    names = schema.class_names
    for wanted, columns in ((("new", *names), (None, 0, 1, 2)), (names[1:], (1, 2))):
        other = replace(schema, label=replace(schema.label, class_names=wanted))
        matched = Champion.load(location, other).answer(features)
        for index, column in enumerate(columns):
            assert matched[:, index] == pytest.approx(0 if column is None else answers[:, column])


def test_a_champion_that_knows_other_classes_is_matched_by_name(
    tabular_model: Path, tabular_dataset: Path, tabular_saved_model: Path, tmp_path: Path
) -> None:
    base = champions(tmp_path, v1=tabular_saved_model)
    schema = tmp_path / "1" / "assets.extra" / "schema.json"
    schema.write_text(schema.read_text().replace("class_1", "elsewhere"))
    evaluation = evaluate_model(
        tabular_model, tabular_dataset, settings=EvaluationSettings(split="train", champion_base_path=base)
    )
    assert evaluation.champion is not None
    scores = evaluation.champion.scores
    assert isinstance(scores, ClassificationScores)
    assert [each.recall > 0.5 for each in scores.classes] == [True, False, True]


class Log:
    """What KFP's ClassificationMetrics would be told."""

    def __init__(self) -> None:
        self.metadata: dict[str, Any] = {}
        self.matrix: tuple[list[str], list[list[float]]] | None = None
        self.curve: tuple[list[float], ...] = ()

    def log_confusion_matrix(self, categories: list[str], matrix: list[list[float]]) -> None:
        self.matrix = (categories, matrix)

    def log_roc_curve(self, fpr: list[float], tpr: list[float], threshold: list[float]) -> None:
        self.curve = (fpr, tpr, threshold)


def test_plots_are_logged_for_kfp(digits_evaluation: Evaluation) -> None:
    log = Log()
    log_plots(digits_evaluation, log)
    assert log.matrix is not None
    categories, matrix = log.matrix
    assert categories == list("0123456789")
    assert sum(map(sum, matrix)) == digits_evaluation.scores.rows
    assert all(isinstance(value, int) for row in matrix for value in row)
    assert 2 < len(log.curve[0]) == len(log.curve[1]) == len(log.curve[2]) <= 100
    assert np.isfinite(log.curve).all()
    note = log.metadata["rocNote"]
    assert note.startswith("micro average of each class against the rest; the metric auc is the mean")


def test_the_curve_of_two_classes_is_named(tabular_evaluation: Evaluation) -> None:
    scores = tabular_evaluation.scores
    assert isinstance(scores, ClassificationScores)
    log = Log()
    log_plots(replace(tabular_evaluation, scores=replace(scores, classes=scores.classes[:2])), log)
    assert log.metadata["rocNote"].startswith(f"of class {scores.classes[1].name}; its area")


def test_the_page_shows_verdict_plots_and_slices(tabular_evaluation: Evaluation) -> None:
    page = build_report(tabular_evaluation).html()
    assert "Evaluation: blessed" in page
    assert page.count("<svg") == 3
    assert "strength=light" in page


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"thresholds": {"acuracy": 0.9}}, "did you mean 'accuracy'"),
        (
            {"slices": ("alcohol",)},
            "evaluation.slices need categorical features, but 'alcohol' is numeric; categorical here: strength",
        ),
        ({"slices": ("strenth",)}, "did you mean 'strength'"),
        ({"split": "tset"}, "did you mean 'test'"),
        ({"champion_metric": "rmse"}, "champion_metric: no metric is called 'rmse'"),
        ({"champion_tolerance": -1}, "evaluation.champion_tolerance must be at least 0"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(
    settings: dict[str, Any], words: str, tabular_model: Path, tabular_dataset: Path
) -> None:
    with pytest.raises(InvalidSetting, match=words):
        evaluate_model(tabular_model, tabular_dataset, settings=EvaluationSettings(**settings))


def test_a_dataset_of_another_kind_is_refused(tabular_model: Path, digits_dataset: Path) -> None:
    with pytest.raises(InvalidData, match="takes the feature 'alcohol', which this dataset does not have"):
        evaluate_model(tabular_model, digits_dataset)


def test_a_split_without_all_its_rows_is_refused(tabular_model: Path, tabular_dataset: Path, tmp_path: Path) -> None:
    dataset = tmp_path / "dataset"
    shutil.copytree(tabular_dataset, dataset)
    shard = next((dataset / "test").iterdir())
    content = shard.read_bytes()
    shard.write_bytes(content[: 16 + int.from_bytes(content[:8], "little")])  # the first record of TFRecord
    with pytest.raises(InvalidData, match=r"statistics\.json counts: test has \d+ rows instead of \d+; prepare"):
        evaluate_model(tabular_model, dataset)


def with_reader(model: Path, folder: Path, ending: str) -> Path:
    """`model` whose module has a `make_dataset` of its own: the first 40 rows."""
    shutil.copytree(model, folder)
    (module,) = (path for path in (folder / "module").iterdir() if path.suffix == ".py")
    module.write_text(
        module.read_text()
        + f"""

def make_dataset(split, context):
    from trainwright_components.datasets.reader import read_split

    return read_split(context.dataset, split).take(40){ending}
"""
    )
    return folder


def test_the_modules_own_reader_is_used(tabular_model: Path, tabular_dataset: Path, tmp_path: Path) -> None:
    model = with_reader(tabular_model, tmp_path / "model", "")
    labels, outputs, _ = keras_answers(tabular_model, tabular_dataset, "train")
    evaluation = evaluate_model(model, tabular_dataset, settings=EvaluationSettings(split="train", batch_size=16))
    assert evaluation.scores.rows == 40
    assert evaluation.metrics["accuracy"] == pytest.approx((outputs.argmax(axis=1) == labels)[:40].mean())
    assert evaluation.metrics["keras_accuracy"] == pytest.approx(evaluation.metrics["accuracy"])


def test_a_reader_that_never_ends_is_refused(tabular_model: Path, tabular_dataset: Path, tmp_path: Path) -> None:
    model = with_reader(tabular_model, tmp_path / "model", ".repeat()")
    with pytest.raises(InvalidSetting, match="never ends"):
        evaluate_model(model, tabular_dataset)


NUMBERS = """
import keras

def preprocess(features, context):
    return {"x": features[context.params["feature"]]}

def build_model(context):
    x = keras.Input((), name="x")
    model = keras.Model({"x": x}, keras.layers.Identity()(keras.layers.Reshape((1,))(x)))
    model.compile("sgd", "mse")
    return model
"""


def trained_of(source: str, dataset: Path, folder: Path, **params: Any) -> Path:
    """The model of a module as it is built, kept as if it had been trained."""
    from trainwright_components.datasets.statistics import Statistics
    from trainwright_components.training.trained_model import save_trained
    from trainwright_components.user_module.module import Context, load_module

    (folder / "model").mkdir(parents=True)
    (folder / "module.py").write_text(source)
    module = load_module(folder / "module.py")
    schema, statistics = Schema.load(dataset), Statistics.load(dataset)
    context = Context(params=params, schema=schema, statistics=statistics, dataset=dataset)
    built = module.build_model(context)
    built.optimizer.build(built.trainable_variables)
    save_trained(folder / "model", model=built, module=module, context=context, training={})
    return folder / "model"


def numbers(folder: Path, labels: np.ndarray, **columns: np.ndarray) -> Path:
    """A dataset of numbers with one split."""
    from trainwright_components.datasets.writer import DatasetWriter

    features = tuple(Feature(name=name, kind="numeric", dtype="float32") for name in columns)
    schema = Schema(features=features, label=Label(name="y", kind="number", dtype="float32"))
    folder.mkdir()
    with DatasetWriter(folder, schema, shards={"test": 1}) as writer:
        writer.write("test", {name: column.astype(np.float32) for name, column in (columns | {"y": labels}).items()})
    return folder


def save_answer(feature: str, names: tuple[str, ...], folder: Path) -> Path:
    """A SavedModel that answers with one of its inputs."""
    import tensorflow as tf

    specs = {name: tf.TensorSpec([None], tf.float32, name=name) for name in names}
    answer = tf.function(lambda **inputs: {"predictions": tf.identity(inputs[feature])})
    tf.saved_model.save(tf.Module(), str(folder), signatures={"serving_default": answer.get_concrete_function(**specs)})
    return folder


@pytest.mark.parametrize(("middle", "spread"), [(1e6, 3.0), (1e3, 1.0), (0.0, 1e-6), (-1e5, 10.0), (5.0, 0.0)])
def test_a_worse_model_is_not_taken_for_the_champion_however_far_from_zero_its_labels_are(
    middle: float, spread: float, tmp_path: Path
) -> None:
    random = np.random.default_rng(5)
    noise = random.normal(0, 1, (3, 300)) * [[spread], [0.1 * (spread or 1.0)], [0.5 * (spread or 1.0)]]
    labels = (middle + noise[0]).astype(np.float32)
    dataset = numbers(tmp_path / "data", labels, good=labels + noise[1], bad=labels + noise[2])
    settings = EvaluationSettings(champion_base_path=str(tmp_path / "served"))
    save_answer("good", ("good", "bad"), tmp_path / "served" / "1")
    verdicts = {}
    for feature in ("good", "bad"):
        model = trained_of(NUMBERS, dataset, tmp_path / feature, feature=feature)
        evaluation = evaluate_model(model, dataset, settings=settings)
        assert evaluation.champion is not None
        verdicts[feature] = (evaluation.is_blessed, evaluation.champion.answers_alike)
    assert verdicts == {"good": (True, True), "bad": (False, False)}


def test_rounding_of_the_champions_answers_is_not_worse(tmp_path: Path) -> None:
    labels = np.random.default_rng(5).normal(100, 10, 300)
    dataset = numbers(tmp_path / "data", labels, good=labels + 1, rounded=labels + 1.0005)
    save_answer("good", ("good", "rounded"), tmp_path / "served" / "1")
    model = trained_of(NUMBERS, dataset, tmp_path / "rounded", feature="rounded")
    evaluation = evaluate_model(
        model, dataset, settings=EvaluationSettings(champion_base_path=str(tmp_path / "served"))
    )
    assert evaluation.champion is not None
    assert evaluation.champion.answers_alike
    assert evaluation.is_blessed


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_a_metric_of_the_model_that_is_nan_or_infinite_fails_it(value: str, tmp_path: Path) -> None:
    labels = np.arange(1.0, 50.0)
    dataset = numbers(tmp_path / "data", labels, x=labels)
    hollow = f"\ndef hollow(labels, outputs):\n    return outputs * 0.0 + float({value!r})\n"
    source = NUMBERS.replace('"mse")', '"mse", metrics=[hollow])') + hollow
    model = trained_of(source, dataset, tmp_path / "one", feature="x")
    evaluation = evaluate_model(model, dataset)
    assert not evaluation.is_blessed
    assert evaluation.reasons[0]["message"] == f"keras_hollow is {value} on these rows"
    assert "keras_hollow" not in evaluation.metrics
    assert evaluation.metrics["rmse"] == 0
    json.dumps([evaluation.reasons, evaluation.metrics, evaluation.metadata], allow_nan=False)
    build_report(evaluation).html()


def test_labels_that_are_nan_are_refused(tmp_path: Path) -> None:
    labels = np.arange(50.0)
    dataset = numbers(tmp_path / "data", labels, x=labels)
    reader = (
        NUMBERS
        + """
import tensorflow as tf
from trainwright_components.datasets.reader import read_split

def make_dataset(split, context):
    return read_split(context.dataset, split).map(lambda features, label: (features, tf.math.log(label - 1.0)))
"""
    )
    with pytest.raises(InvalidData, match="a label or a weight of these rows is NaN or infinite"):
        evaluate_model(trained_of(reader, dataset, tmp_path / "one", feature="x"), dataset)


def test_a_model_without_the_champions_metric_takes_nobodys_place(tmp_path: Path) -> None:
    """R2 of one constant label is not defined."""
    labels = np.full(50, 5.0)
    dataset = numbers(tmp_path / "data", labels, x=labels + 1)
    save_answer("x", ("x",), tmp_path / "served" / "1")
    settings = EvaluationSettings(
        champion_base_path=str(tmp_path / "served"), champion_metric="r2", replace_incomparable_champion=True
    )
    evaluation = evaluate_model(trained_of(NUMBERS, dataset, tmp_path / "one", feature="x"), dataset, settings=settings)
    assert not evaluation.is_blessed
    assert evaluation.reasons[0]["message"].startswith("r2 is not defined on these rows, so the model cannot be held")


TWO_HEADS = """
import keras
from trainwright_components.datasets.reader import read_split

def preprocess(features, context):
    return {"hue": features["hue"]}

def make_dataset(split, context):
    return read_split(context.dataset, split).map(lambda features, label: (features, {"cultivar": label}))

def build_model(context):
    hue = keras.Input((), name="hue")
    x = keras.layers.Reshape((1,))(hue)
    heads = {"cultivar": keras.layers.Dense(3, activation="softmax")(x), "copy": keras.layers.Identity()(x)}
    model = keras.Model({"hue": hue}, heads)
    model.compile(keras.optimizers.SGD(), loss={"cultivar": "sparse_categorical_crossentropy"})
    return model
"""


def test_of_several_outputs_the_one_named_like_the_label_is_scored(tabular_dataset: Path, tmp_path: Path) -> None:
    trained_of(TWO_HEADS, tabular_dataset, tmp_path)
    evaluation = evaluate_model(tmp_path / "model", tabular_dataset)
    labels, outputs, _ = keras_answers(tmp_path / "model", tabular_dataset)
    assert evaluation.metrics["accuracy"] == pytest.approx((outputs["cultivar"].argmax(axis=1) == labels).mean())
    assert evaluation.metrics["keras_loss"] == pytest.approx(evaluation.metrics["log_loss"], rel=1e-4)


def test_a_model_that_is_worse_than_a_baseline_is_not_blessed_unless_allowed(
    tabular_model: Path, tabular_dataset: Path, tmp_path: Path
) -> None:
    """All weights of the last layer are 0: the same answer for every row."""
    worse = tmp_path / "model"
    shutil.copytree(tabular_model, worse)
    trained = TrainedModel.load(worse)
    trained.model.layers[-1].kernel.assign(np.zeros_like(trained.model.layers[-1].kernel))
    trained.model.save(worse / "model.keras")
    evaluation = evaluate_model(worse, tabular_dataset, settings=EvaluationSettings(split="train"))
    labels, outputs, _ = keras_answers(worse, tabular_dataset, "train")
    failed = evaluation.reasons[0]
    assert not evaluation.is_blessed
    assert (failed["kind"], failed["metric"]) == ("baseline", "accuracy")
    assert failed["value"] == pytest.approx((outputs.argmax(axis=1) == labels).mean())
    assert failed["limit"] > 0.9
    assert "worse beyond chance than" in failed["message"]
    assert "of the baseline (logistic regression): the 95 % interval of the difference is -0." in failed["message"]
    assert "evaluation.allow_below_baseline=true" in failed["advice"]
    settings = EvaluationSettings(split="train", allow_below_baseline=True)
    allowed = evaluate_model(worse, tabular_dataset, settings=settings)
    assert allowed.is_blessed
    assert any("which evaluation.allow_below_baseline allows" in check.message for check in allowed.checks)


def test_the_record_and_the_page_have_the_baselines(
    tabular_evaluation: Evaluation, digits_evaluation: Evaluation
) -> None:
    record = json.loads(json.dumps(tabular_evaluation.metadata, allow_nan=False))["baselines"]
    assert record["metric"] == "accuracy"
    assert record["value"] == tabular_evaluation.metrics["accuracy"]
    assert record["strongest"] == "logistic regression"
    assert set(record["models"]) == {"majority class", "logistic regression"}
    linear = record["models"]["logistic regression"]
    assert record["strongest_value"] == linear["metrics"]["accuracy"]
    assert linear["difference"] == pytest.approx(record["value"] - record["strongest_value"])
    assert linear["low"] <= linear["difference"] <= linear["high"]
    assert linear["drawn_rows"] == tabular_evaluation.scores.rows
    assert "baseline: logistic regression" in build_report(tabular_evaluation).html()
    notes = digits_evaluation.metadata["baselines"]["notes"]
    assert notes == {"logistic regression": "not trained, since 'image' is an image"}
    page = build_report(digits_evaluation).html()
    assert '<td>params.filters</td><td class="number">8</td>' in page
    assert '<td>training.shuffle_buffer</td><td class="number">10,000</td>' in page
    assert "Baseline logistic regression: not trained, since" in page


def test_rows_of_one_key_are_drawn_together(
    tabular_evaluation: Evaluation, tabular_model: Path, tabular_dataset: Path, tmp_path: Path
) -> None:
    rows = tabular_evaluation.scores.rows
    shutil.copytree(tabular_dataset, tmp_path / "d")
    keys = {"train": [float(row // 7) for row in range(rows)]}
    RowKeys(split_by="key_column", column="vineyard", keys=keys).save(tmp_path / "d")
    found = evaluate_model(tabular_model, tmp_path / "d", settings=EvaluationSettings(split="train"))
    linear = found.metadata["baselines"]["models"]["logistic regression"]
    assert (linear["drawn_rows"], linear["drawn_keys"]) == (rows, -(-rows // 7))
    alone = tabular_evaluation.metadata["baselines"]["models"]["logistic regression"]
    assert alone["drawn_keys"] is None
    assert (linear["difference"], linear["low"] != alone["low"]) == (pytest.approx(alone["difference"]), True)


@pytest.mark.parametrize(("share", "metric"), [(0.79, "accuracy"), (0.81, "auc")])
def test_where_one_class_is_nearly_all_auc_decides(share: float, metric: str) -> None:
    """Whoever always says this class has a high accuracy there."""
    schema = Schema(features=(), label=Label(name="y", kind="class", dtype="int64", class_names=("no", "yes")))
    values = {"no": round(share * 100), "yes": 100 - round(share * 100)}
    column = ColumnStatistics(count=100, distinct=2, values=values)
    statistics = Statistics(splits={"train": SplitStatistics(rows=100, columns={"y": column})})
    assert baseline_metric(schema, statistics, {}) == metric
    assert baseline_metric(schema, statistics, {"yes": 3.0}) == "auc"
    assert (
        baseline_metric(replace(schema, label=Label(name="y", kind="number", dtype="float32")), statistics, {})
        == "rmse"
    )
