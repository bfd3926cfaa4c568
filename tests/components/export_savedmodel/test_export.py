"""An exported model answers as its Keras model does, to clients that send raw values."""

import base64
import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import prediction_log_pb2

from trainwright_components.datasets.reader import count_rows, read_split, split_files
from trainwright_components.datasets.schema import Feature, Label, Schema
from trainwright_components.datasets.writer import DatasetWriter
from trainwright_components.errors import InvalidData, InvalidModule, UserCodeError
from trainwright_components.export_savedmodel.export import ExportedModel, export_model
from trainwright_components.export_savedmodel.requests import tolerance_of
from trainwright_components.saved_models.graph_names import call_signature, input_specs
from trainwright_components.training.trained_model import TrainedModel, save_trained
from trainwright_components.user_module.module import load_module

ALL = ("digits", "tabular", "regression", "multilabel", "targets")


@pytest.fixture(params=ALL)
def case(request: pytest.FixtureRequest) -> tuple[Path, Path, Path]:
    """Model folder, dataset and SavedModel of each kind of model."""
    names = (f"{request.param}_{part}" for part in ("model", "dataset", "saved_model"))
    model, dataset, saved_model = (request.getfixturevalue(name) for name in names)
    return model, dataset, saved_model


def golden_requests(saved_model: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (saved_model.parent / "golden.jsonl").read_text().splitlines()]


def from_json(value: Any) -> Any:
    if isinstance(value, list):
        return [from_json(each) for each in value]
    return base64.b64decode(value["b64"]) if isinstance(value, dict) else value


def test_every_row_of_the_test_split_gets_the_keras_models_answer(case: tuple[Path, Path, Path]) -> None:
    model, dataset, saved_model = case
    trained = TrainedModel.load(model)
    features, *_ = next(iter(read_split(dataset, "test").batch(10_000)))
    wanted = trained.model.predict(trained.module.preprocess(features, trained.context), verbose=0)
    loaded = tf.saved_model.load(str(saved_model))
    got = loaded.signatures["serving_default"](**features)
    names = trained.schema.class_names
    if labels := trained.schema.value_names[: 0 if names else None]:
        assert [[name.decode() for name in row] for row in got["labels"].numpy()] == [[*labels]] * len(wanted)
        if "probabilities" in got:
            assert got["probabilities"].numpy() == pytest.approx(1 / (1 + np.exp(-wanted)), abs=1e-5)
        else:
            assert got["predictions"].numpy() == pytest.approx(wanted, rel=1e-5)
        return
    if not names:
        assert set(got) == {"predictions"}
        assert got["predictions"].numpy() == pytest.approx(wanted[:, 0], rel=1e-5)
        return
    assert set(got) == {"probabilities", "classes"}
    assert [name.decode() for name in got["classes"].numpy()] == [names[index] for index in wanted.argmax(axis=1)]
    assert got["probabilities"].numpy().sum(axis=1) == pytest.approx(1, abs=1e-5)
    assert (got["probabilities"].numpy().argsort(axis=1)[:, -1] == wanted.argmax(axis=1)).all()


def test_stored_examples_are_taken_as_they_are(case: tuple[Path, Path, Path]) -> None:
    _, dataset, saved_model = case
    records = list(tf.data.TFRecordDataset([str(file) for file in split_files(dataset, "test")]).take(20))
    features, *_ = next(iter(read_split(dataset, "test").batch(20)))
    signatures = tf.saved_model.load(str(saved_model)).signatures
    dense = signatures["serving_default"](**features)
    parsed = signatures["serving_examples"](examples=tf.stack(records))
    assert set(dense) == set(parsed)
    for name in dense:
        assert (dense[name].numpy() == parsed[name].numpy()).all()


