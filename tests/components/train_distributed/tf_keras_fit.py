"""What tf_keras' own fit gives beside what we give; called in a process for tf_keras."""

from pathlib import Path
from typing import Any

from trainwright_components.datasets.reader import read_split
from trainwright_components.datasets.schema import Schema
from trainwright_components.datasets.statistics import Statistics
from trainwright_components.train_distributed.train import train_model
from trainwright_components.training.trained_model import TrainedModel
from trainwright_components.user_module.module import Context, load_module, resolve_params

Compared = dict[str, Any]


def compare(module: Path, kinds: list[str], dataset: Path, training: dict[str, Any], folder: Path) -> list[Compared]:
    """Weights and history of both for each kind of model, and the answers of ours on the validation split."""
    return [_compare(module, kind, dataset, training, folder / kind) for kind in kinds]


def _compare(module: Path, kind: str, dataset: Path, training: dict[str, Any], folder: Path) -> Compared:
    result = train_model(dataset, module, folder, params={"kind": kind}, training=training)
    weights, history = _fit(module, kind, dataset, training)
    return {
        "folder": folder,
        "ours": weights_of(folder),
        "theirs": weights,
        "our_history": result.history,
        "their_history": [dict(zip(history, values, strict=True)) for values in zip(*history.values(), strict=True)],
        "answers": TrainedModel.load(folder).model.predict(_rows(dataset, "validation")[0], verbose=0),
    }


def weights_of(folder: Path) -> list[Any]:
    """Of a trained model."""
    weights: list[Any] = TrainedModel.load(folder).model.get_weights()
    return weights


def _fit(module: Path, kind: str, dataset: Path, training: dict[str, Any]) -> tuple[list[Any], dict[str, list[float]]]:
    """On the rows in stored order."""
    import tf_keras

    loaded = load_module(module)
    tf_keras.backend.experimental.enable_tf_random_generator()
    tf_keras.utils.set_random_seed(training["seed"])
    context = Context(
        params=resolve_params(loaded, {"kind": kind}),
        schema=Schema.load(dataset),
        statistics=Statistics.load(dataset),
        dataset=dataset,
    )
    model = loaded.build_model(context)
    features, label, weight = _rows(dataset, "train")
    history = model.fit(
        features,
        label,
        sample_weight=weight,
        batch_size=training["batch_size"],
        epochs=training["epochs"],
        validation_data=_rows(dataset, "validation"),
        shuffle=False,
        verbose=0,
    )
    return model.get_weights(), history.history


def _rows(dataset: Path, split: str) -> Any:
    return next(read_split(dataset, split).batch(1000).as_numpy_iterator())
