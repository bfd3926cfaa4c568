"""A trained model that a user brings answers in a project as it does in Keras; what does not fit is refused."""

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_iris

from trainwright_components.datasets.describe import describe_table
from trainwright_components.datasets.infer import Roles
from trainwright_components.datasets.schema import Schema
from trainwright_components.datasets.statistics import Statistics
from trainwright_components.errors import InvalidData, InvalidModule, InvalidSetting, TrainwrightError
from trainwright_components.export_savedmodel.export import export_model
from trainwright_components.prepare_data.prepare import prepare_data
from trainwright_components.prepare_data.settings import PrepareSettings
from trainwright_components.saved_models.loaded import LoadedModel
from trainwright_components.saved_models.outputs import OutputReader
from trainwright_components.train_distributed.train import train_model
from trainwright_components.user_module.given_files import read_given
from trainwright_components.user_module.module import Context, load_module, resolve_params
from trainwright_pipelines.scaffold.given import write_given_project

COLUMNS = ("sl", "sw", "pl", "pw")
ROWS = load_iris().data.astype("float32")
SPECIES = ("setosa", "versicolor", "virginica")


def network(units: int = 3, activation: str = "softmax", *, width: int = 4) -> keras.Model:
    layers = [keras.layers.Dense(5, activation="tanh"), keras.layers.Dense(units, activation=activation)]
    return keras.Sequential([keras.Input((width,)), *layers])


def by_name(model: keras.Model) -> keras.Model:
    """The same with an input for each column, in another order than the table's."""
    inputs = {name: keras.Input((1,), name=name) for name in sorted(COLUMNS)}
    return keras.Model(inputs, model(keras.layers.Concatenate()([inputs[name] for name in COLUMNS])))


class Plain(tf.Module):
    """A model without Keras, which looks up a word."""

    def __init__(self, weights: NDArray[np.float32]) -> None:
        super().__init__()
        self.weights = tf.Variable(weights)
        words = tf.lookup.KeyValueTensorInitializer(["thin", "wide"], [0.0, 1.0])
        self.table = tf.lookup.StaticHashTable(words, 0.5)

    @tf.function(input_signature=[tf.TensorSpec([None], name="pl"), tf.TensorSpec([None], tf.string, name="look")])
    def serve(self, pl: tf.Tensor, look: tf.Tensor) -> dict[str, tf.Tensor]:
        scores = (pl + self.table.lookup(look))[:, None] * self.weights
        return {"kind": tf.nn.softmax(scores), "scores": scores}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    frame = pd.DataFrame(ROWS, columns=COLUMNS)
    frame["look"] = np.where(frame.sw > 3, "wide", "thin")
    frame["kind"] = [SPECIES[number] for number in load_iris().target]
    frame["large"] = np.where(frame.sl > 5.8, "yes", "no")
    path = tmp_path_factory.mktemp("table") / "iris.csv"
    frame.to_csv(path, index=False)
    return path


def opened(table: Path, project: Path, given: Path, label: str, **data: Any) -> Context:
    """The context of the project that is written for `given`."""
    read = PrepareSettings.from_mapping(data, label=label)
    schema = describe_table(table, Roles(label=label, exclude=read.exclude, task=read.task)).schema
    written = write_given_project(project, read_given(given), source=str(table), schema=schema, data=data)
    dataset = project / "dataset"
    prepare_data(
        table, dataset, PrepareSettings(label=label, exclude=(*read.exclude, *written.left_out), task=read.task)
    )
    module = load_module(project / "model")
    return Context(
        params=resolve_params(module, {}),
        schema=Schema.load(dataset),
        statistics=Statistics.load(dataset),
        dataset=dataset,
    )


def answers(project: Path, context: Context, table: Path) -> NDArray[np.float32]:
    """What the project says of each row of the table, as it is served."""
    module = load_module(project / "model")
    assert module.train is not None
    model = module.train(context)
    frame = pd.read_csv(table)
    features = {name: tf.constant(frame[name].to_numpy()) for name in context.schema.feature_names}
    reader = OutputReader.for_model(model, context.schema)
    return np.asarray(reader.read(model(module.for_model(model).preprocess(features, context), training=False)))


def save(model: keras.Model, path: Path) -> Path:
    if path.suffix:
        model.save(path)
    else:
        model.export(path, verbose=False)
    return path


