"""Our loop gives what Keras' own fit gives on one device: weights, history, metrics, for models of many kinds.

On several replicas it gives the same: two logical devices of one process, and two processes.
"""

import csv
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from trainwright_components.datasets.reader import read_split
from trainwright_components.datasets.schema import Schema
from trainwright_components.datasets.statistics import Statistics
from trainwright_components.errors import InvalidModule
from trainwright_components.processes.warm_parent import WarmParent
from trainwright_components.train_distributed.train import train_model
from trainwright_components.training.configuration.settings import TrainingSettings
from trainwright_components.training.drivers.feed import Passes
from trainwright_components.training.result import TrainingResult
from trainwright_components.training.run import run_training
from trainwright_components.training.trained_model import TrainedModel
from trainwright_components.user_module.module import Context, ModelModule, load_module, resolve_params

MODULES = Path(__file__).parent / "modules"
ZOO, SEVERAL, WATCHED, LOOKUPS = (MODULES / f"{name}.py" for name in ("zoo", "several", "watched", "lookups"))
SETTINGS = TrainingSettings(epochs=3, batch_size=10, shuffle=False, seed=4)

Fitted = tuple[list[Any], list[dict[str, float]]]


def fit(
    module: ModelModule, params: dict[str, Any], dataset: Path, *, of_class: tuple[float, ...] = (1.0, 1.0, 1.0)
) -> Fitted:
    """Weights and history of plain fit on the rows in stored order; fit takes no class weights beside those of rows."""
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
        sample_weight=weight * np.array(of_class)[y] if of_class != (1.0, 1.0, 1.0) else weight,
        batch_size=SETTINGS.batch_size,
        shuffle=False,
        validation_data=arrays("validation"),
        epochs=SETTINGS.epochs,
        callbacks=module.callbacks(context) if module.callbacks is not None else [],
        verbose=0,
    ).history
    epochs = [dict(zip(history, values, strict=True)) for values in zip(*history.values(), strict=True)]
    return model.get_weights(), epochs


@pytest.fixture(scope="session")
def fitted(tiny_dataset: Path) -> Callable[[str], Fitted]:
    """What fit gives for a kind of model; each kind is fitted once."""
    known: dict[str, Fitted] = {}

    def of(kind: str) -> Fitted:
        if kind not in known:
            module, params = module_of(kind)
            known[kind] = fit(load_module(module), params, tiny_dataset)
        return known[kind]

    return of


def module_of(kind: str) -> tuple[Path, dict[str, Any]]:
    if "/" in kind:
        model, optimizer = kind.split("/")
        return LOOKUPS, {"model": model, "optimizer": optimizer}
    return (SEVERAL, {}) if kind == "several" else (ZOO, {"kind": kind})


def assert_like(result: TrainingResult, fitted: Fitted, *, atol: float = 1e-6) -> None:
    weights, history = fitted
    ours = TrainedModel.load(result.model_folder).model.get_weights()
    assert max(float(np.abs(one - other).max()) for one, other in zip(ours, weights, strict=True)) < atol
    assert len(result.history) == len(history)
    for one, other in zip(result.history, history, strict=True):
        assert one == pytest.approx(other, abs=1e-5)


MODELS = "dense batch_norm convolution counters recurrent attention subclassed several"
STEPS = "own_step guide only_loss own_loss adds_loss two_optimizers eager several_steps xla"
LOSSES = "masked constrained measured scalars sum mean_of_weights unreduced by_rows scalar_loss"
OPTIMIZERS = "accumulation clipvalue global_clipnorm ema ema_overwrite weight_decay loss_scale loss_scale_factor"
NUMBERS = "bfloat16 float16"
KINDS = f"{MODELS} {STEPS} {LOSSES} {OPTIMIZERS} {NUMBERS}"


def kinds(often: str, *, of: str = KINDS, without: str = "") -> Any:
    """Kinds of models, those that are not tried `often` marked as slow."""
    chosen = [kind for kind in of.split() if kind not in without.split()]
    marks = {kind: () if kind in often.split() else (pytest.mark.slow,) for kind in chosen}
    return pytest.mark.parametrize("kind", [pytest.param(kind, marks=marks[kind]) for kind in chosen])


@kinds("dense batch_norm recurrent attention several own_step guide several_steps")
def test_on_one_device(kind: str, fitted: Callable[[str], Fitted], tiny_dataset: Path, tmp_path: Path) -> None:
    module, params = module_of(kind)
    result = run_training(load_module(module), tiny_dataset, tmp_path / "model", params=params, settings=SETTINGS)
    assert_like(result, fitted(kind))