def test_classify_and_regress_have_the_names_and_methods_of_tensorflow_serving(
    digits_saved_model: Path, regression_saved_model: Path
) -> None:
    saved = saved_model_pb2.SavedModel.FromString((digits_saved_model / "saved_model.pb").read_bytes())
    definitions = saved.meta_graphs[0].signature_def
    classify = definitions["classify"]
    assert classify.method_name == "tensorflow/serving/classify"
    assert (set(classify.inputs), set(classify.outputs)) == ({"inputs"}, {"classes", "scores"})
    assert [dim.size for dim in classify.outputs["scores"].tensor_shape.dim] == [-1, 10]
    assert definitions["serving_default"].method_name == "tensorflow/serving/predict"
    assert "regress" not in definitions
    saved = saved_model_pb2.SavedModel.FromString((regression_saved_model / "saved_model.pb").read_bytes())
    regress = saved.meta_graphs[0].signature_def["regress"]
    assert regress.method_name == "tensorflow/serving/regress"
    assert (set(regress.inputs), set(regress.outputs)) == ({"inputs"}, {"outputs"})


def test_labels_are_classified_by_name(multilabel_saved_model: Path, multilabel_dataset: Path) -> None:
    records = list(tf.data.TFRecordDataset([str(file) for file in split_files(multilabel_dataset, "test")]).take(4))
    signatures = tf.saved_model.load(str(multilabel_saved_model)).signatures
    got = signatures["classify"](inputs=tf.stack(records))
    whole = signatures["serving_examples"](examples=tf.stack(records))
    assert (got["classes"].numpy() == whole["labels"].numpy()).all()
    assert (got["scores"].numpy() == whole["probabilities"].numpy()).all()
    assert "regress" not in signatures


def test_preprocess_and_preprocessed_are_the_two_halves(case: tuple[Path, Path, Path]) -> None:
    _, dataset, saved_model = case
    features, *_ = next(iter(read_split(dataset, "test").batch(5)))
    loaded = tf.saved_model.load(str(saved_model))
    halves = loaded.signatures["preprocessed"](**loaded.signatures["preprocess"](**features))
    whole = loaded.signatures["serving_default"](**features)
    for name, value in halves.items():
        assert value.numpy() == pytest.approx(whole[name].numpy(), rel=1e-6)


def test_golden_answers_come_from_keras_and_the_export_gives_them(case: tuple[Path, Path, Path]) -> None:
    model, _, saved_model = case
    trained = TrainedModel.load(model)
    loaded = tf.saved_model.load(str(saved_model))
    requests = golden_requests(saved_model)
    assert [request["signature_name"] for request in requests] == ["serving_default", "serving_examples"] * 2
    for request in requests:
        inputs = {name: tf.constant(from_json(value)) for name, value in request["inputs"].items()}
        got = loaded.signatures[request["signature_name"]](**inputs)
        for name, value in request["outputs"].items():
            if name in ("classes", "labels"):
                assert np.char.decode(got[name].numpy().astype(bytes)).tolist() == value
            else:
                assert got[name].numpy() == pytest.approx(np.array(value), abs=request["tolerance"])
    raw = {name: tf.constant(value) for name, value in requests[2]["inputs"].items()}
    outputs = trained.model.predict(trained.module.preprocess(raw, trained.context), verbose=0)
    number = next(iter(requests[2]["outputs"].values()))
    if trained.schema.class_names:
        assert outputs.argmax(axis=1).tolist() == np.argmax(number, axis=1).tolist()
    elif trained.schema.label is not None and trained.schema.label.kind == "multilabel":
        assert 1 / (1 + np.exp(-outputs)) == pytest.approx(np.array(number), abs=1e-6)
    else:
        assert outputs.squeeze() == pytest.approx(np.array(number), rel=1e-6)