@pytest.mark.parametrize("name", ["model.keras", "model.h5", "saved"])
def test_a_model_of_numbers_side_by_side_answers_as_before(table: Path, tmp_path: Path, name: str) -> None:
    model = network()
    given = save(model, tmp_path / name)
    context = opened(table, tmp_path / "p", given, "kind", exclude=["large", "look"])
    np.testing.assert_allclose(answers(tmp_path / "p", context, table), model.predict(ROWS, verbose=0), atol=1e-6)


@pytest.mark.parametrize("name", ["model.keras", "saved"])
def test_inputs_of_the_columns_names_are_taken_by_name(table: Path, tmp_path: Path, name: str) -> None:
    model = network(activation="linear")
    given = save(by_name(model), tmp_path / name)
    context = opened(table, tmp_path / "p", given, "kind")
    assert set(context.schema.feature_names) == set(COLUMNS)
    expected = tf.nn.softmax(model.predict(ROWS, verbose=0))
    np.testing.assert_allclose(answers(tmp_path / "p", context, table), expected, atol=1e-6)


def test_a_number_is_predicted(table: Path, tmp_path: Path) -> None:
    model = network(1, "linear", width=3)
    given = save(model, tmp_path / "m.keras")
    context = opened(table, tmp_path / "p", given, "pw", exclude=["kind", "large", "look"], task="regression")
    expected = model.predict(ROWS[:, :3], verbose=0)[:, 0]
    np.testing.assert_allclose(answers(tmp_path / "p", context, table), expected, atol=1e-6)


@pytest.mark.parametrize("is_turned", [False, True])
def test_one_output_decides_between_two_classes(table: Path, tmp_path: Path, is_turned: bool) -> None:
    model = network(1, "sigmoid")
    given = save(model, tmp_path / "m.keras")
    context = opened(table, tmp_path / "p", given, "large", exclude=["kind", "look"])
    file = tmp_path / "p" / "model" / "model.py"
    if is_turned:
        file.write_text(file.read_text().replace('("no", "yes")', '("yes", "no")  # turned'))
    yes = model.predict(ROWS, verbose=0)[:, 0]
    expected = np.stack([yes, 1 - yes] if is_turned else [1 - yes, yes], axis=1)
    np.testing.assert_allclose(answers(tmp_path / "p", context, table), expected, atol=1e-6)


def test_pictures_come_in_the_size_that_the_model_takes(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for name in ("a/1", "a/2", "a/3", "b/1", "b/2", "b/3"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(random.integers(0, 256, (8, 8, 3), np.uint8))
        image.save(tmp_path / "in" / f"{name}.png")
    model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(2)])
    context = opened(tmp_path / "in", tmp_path / "p", save(model, tmp_path / "m.keras"), "label")
    module = load_module(tmp_path / "p" / "model")
    content = (tmp_path / "in" / "b" / "2.png").read_bytes()
    given = module.preprocess({"image": tf.constant([content])}, context)
    expected = np.asarray(Image.open(tmp_path / "in" / "b" / "2.png"), np.float32)[None]
    np.testing.assert_allclose(given, expected)


def test_outputs_in_another_order_are_put_in_that_of_the_classes(table: Path, tmp_path: Path) -> None:
    model = network()
    context = opened(table, tmp_path / "p", save(model, tmp_path / "m.keras"), "kind", exclude=["large", "look"])
    file = tmp_path / "p" / "model" / "model.py"
    turned = '# Turned.\nCLASSES = ("virginica", "setosa", "versicolor")'
    file.write_text(file.read_text().replace(f"CLASSES = {SPECIES}".replace("'", '"'), turned))
    assert turned in file.read_text()
    expected = model.predict(ROWS, verbose=0)[:, [1, 2, 0]]
    np.testing.assert_allclose(answers(tmp_path / "p", context, table), expected, atol=1e-6)


def test_a_saved_model_without_keras_answers_as_before(table: Path, tmp_path: Path) -> None:
    plain = Plain(np.array([[-1.0, 0.2, 0.9]], np.float32))
    tf.saved_model.save(plain, str(tmp_path / "plain"), signatures={"serving_default": plain.serve})
    context = opened(table, tmp_path / "p", tmp_path / "plain", "kind")
    frame = pd.read_csv(table)
    expected = plain.serve(pl=tf.constant(frame.pl, tf.float32), look=tf.constant(frame.look))["kind"]
    np.testing.assert_allclose(answers(tmp_path / "p", context, table), expected, atol=1e-6)