# On replicas the same holds, except for Dropout, which draws for the rows of one replica, and for BatchNorm that is not
# synchronized, which sees the rows of one, and for a loss that is one number, which takes the mean weight of its rows.
@kinds(
    "guide only_loss own_loss counters accumulation",
    without="batch_norm scalar_loss subclassed clipvalue global_clipnorm",
)
@pytest.mark.usefixtures("warm_parent")
def test_on_two_logical_devices(kind: str, fitted: Callable[[str], Fitted], tiny_dataset: Path, tmp_path: Path) -> None:
    assert_like_on(kind, {"chief": 1}, {"logical_devices": 2}, fitted, tiny_dataset, tmp_path)


@kinds(
    "guide",
    of=f"{MODELS} {STEPS} masked accumulation loss_scale",
    without="batch_norm subclassed xla",
)
@pytest.mark.usefixtures("warm_parent")
def test_on_two_workers(kind: str, fitted: Callable[[str], Fitted], tiny_dataset: Path, tmp_path: Path) -> None:
    assert_like_on(kind, {"worker": 2}, {}, fitted, tiny_dataset, tmp_path)


@kinds("", of="guide only_loss own_step measured counters scalars unreduced")
@pytest.mark.usefixtures("warm_parent")
def test_with_parameter_servers(kind: str, fitted: Callable[[str], Fitted], tiny_dataset: Path, tmp_path: Path) -> None:
    module, params = module_of(kind)
    training = {"epochs": 3, "batch_size": 10, "shuffle": False, "seed": 4, "steps_per_call": 6}
    cluster = {"worker": 1, "ps": 1}
    result = train_model(tiny_dataset, module, tmp_path / "model", params=params, training=training, cluster=cluster)
    assert_like(result, fitted(kind))


def assert_like_on(
    kind: str,
    cluster: dict[str, int],
    options: dict[str, Any],
    fitted: Callable[[str], Fitted],
    dataset: Path,
    folder: Path,
) -> None:
    module, params = module_of(kind)
    training = {"epochs": 3, "batch_size": 10, "shuffle": False, "seed": 4, **options}
    result = train_model(dataset, module, folder / "model", params=params, training=training, cluster=cluster)
    assert result.replicas == 2
    halves = kind in NUMBERS.split()  # sums of numbers with 8 or 11 bits depend on their order
    if not halves:
        assert_like(result, fitted(kind))
        return
    for one, other in zip(result.history, fitted(kind)[1], strict=True):
        assert one == pytest.approx(other, abs=0.05)


Cluster = tuple[dict[str, int], dict[str, Any]]
MIRRORED: Cluster = ({"chief": 1}, {"strategy": "mirrored", "logical_devices": 2})
WORKERS: Cluster = ({"worker": 2}, {})
CENTRAL = ({"chief": 1}, {"strategy": "central_storage", "logical_devices": 2})
ADAM = "every/adam varying/adam repeated/adam masked/adam words/adam tied/adam eager/adam"
ADAPTING = "amsgrad rmsprop adagrad adam_clipnorm clipnorm global_clipnorm clipvalue ftrl lion ema accumulation"


@kinds(
    "every/adam",
    of=f"{ADAM} own_step/rmsprop {' '.join(f'every/{one}' for one in ADAPTING.split())}",
)
@pytest.mark.usefixtures("warm_parent")
def test_look_ups_on_two_logical_devices(
    kind: str, fitted: Callable[[str], Fitted], tiny_dataset: Path, tmp_path: Path
) -> None:
    """With two logical devices, calls of six steps and a last batch of three rows."""
    cluster, options = MIRRORED
    assert_like_on(kind, cluster, {**options, "steps_per_call": 6}, fitted, tiny_dataset, tmp_path)


@kinds("every/adam", of="every/adam every/global_clipnorm varying/adagrad masked/rmsprop")
@pytest.mark.usefixtures("warm_parent")
def test_look_ups_on_two_workers(
    kind: str, fitted: Callable[[str], Fitted], tiny_dataset: Path, tmp_path: Path
) -> None:
    assert_like_on(kind, *WORKERS, fitted, tiny_dataset, tmp_path)


@kinds("", of="every/adam varying/adam every/clipnorm")
@pytest.mark.usefixtures("warm_parent")
def test_look_ups_under_central_storage(
    kind: str, fitted: Callable[[str], Fitted], tiny_dataset: Path, tmp_path: Path
) -> None:
    assert_like_on(kind, *CENTRAL, fitted, tiny_dataset, tmp_path)


