"""On one device our loop gives what Keras' own fit gives: weights, history, metrics, for models of many kinds."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from trainwright_components.datasets.reader import read_split
from trainwright_components.datasets.schema import Schema
from trainwright_components.datasets.statistics import Statistics
from trainwright_components.model_module import Context, ModelModule, load_module, resolve_params
from trainwright_components.training.run import run_training
from trainwright_components.training.settings import TrainingSettings
from trainwright_components.training.trained_model import TrainedModel

MODULES = Path(__file__).parent / "modules"
SETTINGS = TrainingSettings(epochs=3, batch_size=10, shuffle=False, seed=4)


def fit(module: ModelModule, params: dict[str, str], dataset: Path) -> tuple[list[Any], list[dict[str, float]]]:
    """Weights and history of plain fit on the rows in stored order."""
    context = Context(
        params=resolve_params(module, params),
        schema=Schema.load(dataset),
        statistics=Statistics.load(dataset),
        dataset=dataset,
    )
    keras.utils.set_random_seed(SETTINGS.seed)
    model = module.build_model(context)

    def arrays(split: str) -> tuple[Any, Any, Any]:
        rows = module.make_dataset(split, context) if module.make_dataset else read_split(dataset, split)
        ((features, label, weight),) = rows.batch(1000).as_numpy_iterator()
        x = {name: np.asarray(value) for name, value in module.preprocess(features, context).items()}
        return x, label, weight

    x, y, weight = arrays("train")
    history = model.fit(
        x,
        y,
        sample_weight=weight,
        batch_size=SETTINGS.batch_size,
        shuffle=False,
        validation_data=arrays("validation"),
        epochs=SETTINGS.epochs,
        verbose=0,
    ).history
    epochs = [dict(zip(history, values, strict=True)) for values in zip(*history.values(), strict=True)]
    return model.get_weights(), epochs


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("zoo", "dense"),
        ("zoo", "batch_norm"),
        ("zoo", "recurrent"),
        ("zoo", "own_step"),
        ("zoo", "eager"),
        ("zoo", "several_steps"),
        ("several", ""),
    ],
)
def test_weights_and_history_are_those_of_fit(name: str, kind: str, tiny_dataset: Path, tmp_path: Path) -> None:
    module = load_module(MODULES / f"{name}.py")
    params = {"kind": kind} if kind else {}
    weights, history = fit(module, params, tiny_dataset)
    result = run_training(module, tiny_dataset, tmp_path / "model", params=params, settings=SETTINGS)
    ours = TrainedModel.load(result.model_folder).model.get_weights()
    assert max(float(np.abs(one - other).max()) for one, other in zip(ours, weights, strict=True)) < 1e-6
    assert len(result.history) == len(history) == SETTINGS.epochs
    for one, other in zip(result.history, history, strict=True):
        assert set(one) == set(other)
        assert [one[name] for name in one] == pytest.approx([other[name] for name in one], abs=1e-5)