def test_golden_requests_are_strict_json_and_show_several_classes(digits_saved_model: Path) -> None:
    one, _, several, _ = golden_requests(digits_saved_model)
    assert len(one["inputs"]["image"]) == 1
    assert len(set(several["outputs"]["classes"])) == 8
    for line in (digits_saved_model.parent / "golden.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=pytest.fail)


def test_warm_up_records_are_requests_that_the_model_answers(case: tuple[Path, Path, Path]) -> None:
    _, _, saved_model = case
    loaded = tf.saved_model.load(str(saved_model))
    records = list(tf.data.TFRecordDataset(str(saved_model / "assets.extra" / "tf_serving_warmup_requests")))
    assert len(records) == 4
    for record in records:
        request = prediction_log_pb2.PredictionLog.FromString(record.numpy()).predict_log.request
        inputs = {name: tf.constant(tf.make_ndarray(value)) for name, value in request.inputs.items()}
        assert loaded.signatures[request.model_spec.signature_name](**inputs)


def test_loads_where_keras_cannot_even_be_imported(tabular_saved_model: Path) -> None:
    """The model has a custom layer, a lookup table in `preprocess`, and logits."""
    request = golden_requests(tabular_saved_model)[2]
    code = f"""
import sys
sys.modules["keras"] = sys.modules["tf_keras"] = None
import json
import tensorflow as tf
model = tf.saved_model.load({str(tabular_saved_model)!r})
inputs = {{name: tf.constant(value) for name, value in {request["inputs"]!r}.items()}}
print(json.dumps(model.signatures["serving_default"](**inputs)["probabilities"].numpy().tolist()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert np.array(json.loads(done.stdout)) == pytest.approx(
        np.array(request["outputs"]["probabilities"]), abs=request["tolerance"]
    )


def test_missing_values_may_be_left_out_of_examples_only_where_training_saw_some_missing(
    tabular_saved_model: Path,
) -> None:
    """`ash` and `strength` have missing values, `hue` has none."""
    loaded = tf.saved_model.load(str(tabular_saved_model))
    numbers = {"alcohol": 13.0, "hue": 1.0, "proline": 700.0}

    def ask(**values: float) -> dict[str, tf.Tensor]:
        example = tf.train.Example()
        for name, value in values.items():
            example.features.feature[name].float_list.value.append(value)
        return dict(loaded.signatures["serving_examples"](examples=tf.constant([example.SerializeToString()])))

    dense = {name: tf.constant([value]) for name, value in (numbers | {"ash": np.nan}).items()}
    wanted = loaded.signatures["serving_default"](strength=tf.constant([""]), **dense)
    assert ask(**numbers)["probabilities"].numpy() == pytest.approx(wanted["probabilities"].numpy())
    del numbers["hue"]
    with pytest.raises(tf.errors.InvalidArgumentError, match="hue"):
        ask(**numbers)


def test_weights_are_stored_once(digits_model: Path, digits_saved_model: Path) -> None:
    stored = tf.train.list_variables(str(digits_saved_model / "variables" / "variables"))
    count = sum(int(np.prod(shape)) for name, shape in stored if "OBJECT_GRAPH" not in name)
    assert count == TrainedModel.load(digits_model).model.count_params()


def test_the_schema_travels_with_the_model(tabular_model: Path, tabular_saved_model: Path) -> None:
    assert Schema.load(tabular_saved_model / "assets.extra") == Schema.load(tabular_model)


def test_the_card_tells_what_is_known(
    digits_dataset: Path, digits_saved_model: Path, tabular_saved_model: Path
) -> None:
    card = (digits_saved_model.parent / "card.md").read_text()
    assert card.startswith("# digits\n\nPredicts the class `digit`, one of 10: `0`, `1`")
    assert "| `image` | image | float32 | [8, 8] | 0 to 16 |" in card
    assert "| `params.filters` | `8` |" in card
    assert "| `training.batch_size` | `32` |" in card
    assert "| `training.shuffle_buffer` | `10000` |" in card, "a default"
    assert "| epochs done | 4 |" in card
    assert f"| train | {count_rows(digits_dataset, 'train'):,} |" in card
    assert "val_accuracy" in card
    assert re.search(r"\| accuracy \| 0\.\d+ \| export, \d+ rows of the split test \|", card)
    card = (tabular_saved_model.parent / "card.md").read_text()
    assert "| `strength` | categorical | string | one value | `light`, `medium`, `strong`; " in card
    assert "as `preprocess` treats unknown ones" in card


def test_the_card_tells_of_several_labels_and_targets(multilabel_saved_model: Path, targets_saved_model: Path) -> None:
    card = (multilabel_saved_model.parent / "card.md").read_text()
    assert "Predicts for each of 3 labels how probable it is: `much ash`, `much magnesium`, `much malic_acid`." in card
    assert re.search(r"\| much ash \| \d+ \| \d+\.\d% \|", card)
    assert re.search(r"\| subset_accuracy \| 0\.\d+ \| export, \d+ rows of the split test \|", card)
    card = (targets_saved_model.parent / "card.md").read_text()
    assert "Predicts 2 numbers: `proline`, `total_phenols`." in card
    assert re.search(r"\| proline \| \d+", card)


AWKWARD = """
import keras
import tensorflow as tf

def preprocess(features, context):
    return tf.stack([tf.cast(features[f.name], tf.float32) for f in context.schema.features], axis=-1)

def build_model(context):
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(1, activation="sigmoid")])
    model.compile("adam", "binary_crossentropy")
    return model