@pytest.mark.parametrize(
    ("model", "options", "reason"),
    [
        ("largest", {}, "each of them looks up other rows"),
        pytest.param("random", {}, "each of them looks up other rows", marks=pytest.mark.slow),
        pytest.param("mixed_eagerly", {}, "run_eagerly leaves no .*; leave it out", marks=pytest.mark.slow),
        pytest.param("unique", {}, "how many rows are looked up depends on the batch", marks=pytest.mark.slow),
    ],
)
@pytest.mark.usefixtures("warm_parent")
def test_look_ups_that_replicas_cannot_make_equal_are_refused(
    model: str, options: dict[str, Any], reason: str, tiny_dataset: Path, tmp_path: Path
) -> None:
    cluster, strategy = MIRRORED
    training = {"epochs": 1, "batch_size": 10, **strategy, **options}
    with pytest.raises(
        InvalidModule, match=rf"^several replicas .* of shape \(14, 4\), .*: {reason}; train it on one device"
    ):
        train_model(
            tiny_dataset, LOOKUPS, tmp_path / "model", params={"model": model}, training=training, cluster=cluster
        )


@pytest.mark.parametrize(
    ("full", "steps", "alike"), [(3, 4, [3, 2, 1, 1, 3, 2]), (0, 1, [1, 1]), (5, 5, [sys.maxsize] * 6)]
)
def test_a_call_of_gathered_look_ups_ends_before_the_batch_that_is_not_full(
    full: int, steps: int, alike: list[int]
) -> None:
    passes = Passes(full=full, steps=steps)
    assert [passes.alike(step) for step in range(len(alike))] == alike


def test_class_weights_are_those_of_fit(tiny_dataset: Path, tmp_path: Path) -> None:
    module, params = load_module(ZOO), {"kind": "subclassed"}
    settings = TrainingSettings(epochs=3, batch_size=10, shuffle=False, seed=4, class_weights={"x": 2.0, "z": 0.25})
    result = run_training(module, tiny_dataset, tmp_path / "model", params=params, settings=settings)
    assert_like(result, fit(module, params, tiny_dataset, of_class=(2.0, 1.0, 0.25)))


def test_callbacks_of_keras_do_what_they_do_in_fit(tiny_dataset: Path, tmp_path: Path) -> None:
    """Rates, patience, EMA weights in validation, best weights, files: in one training that stops early."""
    module = load_module(WATCHED)
    reference = fit(module, {"folder": str(tmp_path / "fit")}, tiny_dataset)
    result = run_training(
        module, tiny_dataset, tmp_path / "model", params={"folder": str(tmp_path / "ours")}, settings=SETTINGS
    )
    assert_like(result, reference)
    assert "learning_rate" in result.history[0]

    def table(folder: str) -> list[list[float]]:
        with (tmp_path / folder / "log.csv").open() as file:
            header, *rows = csv.reader(file)
            return [[float(value) for _, value in sorted(zip(header, row, strict=True))] for row in rows]

    np.testing.assert_allclose(table("ours"), table("fit"), atol=1e-5)
    assert (tmp_path / "ours" / "batches.txt").read_text() == (tmp_path / "fit" / "batches.txt").read_text()
    assert (tmp_path / "ours" / "best.weights.h5").is_file()
    assert list((tmp_path / "ours" / "tensorboard").glob("*/events.*"))


@pytest.mark.parametrize(
    ("cluster", "options"),
    [
        pytest.param({}, {}, id="one_device"),
        pytest.param({"chief": 1}, {"logical_devices": 3}, id="three_logical_devices"),
        pytest.param({"worker": 2}, {}, id="two_workers"),
        pytest.param({"worker": 2}, {"drop_remainder": True}, id="without_remainder", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("batch_size", [26, pytest.param(10, marks=pytest.mark.slow)])
def test_each_example_is_seen_once_in_each_epoch(
    cluster: dict[str, int],
    options: dict[str, Any],
    batch_size: int,
    tiny_dataset: Path,
    tmp_path: Path,
    warm_parent: WarmParent,
) -> None:
    """53 rows in batches of 26 leave one row for all replicas, in batches of 10 three."""
    training = {"epochs": 2, "batch_size": batch_size, **options}
    module = MODULES / "counting.py"
    result = train_model(tiny_dataset, module, tmp_path / "model", training=training, cluster=cluster)
    seen = 53 // batch_size * batch_size if options.get("drop_remainder") else 53
    expected = {"least": float(seen == 53), "most": 1.0, "all": float(seen), "val_all": 21.0}
    for epoch in result.history:
        assert {name: epoch[name] for name in expected} == expected
