"""Modules written for tf_keras train as tf_keras' own fit trains them, and go through the same components."""

import importlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainwright_components.datasets.reader import read_split
from trainwright_components.errors import InvalidModule, UserCodeError
from trainwright_components.evaluate.evaluate import evaluate_model
from trainwright_components.export_savedmodel.export import export_model
from trainwright_components.metrics.settings import EvaluationSettings
from trainwright_components.train_distributed.train import train_model
from trainwright_components.user_module.keras_process import call_beside_its_keras

NET = Path(__file__).parent / "modules" / "tf_keras_net.py"
KINDS = ["dense", "convolution", "dropout", "subclassed"]
TRAINING = {"epochs": 3, "batch_size": 10, "seed": 2, "shuffle": False}


@pytest.fixture(scope="module", autouse=True)
def _found_by_name() -> Any:
    """`tf_keras_fit` can be imported here and in fresh processes."""
    folder = str(Path(__file__).parent)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([folder, os.environ.get("PYTHONPATH", "")]))
        patch.syspath_prepend(folder)
        yield


@pytest.fixture(scope="module")
def compared(
    request: pytest.FixtureRequest, small_dataset: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """By kind: those that the tests of this run ask for, trained by us and by `fit` in one process of tf_keras."""
    ours = [item for item in request.session.items if item.path == Path(__file__)]
    kinds = KINDS if any(item.get_closest_marker("slow") for item in ours) else KINDS[:1]
    compare = importlib.import_module("tf_keras_fit").compare

    folder = tmp_path_factory.mktemp("tf_keras")
    found = call_beside_its_keras(NET, compare, NET, kinds, small_dataset, TRAINING, folder)
    return dict(zip(kinds, found, strict=True))


def difference(ours: list[Any], theirs: list[Any]) -> float:
    """The largest between two weights of the same place."""
    return max(float(np.abs(one - other).max()) for one, other in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("kind", [KINDS[0], *(pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS[1:])])
def test_weights_and_history_are_those_of_fit(kind: str, compared: dict[str, Any]) -> None:
    found = compared[kind]
    assert difference(found["ours"], found["theirs"]) < 1e-6
    for ours, theirs in zip(found["our_history"], found["their_history"], strict=True):
        assert set(ours) == set(theirs)
        assert ours == pytest.approx(theirs, abs=1e-5)


@pytest.mark.slow
def test_what_is_exported_answers_as_tf_keras_does(
    compared: dict[str, Any], small_dataset: Path, tmp_path: Path
) -> None:
    import tensorflow as tf

    files: dict[str, Any] = {"golden": tmp_path / "golden.jsonl", "card": tmp_path / "card.md"}
    exported = export_model(compared["subclassed"]["folder"], small_dataset, tmp_path / "exported", **files)
    assert exported.verified.largest_difference < 1e-6
    features, *_ = next(read_split(small_dataset, "validation").batch(1000).as_numpy_iterator())
    loaded = tf.saved_model.load(str(exported.folder))
    answers = loaded.signatures["serving_default"](a=tf.constant(features["a"]))["probabilities"].numpy()
    np.testing.assert_allclose(answers, compared["subclassed"]["answers"], atol=1e-6)


@pytest.mark.slow
def test_it_is_evaluated_on_every_row(compared: dict[str, Any], small_dataset: Path) -> None:
    settings = EvaluationSettings(split="validation")
    evaluation = evaluate_model(compared["subclassed"]["folder"], small_dataset, settings=settings)
    _, labels, weights = next(read_split(small_dataset, "validation").batch(1000).as_numpy_iterator())
    right = compared["subclassed"]["answers"].argmax(axis=1) == labels
    assert evaluation.scores.rows == len(labels)
    assert evaluation.metrics["keras_accuracy"] == pytest.approx(right.mean())
    assert evaluation.metrics["accuracy"] == pytest.approx(np.average(right, weights=weights), abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["dense", "convolution"])
def test_replicas_give_what_one_device_gives(
    kind: str, compared: dict[str, Any], small_dataset: Path, tmp_path: Path
) -> None:
    weights_of = importlib.import_module("tf_keras_fit").weights_of

    training = {**TRAINING, "strategy": "mirrored", "logical_devices": 2}
    result = train_model(small_dataset, NET, tmp_path / "model", params={"kind": kind}, training=training)
    assert (result.strategy, result.replicas) == ("mirrored", 2)
    weights = call_beside_its_keras(NET, weights_of, result.model_folder)
    assert difference(weights, compared[kind]["ours"]) < 1e-6
    for ours, theirs in zip(result.history, compared[kind]["our_history"], strict=True):
        assert ours == pytest.approx(theirs, abs=1e-5)


@pytest.mark.slow
def test_two_workers_give_what_one_process_gives(compared: dict[str, Any], small_dataset: Path, tmp_path: Path) -> None:
    weights_of = importlib.import_module("tf_keras_fit").weights_of

    options: dict[str, Any] = {"params": {"kind": "convolution"}, "training": TRAINING, "cluster": {"worker": 2}}
    result = train_model(small_dataset, NET, tmp_path / "model", **options)
    assert (result.strategy, result.replicas) == ("multi_worker_mirrored", 2)
    weights = call_beside_its_keras(NET, weights_of, result.model_folder)
    assert difference(weights, compared["convolution"]["ours"]) < 1e-6


def test_its_own_mistakes_are_told_with_the_users_lines(small_dataset: Path, tmp_path: Path) -> None:
    file = tmp_path / "mistaken.py"
    file.write_text("import tf_keras\n\ndef build_model(context):\n    return tf_keras.Wrong()\n")
    with pytest.raises(UserCodeError, match=r"Wrong.*mistaken\.py, line 4") as caught:
        train_model(small_dataset, file, tmp_path / "model")
    assert "return tf_keras.Wrong()" in caught.value.user_traceback


def test_models_of_both_kinds_in_one_module_are_refused(small_dataset: Path, tmp_path: Path) -> None:
    file = tmp_path / "both.py"
    file.write_text(
        "import keras\nimport tf_keras\n\n"
        "def build_model(context):\n    return keras.Sequential([keras.layers.Dense(3)])\n"
    )
    with pytest.raises(InvalidModule, match=r"must return a tf_keras\.Model, got keras.*; import one of keras and"):
        train_model(small_dataset, file, tmp_path / "model")