"""


@pytest.fixture(scope="session")
def awkward_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Names that no graph or no Python function accepts or that graphs see as one, and two classes."""
    from trainwright_components.prepare_data.prepare import prepare_data
    from trainwright_components.prepare_data.settings import PrepareSettings

    folder = tmp_path_factory.mktemp("awkward")
    rows = [
        f"{index / 10},{index % 13},{index % 7},{index % 5},{index % 3},{'yes' if index % 3 else 'no'}"
        for index in range(60)
    ]
    (folder / "data.csv").write_text("\n".join(["mean radius (cm),größe/x,class,a b,a_b,is it?", *rows]))
    return prepare_data(folder / "data.csv", folder / "dataset", PrepareSettings(label="is it?")).dataset


def export_module(source: str, dataset: Path, folder: Path) -> ExportedModel:
    """Export an untrained model of the module `source`."""
    from trainwright_components.datasets.statistics import Statistics
    from trainwright_components.user_module.module import Context

    folder.mkdir(exist_ok=True)
    (folder / "awkward.py").write_text(source)
    module = load_module(folder / "awkward.py")
    schema, statistics = Schema.load(dataset), Statistics.load(dataset)
    context = Context(params={}, schema=schema, statistics=statistics, dataset=dataset)
    keras.utils.set_random_seed(0)  # weights of some other draws answer 0 or 1 to every row, whatever goes in
    model = module.build_model(context)
    model.optimizer.build(model.trainable_variables)
    (folder / "model").mkdir()
    save_trained(folder / "model", model=model, module=module, context=context, training={})
    golden, card = folder / "golden.jsonl", folder / "card.md"
    return export_model(folder / "model", dataset, folder / "saved_model", golden=golden, card=card)


def test_feature_names_reach_clients_unchanged(awkward_dataset: Path, tmp_path: Path) -> None:
    exported = export_module(AWKWARD, awkward_dataset, tmp_path)
    assert exported.verified.largest_difference < 1e-5
    features = {"mean radius (cm)": [0.5, 1.5], "größe/x": [1, 2], "class": [3, 4], "a b": [0, 1], "a_b": [2, 0]}
    assert set(golden_requests(exported.folder)[0]["inputs"]) == set(features)
    loaded = tf.saved_model.load(str(exported.folder))
    signature = loaded.signatures["serving_default"]
    assert set(input_specs(signature)) == set(features)
    dtypes = {feature.name: feature.dtype for feature in Schema.load(awkward_dataset).features}
    got = call_signature(signature, {name: tf.constant(value, dtypes[name]) for name, value in features.items()})
    assert got["probabilities"].shape == (2, 2)
    assert set(got["classes"].numpy().tolist()) <= {b"yes", b"no"}
    definition = saved_model_pb2.SavedModel.FromString((exported.folder / "saved_model.pb").read_bytes())
    assert set(definition.meta_graphs[0].signature_def["serving_default"].inputs) == set(features)


