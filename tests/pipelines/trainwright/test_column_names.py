"""Whatever a column is called, its values reach its own weight at every stage, and clients call it by that name.

The model is a sum with a weight of its own for each column, 1 for the first, 2 for the second; each row has a 1 in one
column alone. So the answer to it is that column's weight, and any two columns that are taken for each other show.
"""

import csv
import json
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.column_names import COLUMN_NAMES

import trainwright
from trainwright_components.model_server.operation.control import stop_server
from trainwright_pipelines.requests.rows import read_rows_file

pytestmark = [
    # LiteRT 2.3 and the converter of TensorFlow 2.21 share no fault of ours; each warns once per process.
    pytest.mark.filterwarnings("default:.*tf.lite.Interpreter is deprecated:UserWarning"),
    # Keras 3.15 asks NumPy 2 for copies in a way that it warns of.
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"),
]

LABEL = 'is it "good"?/ü'
WEIGHTS = {name: float(number) for number, name in enumerate(COLUMN_NAMES, start=1)}
MODULE = """
import json

import keras
import numpy as np
import tensorflow as tf

WEIGHTS = json.loads(WRITTEN)


def preprocess(features, context):
    return tf.stack([features[each.name] for each in context.schema.features], axis=-1)


def build_model(context):
    model = keras.Sequential([keras.Input((len(WEIGHTS),)), keras.layers.Dense(1)])
    kernel = [[WEIGHTS[each.name]] for each in context.schema.features]
    model.layers[0].set_weights([np.array(kernel, "float32"), np.zeros(1, "float32")])
    model.compile(keras.optimizers.SGD(0.0), "mse")
    return model
"""
Answers = Mapping[str, float]


def write_table(file: Path, names: list[str]) -> None:
    """One row for each column name, in the order of `COLUMN_NAMES`."""
    with file.open("w", encoding="utf-8", newline="") as opened:
        writer = csv.writer(opened)
        writer.writerow(names)
        for each in COLUMN_NAMES:
            writer.writerow([WEIGHTS[each] if name == LABEL else float(name == each) for name in names])


def row_of(name: str) -> dict[str, float]:
    return {each: float(each == name) for each in COLUMN_NAMES}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("names")
    write_table(folder / "train.csv", [*COLUMN_NAMES, LABEL])
    write_table(folder / "rows.csv", [*reversed(COLUMN_NAMES)])
    (folder / "sums.py").write_text(MODULE.replace("WRITTEN", repr(json.dumps(WEIGHTS))), encoding="utf-8")
    settings = trainwright.PrepareSettings(
        label=LABEL, task="regression", test_source=str(folder / "train.csv"), validation_fraction=0.0
    )
    trainwright.prepare(folder / "train.csv", folder / "dataset", settings)
    return folder


@pytest.fixture(scope="module")
def examples(folder: Path) -> list[Any]:
    return list(trainwright.read_split(folder / "dataset", "test").as_numpy_iterator())


@pytest.fixture(scope="module")
def rows(folder: Path) -> list[Mapping[str, float]]:
    return rows_of_file(folder)


def rows_of_file(folder: Path) -> list[Mapping[str, float]]:
    from trainwright_components.datasets.schema import Schema

    return read_rows_file(str(folder / "rows.csv"), schema=Schema.load(folder / "dataset"))


@pytest.mark.parametrize("number", range(len(COLUMN_NAMES)), ids=COLUMN_NAMES.__getitem__)
def test_a_column_is_prepared_and_read_under_its_name(examples: list[Any], rows: list[Any], number: int) -> None:
    (features, label), name = examples[number], COLUMN_NAMES[number]
    assert features == rows[number] == row_of(name)
    assert label == number + 1


def _prepared(folder: Path) -> Answers:
    labels = [float(label) for _, label in trainwright.read_split(folder / "dataset", "test")]
    return dict(zip(COLUMN_NAMES, labels, strict=True))


def _trained(folder: Path) -> Answers:
    from trainwright_components.training.trained_model import TrainedModel

    trained = trainwright.train(
        folder / "dataset", folder / "sums.py", folder / "model", training={"epochs": 1, "batch_size": 8}
    )
    assert trained.steps > 0
    kernel, _ = TrainedModel.load(folder / "model").model.get_weights()
    return dict(zip(TrainedModel.load(folder / "model").schema.feature_names, kernel[:, 0].tolist(), strict=True))