@pytest.mark.slow
def test_a_saved_model_without_keras_is_scored_and_exported(table: Path, tmp_path: Path) -> None:
    plain = Plain(np.array([[-1.0, 0.2, 0.9]], np.float32))
    tf.saved_model.save(plain, str(tmp_path / "plain"), signatures={"serving_default": plain.serve})
    context = opened(table, tmp_path / "p", tmp_path / "plain", "kind")
    result = train_model(context.dataset, tmp_path / "p" / "model", tmp_path / "trained")
    assert 0 < result.metrics["val_accuracy"] <= 1
    exported = export_model(
        tmp_path / "trained",
        context.dataset,
        tmp_path / "exported",
        golden=tmp_path / "golden.jsonl",
        card=tmp_path / "card.md",
    )
    frame = pd.read_csv(table)
    asked = {"pl": tf.constant(frame.pl, tf.float32), "look": tf.constant(frame.look)}
    answer = LoadedModel.load(exported.folder).signatures["serving_default"].call(asked)
    np.testing.assert_allclose(answer["probabilities"], plain.serve(**asked)["kind"], atol=1e-6)


@keras.saving.register_keras_serializable("tests")
class Doubled(keras.layers.Layer):
    def call(self, inputs: Any) -> Any:
        return 2 * inputs


def make_own(path: Path) -> Path:
    save(keras.Sequential([keras.Input((4,)), Doubled(), keras.layers.Dense(3)]), path / "own.keras")
    text = zipfile.ZipFile(path / "own.keras")
    with zipfile.ZipFile(path / "changed.keras", "w") as changed:
        for name in text.namelist():
            changed.writestr(name, text.read(name).replace(b"Doubled", b"Tripled"))
    return path / "changed.keras"


def make_lambda(path: Path) -> Path:
    layers = [keras.layers.Lambda(lambda inputs: inputs * 2), keras.layers.Dense(3)]
    return save(keras.Sequential([keras.Input((4,)), *layers]), path / "lambda.keras")


def make_weights(path: Path) -> Path:
    network().save_weights(path / "m.weights.h5")
    return path / "m.weights.h5"


def make_cut_off(path: Path) -> Path:
    whole = save(network(), path / "whole.keras").read_bytes()
    (path / "cut.keras").write_bytes(whole[: len(whole) // 2])
    return path / "cut.keras"


def make_cut_off_saved_model(path: Path) -> Path:
    saved = save(network(), path / "saved")
    (saved / "saved_model.pb").write_bytes((saved / "saved_model.pb").read_bytes()[:500])
    return saved


def make_folder(path: Path) -> Path:
    (path / "empty").mkdir()
    return path / "empty"


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (make_own, InvalidModule, r"needs Tripled, .* write it with model.export"),
        (make_lambda, InvalidModule, "has a Lambda layer"),
        (make_weights, InvalidModule, "holds weights without their model"),
        (make_cut_off, InvalidModule, "is damaged or cut off"),
        (make_cut_off_saved_model, InvalidModule, "cannot be loaded"),
        (make_folder, InvalidModule, "holds no saved_model.pb"),
        (lambda path: path / "nothing.keras", InvalidSetting, "there is no model at"),
    ],
)
def test_what_is_no_whole_model_of_keras_is_refused(
    tmp_path: Path, make: Callable[[Path], Path], kind: type[TrainwrightError], message: str
) -> None:
    with pytest.raises(kind, match=message):
        read_given(make(tmp_path))


@pytest.mark.parametrize(
    ("made", "label", "exclude", "message"),
    [
        (lambda: network(5), "kind", ["large", "look"], "has 3 classes: 'setosa', 'versicolor', 'virginica'"),
        (lambda: network(width=7), "kind", ["large", "look"], r"7 numbers per row, but .* has 4 columns of numbers"),
        (lambda: by_name(network()), "kind", ["pl"], r"takes 'pl' .* has no columns of these names"),
        (lambda: keras.Sequential([keras.Input((9, 9, 3)), keras.layers.Flatten()]), "kind", [], "has 3 classes"),
        (network, "pw", ["kind", "large", "look"], "add --set data.task=classification"),
    ],
)
def test_columns_or_classes_that_do_not_fit_are_refused(
    table: Path, tmp_path: Path, made: Callable[[], keras.Model], label: str, exclude: list[str], message: str
) -> None:
    given = read_given(save(made(), tmp_path / "m.keras"))
    schema = describe_table(table, Roles(label=label, exclude=tuple(exclude))).schema
    with pytest.raises(InvalidData, match=message):
        write_given_project(tmp_path / "p", given, source=str(table), schema=schema)
    assert not (tmp_path / "p").exists()