@pytest.mark.parametrize(
    "names",
    [
        ("Age", "Fare"),
        ("A", "a"),
        ("class", "Age", "input_class"),
        ("m²", "_lead", "3d", "Self"),
        ("x/y", "x.y", "x-y", "X (y)"),
    ],
    ids=" and ".join,
)
def test_every_column_reaches_its_own_weight_whatever_the_header_says(names: tuple[str, ...], tmp_path: Path) -> None:
    from trainwright_components.prepare_data.prepare import prepare_data
    from trainwright_components.prepare_data.settings import PrepareSettings

    places = range(len(names))
    rows = [",".join([*(f"{index * place % 7}.5" for place in places), f"{index % 2}"]) for index in range(9)]
    (tmp_path / "data.csv").write_text("\n".join([",".join([*names, "y"]), *rows]))
    settings = PrepareSettings(label="y", validation_fraction=0, test_fraction=0)
    dataset = prepare_data(tmp_path / "data.csv", tmp_path / "dataset", settings).dataset
    source = AWKWARD.replace("Input((5,))", f"Input(({len(names)},))")
    exported = export_module(source, dataset, tmp_path)
    kernel, bias = TrainedModel.load(tmp_path / "model").model.get_weights()
    for place, name in zip(places, names, strict=True):
        features = {each: tf.constant([float(each == name)]) for each in names}
        signature = tf.saved_model.load(str(exported.folder)).signatures["serving_default"]
        wanted = 1 / (1 + np.exp(-(kernel[place] + bias)))
        assert call_signature(signature, features)["probabilities"].numpy()[:, 1] == pytest.approx(wanted, rel=1e-5)


def test_requests_and_scores_come_from_all_of_a_sorted_split(
    digits_model: Path, digits_dataset: Path, tmp_path: Path
) -> None:
    features, labels = next(iter(read_split(digits_dataset, "train").batch(2_000)))
    order = np.argsort(labels.numpy(), kind="stable")
    images, digits = features["image"].numpy()[order], labels.numpy()[order]
    (tmp_path / "dataset").mkdir()
    with DatasetWriter(tmp_path / "dataset", Schema.load(digits_dataset), shards={"test": 1}) as writer:
        writer.write("test", {"image": images, "digit": digits})
    golden = tmp_path / "golden.jsonl"
    exported = export_model(
        digits_model, tmp_path / "dataset", tmp_path / "saved_model", golden=golden, card=tmp_path / "card.md"
    )
    several = golden_requests(exported.folder)[2]
    assert len(set(several["outputs"]["classes"])) == 8
    trained = TrainedModel.load(digits_model)
    outputs = trained.model.predict(
        trained.module.preprocess({"image": tf.constant(images)}, trained.context), verbose=0
    )
    right = outputs.argmax(axis=1) == digits
    assert exported.verified.rows == 1_000 < len(right)
    assert exported.verified.scores["accuracy"] == pytest.approx(right.mean(), abs=0.01)


def test_a_model_that_draws_random_numbers_is_refused_and_leaves_nothing(awkward_dataset: Path, tmp_path: Path) -> None:
    noisy = AWKWARD.replace("axis=-1)\n", "axis=-1) + tf.random.normal([])\n", 1)
    with pytest.raises(InvalidModule, match=r"differs from the Keras model's by .* random numbers"):
        export_module(noisy, awkward_dataset, tmp_path)
    assert not list(tmp_path.glob("*saved_model*"))
    assert not (tmp_path / "golden.jsonl").exists()


FAR = """
import keras
import tensorflow as tf

def preprocess(features, context):
    return {"x": features["x"] + context.params.get("noise", 0.0) * tf.random.uniform([], 0.5, 1)}

def build_model(context):
    x = keras.Input((), name="x")
    model = keras.Model({"x": x}, keras.layers.Rescaling(1.0)(keras.layers.Reshape((1,))(x)))
    model.compile("sgd", "mse")
    return model
"""