def _evaluated(folder: Path) -> Answers:
    """All rows are answered without any error, so each is answered with its label."""
    evaluation = trainwright.evaluate(folder / "model", folder / "dataset")
    assert evaluation.metrics["rmse"] < 1e-5
    return _prepared(folder)


def _exported(folder: Path) -> Answers:
    import tensorflow as tf

    from trainwright_components.saved_models.loaded import LoadedModel

    golden, card = folder / "golden.jsonl", folder / "card.md"
    trainwright.export(folder / "model", folder / "dataset", folder / "saved_model", golden=golden, card=card)
    signature = LoadedModel.load(folder / "saved_model").signatures["serving_default"]
    columns = {name: tf.constant([row_of(each)[name] for each in COLUMN_NAMES]).numpy() for name in COLUMN_NAMES}
    return _by_name(signature.answer(columns)["predictions"].ravel().tolist())


def _quantized(folder: Path) -> Answers:
    import numpy as np
    from ai_edge_litert.interpreter import Interpreter

    settings = {"modes": ["float32"]}
    made = trainwright.quantize(folder / "saved_model", folder / "dataset", folder / "model.tflite", settings=settings)
    assert (made.takes_raw_features, set(made.input_names)) == (True, set(COLUMN_NAMES))
    runner = Interpreter(model_path=str(folder / "model.tflite")).get_signature_runner("serving_default")
    answers = []
    for each in COLUMN_NAMES:
        row = {made.input_names[name]: np.array([value], np.float32) for name, value in row_of(each).items()}
        answers.append(float(np.ravel(runner(**row)[made.output_name])[0]))
    return _by_name(answers)


def _served(folder: Path) -> Answers:
    """As curl asks, row by row and column by column."""
    deployed = trainwright.deploy(
        folder / "saved_model", folder / "golden.jsonl", model_name="sums", home=folder / "home"
    )
    by_row = _by_name(_asked(deployed.rest_url, {"instances": [row_of(name) for name in COLUMN_NAMES]})["predictions"])
    columns = {name: [row_of(each)[name] for each in COLUMN_NAMES] for name in COLUMN_NAMES}
    assert _by_name(_asked(deployed.rest_url, {"inputs": columns})["outputs"]) == by_row
    return by_row


def _asked(url: str, body: Mapping[str, Any]) -> Any:
    request = urllib.request.Request(f"{url}:predict", json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as response:
        return json.load(response)


def _predicted(folder: Path) -> Answers:
    return _by_name(trainwright.predict("sums", rows_of_file(folder), home=folder / "home"))


def _scored(folder: Path) -> Answers:
    scored = trainwright.batch_predict(folder / "saved_model", folder / "rows.csv", folder / "scored")
    return _by_name([json.loads(line)["prediction"] for line in scored.file.read_text().splitlines()])


def _by_name(answers: list[Any]) -> Answers:
    plain = [each[0] if isinstance(each, list) else each for each in answers]
    return dict(zip(COLUMN_NAMES, plain, strict=True))


STAGES: Mapping[str, Callable[[Path], Answers]] = {
    "prepare": _prepared,
    "train": _trained,
    "evaluate": _evaluated,
    "export": _exported,
    "tflite": _quantized,
    "serving": _served,
    "predict": _predicted,
    "batch": _scored,
}


@pytest.fixture(scope="module")
def answers(folder: Path) -> Iterator[Mapping[str, Answers]]:
    """The answer to the row of each name, at each stage; the stages in their order."""
    try:
        yield {stage: run(folder) for stage, run in STAGES.items()}
    finally:
        stop_server(folder / "home")


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("number", range(len(COLUMN_NAMES)), ids=COLUMN_NAMES.__getitem__)
def test_a_column_keeps_its_name_through_every_stage(answers: Mapping[str, Answers], number: int, stage: str) -> None:
    assert answers[stage][COLUMN_NAMES[number]] == pytest.approx(number + 1, rel=1e-5)