@pytest.fixture(scope="module")
def far_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Labels far from zero: 1,000,000, give or take 3."""
    folder = tmp_path_factory.mktemp("far") / "dataset"
    folder.mkdir()
    schema = Schema(
        features=(Feature(name="x", kind="numeric", dtype="float32"),),
        label=Label(name="y", kind="number", dtype="float32"),
    )
    labels = (1e6 + np.random.default_rng(0).normal(0, 3, 300)).astype(np.float32)
    with DatasetWriter(folder, schema, shards={"test": 1}) as writer:
        writer.write("test", {"x": labels, "y": labels})
    return folder


def test_an_export_is_held_against_keras_at_the_spread_of_the_labels(far_dataset: Path, tmp_path: Path) -> None:
    exported = export_module(FAR, far_dataset, tmp_path / "steady")
    assert exported.verified.largest_difference <= 0.125
    golden = golden_requests(exported.folder)[0]
    assert golden["tolerance"] == pytest.approx(4 * 2**-23 * 1e6, rel=1e-4)
    assert golden["is_absolute"] is True
    noisy = FAR.replace('"noise", 0.0', '"noise", 4.0')
    with pytest.raises(InvalidModule, match=r"differs from the Keras model's by .* random numbers"):
        export_module(noisy, far_dataset, tmp_path / "noisy")


@pytest.mark.parametrize(
    ("labels", "size", "tolerance"),
    [
        ([-10.0, 10.0], 12.0, 1e-3),
        ([1e6 - 3, 1e6 + 3], 1e6, 4 * 2**-23 * 1e6),
        ([1e-6, 3e-6], 2e-6, 1e-10),
        ([7.0, 7.0], 50.0, 5e-4),
        ([[-10.0, 7.0, 0.1], [10.0, 7.0, 0.3]], 12.0, 1e-5),
        ([0.0, 2.0], np.inf, 1e-4),
        (None, 0.7, 1e-5),
        (None, np.inf, 1e-5),
    ],
)
def test_the_tolerance_goes_with_the_spread_of_numbers(labels: list[Any] | None, size: float, tolerance: float) -> None:
    outputs = {"predictions": np.array([-size, 0.0, np.nan], np.float32)}
    got = tolerance_of(outputs, None if labels is None else np.array(labels))
    assert got == pytest.approx(tolerance)


def test_a_model_that_answers_nan_is_refused(far_dataset: Path, tmp_path: Path) -> None:
    hollow = FAR.replace('features["x"] +', 'tf.math.log(1e6 - features["x"]) +')
    with pytest.raises(InvalidModule, match="answers some of 300 rows of the split test with NaN or infinity"):
        export_module(hollow, far_dataset, tmp_path)


def test_python_in_the_graph_is_refused(awkward_dataset: Path, tmp_path: Path) -> None:
    python = AWKWARD.replace(
        "    return tf.stack(",
        "    features = {k: tf.ensure_shape(tf.numpy_function(lambda x: x, [v], v.dtype), v.shape)"
        " for k, v in features.items()}\n    return tf.stack(",
    )
    with pytest.raises(InvalidModule, match=r"calls Python while it runs \(PyFunc\)"):
        export_module(python, awkward_dataset, tmp_path)


def test_preprocess_that_cannot_become_a_graph_shows_the_users_line(awkward_dataset: Path, tmp_path: Path) -> None:
    eager = AWKWARD.replace("    return tf.stack(", "    next(iter(features.values())).numpy()\n    return tf.stack(")
    with pytest.raises(UserCodeError, match=r"preprocess of awkward.py failed: .* \(awkward.py, line 6\)"):
        export_module(eager, awkward_dataset, tmp_path)


def test_the_wrong_number_of_units_is_named(awkward_dataset: Path, tmp_path: Path) -> None:
    wide = AWKWARD.replace("Dense(1,", "Dense(5,")
    with pytest.raises(InvalidModule, match=r"'is it\?' has 2 classes, but the model puts out the shape .*5"):
        export_module(wide, awkward_dataset, tmp_path)


def test_a_folder_without_a_model_is_refused(tmp_path: Path, digits_dataset: Path) -> None:
    (tmp_path / "model").mkdir()
    with pytest.raises(InvalidData, match="is not a trained model"):
        export_model(tmp_path / "model", digits_dataset, tmp_path / "out", golden=tmp_path / "g", card=tmp_path / "c")
    shutil.rmtree(tmp_path / "model")
    assert not list(tmp_path.iterdir())


PICTURES = """
import keras
import tensorflow as tf

def preprocess(features, context):
    def decode(content):
        return tf.ensure_shape(tf.io.decode_png(content, channels=3), (6, 5, 3))
    pixels = tf.map_fn(decode, features["image"], fn_output_signature=tf.TensorSpec((6, 5, 3), tf.uint8))
    return tf.cast(pixels, tf.float32) / 255.0

def build_model(context):
    dense = keras.layers.Dense(2, activation="softmax")
    model = keras.Sequential([keras.Input((6, 5, 3)), keras.layers.Flatten(), dense])
    model.compile("adam", "sparse_categorical_crossentropy")
    return model
"""


def test_clients_send_encoded_images(tmp_path: Path) -> None:
    from PIL import Image

    from trainwright_components.prepare_data.prepare import prepare_data

    pixels = np.random.default_rng(0)
    for name, low in (("dark", 0), ("light", 150)):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for index in range(12):
            image = Image.fromarray(pixels.integers(low, low + 100, (6, 5, 3)).astype(np.uint8))
            image.save(tmp_path / "pictures" / name / f"{index}.png")
    dataset = prepare_data(tmp_path / "pictures", tmp_path / "dataset").dataset
    exported = export_module(PICTURES, dataset, tmp_path / "work")
    request = golden_requests(exported.folder)[0]
    (image,) = from_json(request["inputs"]["image"])
    assert image.startswith(b"\x89PNG")
    got = tf.saved_model.load(str(exported.folder)).signatures["serving_default"](image=tf.constant([image]))
    assert got["probabilities"].numpy() == pytest.approx(np.array(request["outputs"]["probabilities"]), abs=1e-5)


def test_without_a_label_every_output_is_exported(digits_dataset: Path, tmp_path: Path) -> None:
    """An encoder with two outputs; nothing is known of what they mean."""
    shutil.copytree(digits_dataset, tmp_path / "dataset")
    schema = Schema.load(digits_dataset)
    replace(schema, label=None).save(tmp_path / "dataset")
    source = """
import keras

def build_model(context):
    image = keras.Input((8, 8), name="image")
    flat = keras.layers.Flatten()(image)
    model = keras.Model({"image": image}, {"code": keras.layers.Dense(3)(flat), "sum": keras.ops.sum(flat, axis=1)})
    model.compile("adam", "mse")
    return model
"""
    exported = export_module(source, tmp_path / "dataset", tmp_path / "work")
    assert set(exported.signatures) == {"serving_default", "serving_examples", "preprocess", "preprocessed"}
    request = golden_requests(exported.folder)[0]
    assert set(request["outputs"]) == {"code", "sum"}
    assert request["outputs"]["sum"] == [pytest.approx(np.sum(request["inputs"]["image"]))]


def test_the_same_model_becomes_the_same_bytes(digits_model: Path, digits_dataset: Path, tmp_path: Path) -> None:
    """Then a server is not given a new version for nothing."""
    from trainwright_components.files import content_digest

    for name in ("one", "two"):
        export_model(digits_model, digits_dataset, tmp_path / name, golden=tmp_path / "g", card=tmp_path / "c")
    names = (
        "variables/variables.data-00000-of-00001",
        "assets.extra/tf_serving_warmup_requests",
        "assets.extra/schema.json",
    )
    for name in names:
        assert content_digest(tmp_path / "one" / name) == content_digest(tmp_path / "two" / name)
