"""A training run of one process: it continues at the exact step, ends clearly, and honours what the module brings."""

import json
import re
import shutil
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainwright_components.errors import InvalidData, InvalidModule, InvalidSetting, TrainingFailed, UserCodeError
from trainwright_components.training.configuration.settings import TrainingSettings
from trainwright_components.training.contexts import make_context
from trainwright_components.training.recovery import countdown
from trainwright_components.training.recovery.checkpoints import checkpoint_files, read_checkpoint
from trainwright_components.training.recovery.fingerprint import (
    _DECIDES_STEPS,
    _DECIDES_WHAT_IS_KEPT,
    _NO_EFFECT_ON_WEIGHTS,
    Identity,
)
from trainwright_components.training.result import TrainingResult
from trainwright_components.training.run import run_training
from trainwright_components.training.task_context import TaskContext
from trainwright_components.training.trained_model import TrainedModel
from trainwright_components.user_module.module import load_module

MODULE = """
import keras

DEFAULT_PARAMS = {"rate": 0.01, "dropout": 0.3}

def preprocess(features, context):
    return {"a": features["a"]}

def build_model(context):
    a = keras.Input((6,), name="a")
    x = keras.layers.Dropout(context.params["dropout"])(keras.layers.Dense(8, activation="relu")(a))
    model = keras.Model({"a": a}, keras.layers.Dense(3, activation="softmax")(x))
    optimizer = keras.optimizers.Adam(context.params["rate"])
    model.compile(optimizer, loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model
"""
FAST = TrainingSettings(epochs=3, batch_size=10, seed=1, checkpoint_every_s=3600)  # none comes with the time of day

Write = Callable[[str], Path]


def weights_of(result: TrainingResult) -> list[Any]:
    weights: list[Any] = TrainedModel.load(result.model_folder).model.get_weights()
    return weights


def test_a_training_cut_off_goes_on_at_the_exact_step(write_module: Write, tiny_dataset: Path, tmp_path: Path) -> None:
    """Dropout, shuffling, Adam, the metrics of the epoch and a callback's patience go on as if nothing had been."""
    text = (
        MODULE
        + """
from pathlib import Path

class CutOff(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        marker = Path(__file__).with_name("cut")
        if int(self.model.optimizer.iterations) == 9 and marker.exists():
            marker.unlink()
            raise KeyboardInterrupt

def callbacks(context):
    return [CutOff(), keras.callbacks.ReduceLROnPlateau("loss", factor=0.5, patience=1, min_delta=10.0)]
"""
    )
    module = load_module(write_module(text))
    settings = TrainingSettings(
        epochs=4, batch_size=10, seed=1, checkpoint_every_steps=4, early_stopping_patience=9, deterministic=True
    )
    uninterrupted = run_training(module, tiny_dataset, tmp_path / "one", settings=settings)
    (module.location.parent / "cut").touch()
    with pytest.raises(KeyboardInterrupt):
        run_training(module, tiny_dataset, tmp_path / "two", settings=settings)
    resumed = run_training(module, tiny_dataset, tmp_path / "two", settings=settings)
    assert (resumed.resumed_at, resumed.steps, uninterrupted.steps) == (8, 24, 24)
    assert resumed.history == uninterrupted.history
    for one, other in zip(weights_of(resumed), weights_of(uninterrupted), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_training_cut_off_goes_back_to_weights_that_a_callback_kept(
    write_module: Write, tiny_dataset: Path, tmp_path: Path
) -> None:
    text = """
from pathlib import Path

import keras
from trainwright import LinearFirst, LinearFirstSchedule

def preprocess(features, context):
    return {"a": features["a"]}

def build_model(context):
    stages = LinearFirst(columns=6, rows=53)
    a = keras.Input((6,), name="a")
    hidden = keras.layers.Dense(4, activation="relu", kernel_regularizer=stages.network_l2(0.1))(a)
    linear = keras.layers.Dense(3, kernel_initializer="zeros", kernel_regularizer=stages.linear_l2(0.1))(a)
    total = stages(linear, keras.layers.Dense(3, kernel_initializer="zeros")(hidden))
    model = keras.Model({"a": a}, keras.layers.Softmax()(total))
    model.compile(keras.optimizers.Adam(2.0), "sparse_categorical_crossentropy")
    return model

class CutOff(keras.callbacks.Callback):
    def __init__(self, schedule):
        super().__init__()
        self.schedule = schedule

    def on_epoch_begin(self, epoch, logs=None):
        marker = Path(__file__).with_name("cut")
        if self.schedule._waited == 1 and marker.exists():  # the next one goes back to the best weights
            marker.unlink()
            raise KeyboardInterrupt

def callbacks(context):
    schedule = LinearFirstSchedule(monitor="val_loss", mode="min", patience=2, learning_rate=2.0)
    return [schedule, CutOff(schedule)]
"""
    module = load_module(write_module(text))
    settings = TrainingSettings(epochs=30, batch_size=30, seed=1, checkpoint_every_steps=1, deterministic=True)
    uninterrupted = run_training(module, tiny_dataset, tmp_path / "one", settings=settings)
    (module.location.parent / "cut").touch()
    with pytest.raises(KeyboardInterrupt):
        run_training(module, tiny_dataset, tmp_path / "two", settings=settings)
    resumed = run_training(module, tiny_dataset, tmp_path / "two", settings=settings)
    assert 0 < resumed.resumed_at < resumed.steps
    assert resumed.history == uninterrupted.history
    for one, other in zip(weights_of(resumed), weights_of(uninterrupted), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_signal_to_end_that_comes_before_the_first_step_is_not_lost(
    write_module: Write, tiny_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(countdown, "GRACE_S", 120)  # it would end this process where the first step is slow
    text = MODULE.replace("    model.compile(", "    os.kill(os.getpid(), signal.SIGTERM)\n    model.compile(").replace(
        "import keras", "import os\nimport signal\nimport keras", 1
    )
    with pytest.raises(SystemExit) as ended:
        run_training(load_module(write_module(text)), tiny_dataset, tmp_path / "model", settings=FAST)
    assert ended.value.code == 143
    assert [path.name for path in (tmp_path / "model" / "checkpoints").iterdir()] == ["step-0000000001.npz"]


def test_a_training_that_ended_starts_anew(write_module: Write, tiny_dataset: Path, tmp_path: Path) -> None:
    module = load_module(write_module(MODULE))
    first = run_training(module, tiny_dataset, tmp_path / "model", settings=FAST)
    again = run_training(module, tiny_dataset, tmp_path / "model", settings=FAST)
    assert (again.resumed_at, again.history) == (0, first.history)


def test_a_training_that_ended_keeps_its_checkpoints_until_the_next_has_saved_one(
    write_module: Write, tiny_dataset: Path, tmp_path: Path
) -> None:
    module, model = load_module(write_module(MODULE)), tmp_path / "model"
    run_training(module, tiny_dataset, model, settings=FAST)
    (model / "evaluator").mkdir()
    (model / "evaluator" / "best.npz").touch()

    def cut_off(epoch: int, metrics: Mapping[str, float]) -> bool:
        raise KeyboardInterrupt

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            run_training(module, tiny_dataset, model, settings=FAST, on_epoch_end=cut_off)
        kept = [path.relative_to(model).as_posix() for path in model.rglob("*.npz")]
        assert sorted(kept) == ["previous/checkpoints/step-0000000018.npz", "previous/evaluator/best.npz"]
    again = run_training(module, tiny_dataset, model, settings=FAST)
    assert again.resumed_at == 0
    kept = [path.relative_to(model).as_posix() for path in model.rglob("*.npz")]
    assert kept == ["checkpoints/step-0000000018.npz"]
    assert not (model / "previous").exists()


CHANGES: list[dict[str, Any]] = [
    {"checkpoint_every_s": 60.0, "checkpoint_every_steps": 5, "progress_every_s": 1.0, "keep_checkpoints": 1},
    {"epochs": 4, "early_stopping_patience": 7, "steps_per_call": 2},
    {"strategy": "one_device", "jit_compile": False, "on_nan": "roll_back"},
]


@pytest.mark.parametrize("change", CHANGES)
def test_settings_without_effect_on_weights_do_not_start_anew(
    write_module: Write, tiny_dataset: Path, tmp_path: Path, change: dict[str, Any]
) -> None:
    module = load_module(write_module(MODULE))
    settings = replace(FAST, early_stopping_patience=9, checkpoint_every_steps=4)

    def cut_off(epoch: int, metrics: Mapping[str, float]) -> bool:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_training(module, tiny_dataset, tmp_path / "model", settings=settings, on_epoch_end=cut_off)
    changed = replace(settings, **change)
    assert run_training(module, tiny_dataset, tmp_path / "model", settings=changed).resumed_at == 4


def test_every_setting_is_known_to_decide_weights_or_not() -> None:
    sides = [*_DECIDES_STEPS, *_DECIDES_WHAT_IS_KEPT, *_NO_EFFECT_ON_WEIGHTS]
    assert sorted(sides) == sorted(field.name for field in fields(TrainingSettings))


@pytest.mark.parametrize(
    ("change", "is_same"),
    [
        ({"checkpoint_every_s": 60.0}, True),
        ({"monitor": "loss", "restore_best_weights": False}, True),
        ({"early_stopping_patience": 3}, False),
        ({"seed": 2}, False),
        ({"class_weights": {"x": 2.0}}, False),
    ],
)
def test_a_fingerprint_holds_what_decides_weights(
    write_module: Write, tiny_dataset: Path, change: dict[str, Any], is_same: bool
) -> None:
    """What early stopping looks at counts only where it stops."""
    module = load_module(write_module(MODULE))
    context = make_context(module, tiny_dataset, {}, FAST)
    one, other = (Identity.of(module, context, settings) for settings in (FAST, replace(FAST, **change)))
    assert (one.key == other.key) is is_same


@pytest.mark.parametrize("patience", [None, 1])
def test_a_checkpoint_at_the_end_of_an_epoch_is_written_once_and_holds_that_end(
    write_module: Write, tiny_dataset: Path, tmp_path: Path, patience: int | None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    settings = replace(FAST, checkpoint_every_steps=6, keep_checkpoints=9, early_stopping_patience=patience)
    module, params = load_module(write_module(MODULE)), {"rate": 0.0} if patience else {}
    result = run_training(module, tiny_dataset, tmp_path / "model", params=params, settings=settings)
    steps = [6, 12] if patience else [6, 12, 18]
    assert [one.step for one in result.timeline.checkpoints] == steps
    for number, path in enumerate(reversed(checkpoint_files(tmp_path / "model" / "checkpoints")), start=1):
        position = read_checkpoint(path.read_bytes()).progress["position"]
        assert (position["epoch"], position["step_in_epoch"]) == (number, 0)
        assert position["history"] == result.history[:number]
    assert any(message.startswith("strategy one_device, 1 replica: ") for message in caplog.messages)


def test_a_training_that_is_cut_off_after_an_epoch_goes_on_with_the_next(
    write_module: Write, tiny_dataset: Path, tmp_path: Path
) -> None:
    module = load_module(write_module(MODULE))
    settings = replace(FAST, checkpoint_every_steps=6, deterministic=True, early_stopping_patience=9)
    uninterrupted = run_training(module, tiny_dataset, tmp_path / "one", settings=settings)

    def cut_off(epoch: int, metrics: Mapping[str, float]) -> bool:
        if epoch == 2:
            raise KeyboardInterrupt
        return False

    with pytest.raises(KeyboardInterrupt):
        run_training(module, tiny_dataset, tmp_path / "two", settings=settings, on_epoch_end=cut_off)
    resumed = run_training(module, tiny_dataset, tmp_path / "two", settings=settings)
    assert (resumed.resumed_at, resumed.history) == (6, uninterrupted.history)
    for one, other in zip(weights_of(resumed), weights_of(uninterrupted), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_folder_holds_all_that_is_needed_to_use_the_model(
    write_module: Write, tiny_dataset: Path, tmp_path: Path
) -> None:
    module = load_module(write_module(MODULE))
    run_training(
        module, tiny_dataset, tmp_path / "model", params={"dropout": 0}, settings=FAST, log_dir=tmp_path / "tb"
    )
    names = {path.name for path in (tmp_path / "model").iterdir()}
    assert names == {
        "model.keras", "module", "params.json", "schema.json", "statistics.json", "training.json", "checkpoints"
    }  # fmt: skip
    trained = TrainedModel.load(tmp_path / "model")
    assert dict(trained.context.params) == {"rate": 0.01, "dropout": 0.0}
    inputs = trained.module.preprocess({"a": np.zeros((2, 6), "float32")}, trained.context)
    assert trained.model(inputs).shape == (2, 3)
    record = json.loads((tmp_path / "model" / "training.json").read_text())
    assert (record["steps"], len(record["history"]), record["strategy"]) == (18, 3, "one_device")
    assert sorted(path.name for path in (tmp_path / "tb").iterdir()) == ["train", "validation"]


def test_early_stopping_keeps_the_best_weights(write_module: Write, tiny_dataset: Path, tmp_path: Path) -> None:
    settings = TrainingSettings(epochs=30, batch_size=10, early_stopping_patience=2, monitor="val_loss")
    module = load_module(write_module(MODULE))
    result = run_training(module, tiny_dataset, tmp_path / "model", params={"rate": 0.3}, settings=settings)
    losses = [epoch["val_loss"] for epoch in result.history]
    assert len(losses) == losses.index(min(losses)) + 3 < 30
    assert result.metrics["val_loss"] == min(losses)
    assert "val_loss is not better since epoch" in result.stop_reason


def test_the_caller_sees_each_epoch_and_can_stop(write_module: Write, tiny_dataset: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, set[str]]] = []

    def watch(epoch: int, metrics: Mapping[str, float]) -> bool:
        seen.append((epoch, set(metrics)))
        return epoch == 2

    module = load_module(write_module(MODULE))
    result = run_training(module, tiny_dataset, tmp_path / "model", settings=FAST, on_epoch_end=watch)
    assert seen == [(epoch, {"loss", "accuracy", "val_loss", "val_accuracy"}) for epoch in (1, 2)]
    assert (len(result.history), result.stop_reason) == (2, "the caller asked for it")


def test_a_loss_that_is_no_number_ends_the_training(write_module: Write, tiny_dataset: Path, tmp_path: Path) -> None:
    module = load_module(
        write_module(MODULE.replace('"sparse_categorical_crossentropy"', "lambda y, p: p[:, 0] * 0 / 0"))
    )
    with pytest.raises(TrainingFailed, match=r"the loss became nan in epoch 1, step 1, at learning rate 0\.01"):
        run_training(module, tiny_dataset, tmp_path / "model", settings=FAST)
    assert not (tmp_path / "model" / "model.keras").exists()


def test_an_exception_in_a_layer_while_training_keeps_the_users_line(
    write_module: Write, tiny_dataset: Path, tmp_path: Path
) -> None:
    bad = (
        "class Bad(keras.layers.Layer):\n    def call(self, x, training=None):\n        if training:\n"
        '            raise RuntimeError("only when training")\n        return x\n'
    )
    text = MODULE.replace("DEFAULT", bad + "\nDEFAULT", 1)
    text = text.replace('"softmax")(x)', '"softmax")(Bad()(x))')
    with pytest.raises(
        UserCodeError, match=r"training of net\.py failed: RuntimeError: .*\(net\.py, line \d+\)"
    ) as caught:
        run_training(load_module(write_module(text)), tiny_dataset, tmp_path / "model", settings=FAST)
    assert 'raise RuntimeError("only when training")' in caught.value.user_traceback
    assert "synchronous.py" not in caught.value.user_traceback


def test_an_exception_in_a_callback_keeps_the_users_line(
    write_module: Write, tiny_dataset: Path, tmp_path: Path
) -> None:
    text = MODULE + (
        "\nclass Bad(keras.callbacks.Callback):\n    def on_epoch_end(self, epoch, logs=None):\n"
        "        return logs['f1']\n\ndef callbacks(context): return [Bad()]\n"
    )
    with pytest.raises(UserCodeError, match=r"KeyError: 'f1'") as caught:
        run_training(load_module(write_module(text)), tiny_dataset, tmp_path / "model", settings=FAST)
    assert "return logs['f1']" in caught.value.user_traceback


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (
            "tf.constant(features['a'].numpy())",
            r"preprocess of net\.py failed: AttributeError: .* \(net\.py, line 10\)",
        ),
        ("check(features['a'])", r"^wrong on purpose$"),
    ],
)
def test_an_exception_in_preprocess_within_a_graph_is_the_users_own(
    write_module: Write, tiny_dataset: Path, tmp_path: Path, body: str, error: str
) -> None:
    text = MODULE.replace('features["a"]}', body + "}").replace(
        "DEFAULT",
        "import tensorflow as tf\nfrom trainwright_components.errors import UserCodeError\n\nDEFAULT",
    )
    text += "\ndef check(a):\n    if not tf.executing_eagerly():\n        raise UserCodeError('wrong on purpose')\n"
    text += "    return a\n"
    with pytest.raises(UserCodeError, match=error):
        run_training(load_module(write_module(text)), tiny_dataset, tmp_path / "model", settings=FAST)


def test_conditions_on_tensors_in_preprocess_work(write_module: Write, tiny_dataset: Path, tmp_path: Path) -> None:
    text = MODULE.replace(
        '    return {"a": features["a"]}',
        '    a = features["a"]\n    if keras.ops.sum(a) > 0:\n        a = a * 2\n    return {"a": a}',
    )
    assert run_training(load_module(write_module(text)), tiny_dataset, tmp_path / "model", settings=FAST).steps == 18


def test_an_operation_that_fails_while_running_is_told_without_the_graph(
    write_module: Write, tiny_dataset: Path, tmp_path: Path
) -> None:
    text = MODULE.replace('features["a"]}', "tf.ensure_shape(features['a'], (2, 6))}").replace(
        "DEFAULT", "import tensorflow as tf\n\nDEFAULT"
    )
    with pytest.raises(TrainingFailed) as caught:
        run_training(load_module(write_module(text)), tiny_dataset, tmp_path / "model", settings=FAST)
    said = "Shape of tensor args_0 [10,6] is not compatible with expected shape [2,6]."
    assert str(caught.value) == f"an operation of the model or of preprocess failed: in preprocess: {said}"


@pytest.mark.parametrize("is_streamed", [False, True])
def test_a_damaged_shard_is_named(
    write_module: Write, tiny_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_streamed: bool
) -> None:
    """Streamed, the second shard is cut while the first epoch is under way."""
    dataset = tmp_path / "dataset"
    shutil.copytree(tiny_dataset, dataset)
    shard = sorted((dataset / "train").iterdir())[1]
    text = MODULE
    if is_streamed:
        monkeypatch.setattr("trainwright_components.training.data.splits.MEMORY_LIMIT_BYTES", 0)
        text += (
            "\nfrom pathlib import Path\nclass Cut(keras.callbacks.Callback):\n"
            "    def on_train_batch_end(self, batch, logs=None):\n"
            f"        file = Path({str(shard)!r})\n"
            "        if batch == 1: file.write_bytes(file.read_bytes()[:-9])\n"
            "def callbacks(context): return [Cut()]\n"
        )
    else:
        shard.write_bytes(shard.read_bytes()[:-9])
    with pytest.raises(
        InvalidData, match=rf"{re.escape(str(shard))} cannot be read: truncated record at .*; prepare the data again"
    ):
        run_training(load_module(write_module(text)), dataset, tmp_path / "model", settings=FAST)
    assert not (tmp_path / "model" / "model.keras").exists()


@pytest.mark.parametrize("split", ["train", "validation"])
@pytest.mark.parametrize("is_streamed", [False, True])
@pytest.mark.parametrize("harm", ["missing", "empty", "fewer rows"])
def test_a_shard_without_all_its_rows_is_no_shorter_epoch(
    write_module: Write,
    tiny_dataset: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    split: str,
    is_streamed: bool,
    harm: str,
) -> None:
    if is_streamed:
        monkeypatch.setattr("trainwright_components.training.data.splits.MEMORY_LIMIT_BYTES", 0)
    dataset = tmp_path / "dataset"
    shutil.copytree(tiny_dataset, dataset)
    shard = sorted((dataset / split).iterdir())[-1]
    said = rf"do not hold the rows that its statistics\.json counts: {split} has \d+ rows instead of (53|21); prepare"
    if harm == "missing":
        (dataset / split / "part-00000-of-00099.tfrecord").touch()
        said = rf"{split}/part-00001-of-00099\.tfrecord is missing; prepare the data again"
    elif harm == "empty":
        shard.write_bytes(b"")
    else:
        content = shard.read_bytes()
        shard.write_bytes(content[: 16 + int.from_bytes(content[:8], "little")])  # the first record of TFRecord
        said = said if not is_streamed else r"its statistics\.json counts: .* (53|21) elements"
    with pytest.raises(InvalidData, match=said):
        run_training(load_module(write_module(MODULE)), dataset, tmp_path / "model", settings=FAST)


def test_a_disk_that_does_not_take_the_model_leaves_no_half_of_it(
    write_module: Write,
    tiny_dataset: Path,
    tmp_path: Path,
    limited_files: Callable[[int], AbstractContextManager[None]],
) -> None:
    """The model file is larger than its checkpoint, and the limit lies between them."""
    module = load_module(write_module(MODULE))
    with (
        limited_files(12_000),
        pytest.raises(
            TrainingFailed, match=r"the trained model cannot be written to .* continues from its last checkpoint"
        ),
    ):
        run_training(module, tiny_dataset, tmp_path / "model", settings=FAST)
    assert [path.name for path in (tmp_path / "model").iterdir()] == ["checkpoints"]
    assert run_training(module, tiny_dataset, tmp_path / "model", settings=FAST).resumed_at == 18


def test_a_callback_that_repeats_steps_is_refused(write_module: Write, tiny_dataset: Path, tmp_path: Path) -> None:
    text = MODULE + "\ndef callbacks(context): return [keras.callbacks.BackupAndRestore('x')]\n"
    with pytest.raises(InvalidModule, match="BackupAndRestore, which repeats steps"):
        run_training(load_module(write_module(text)), tiny_dataset, tmp_path / "model", settings=FAST)


@pytest.mark.parametrize("name", ["fit", "evaluate", "make_train_function"])
def test_a_method_that_would_not_be_called_is_refused(
    write_module: Write, tiny_dataset: Path, tmp_path: Path, name: str
) -> None:
    text = MODULE.replace("keras.Model({", "Mine({").replace(
        "DEFAULT", f"class Mine(keras.Model):\n    def {name}(self, *args, **options): pass\n\nDEFAULT", 1
    )
    with pytest.raises(
        InvalidModule, match=rf"Mine of net\.py overrides {name}, which this training run does not call; "
    ):
        run_training(load_module(write_module(text)), tiny_dataset, tmp_path / "model", settings=FAST)


def test_callbacks_see_what_fit_would_show_them(write_module: Write, tiny_dataset: Path, tmp_path: Path) -> None:
    text = (
        MODULE
        + """
class Stop(keras.callbacks.Callback):
    seen = []
    def on_train_begin(self, logs=None): self.seen.append("train")
    def on_epoch_begin(self, epoch, logs=None): self.seen.append(f"epoch {epoch}")
    def on_train_batch_end(self, batch, logs=None): self.seen.append((batch, sorted(logs)))
    def on_epoch_end(self, epoch, logs=None): self.model.stop_training = epoch == 1
    def on_train_end(self, logs=None): self.seen.append(sorted(logs))

def callbacks(context): return [Stop()]
"""
    )
    module = load_module(write_module(text))
    result = run_training(module, tiny_dataset, tmp_path / "model", settings=FAST)
    batches = [(batch, ["accuracy", "loss"]) for batch in range(6)]
    last = ["accuracy", "loss", "val_accuracy", "val_loss"]
    assert module.python_module.Stop.seen == ["train", "epoch 0", *batches, "epoch 1", *batches, last]
    assert (len(result.history), result.stop_reason) == (2, "a callback asked for it")


def test_an_own_training_replaces_the_loop(write_module: Write, tiny_dataset: Path, tmp_path: Path) -> None:
    text = MODULE + (
        "\nimport numpy as np\ndef train(context):\n    model = build_model(context)\n"
        "    model.fit({'a': np.zeros((4, 6))}, np.zeros(4), epochs=2, batch_size=2, verbose=0)\n    return model\n"
    )
    module, logs = load_module(write_module(text)), tmp_path / "logs"
    result = run_training(module, tiny_dataset, tmp_path / "model", settings=FAST, log_dir=logs)
    assert (result.steps, result.strategy, set(result.metrics)) == (4, "own", {"val_loss", "val_accuracy"})
    assert TrainedModel.load(tmp_path / "model").model.count_params() == 83
    assert logs.is_dir()  # an output of the step, though nothing was logged


def test_an_own_training_may_return_a_model_that_is_not_compiled(
    write_module: Write, tiny_dataset: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text = MODULE + "\ndef train(context): return keras.Sequential([keras.Input((6,)), keras.layers.Dense(3)])\n"
    result = run_training(load_module(write_module(text)), tiny_dataset, tmp_path / "model", settings=FAST)
    assert (result.steps, result.metrics, result.history) == (0, {}, [])
    assert "train of net.py returned a model that is not compiled: it has no metrics here" in caplog.messages
    assert TrainedModel.load(tmp_path / "model").model.count_params() == 21


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ("None", r"train of net\.py must return a keras\.Model, got builtins\.NoneType"),
        ("keras.callbacks.History()", r"must return a keras\.Model, got keras\.src\.callbacks\.history\.History$"),
        ("keras.Sequential([keras.layers.Dense(3)])", "returned a model that was never called, nor trained"),
    ],
)
def test_an_own_training_that_returns_no_model_is_told_so(
    write_module: Write, tiny_dataset: Path, tmp_path: Path, returned: str, message: str
) -> None:
    text = f"{MODULE}\ndef train(context): return {returned}\n"
    with pytest.raises(InvalidModule, match=message):
        run_training(load_module(write_module(text)), tiny_dataset, tmp_path / "model", settings=FAST)


def test_an_own_training_that_raises_keeps_the_users_line(
    write_module: Write, tiny_dataset: Path, tmp_path: Path
) -> None:
    text = MODULE + "\ndef train(context): return context.params['rates']\n"
    with pytest.raises(UserCodeError, match=r"train of net\.py failed: KeyError: 'rates' \(net\.py, line 17\)"):
        run_training(load_module(write_module(text)), tiny_dataset, tmp_path / "model", settings=FAST)


@pytest.mark.slow
def test_rows_too_many_for_memory_are_streamed_alike(
    write_module: Write, tiny_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, settings = load_module(write_module(MODULE)), TrainingSettings(epochs=2, batch_size=10, shuffle=False)
    in_memory = run_training(module, tiny_dataset, tmp_path / "one", settings=settings)
    monkeypatch.setattr("trainwright_components.training.data.splits.MEMORY_LIMIT_BYTES", 0)
    streamed = run_training(module, tiny_dataset, tmp_path / "two", settings=settings)
    assert streamed.history == in_memory.history


OWN_METRICS = """
def callbacks(context):
    class Add(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            logs["size"] = 3.0
    return [Add()]
"""


@pytest.mark.parametrize("patience", [None, 1])
@pytest.mark.parametrize(("added", "epochs"), [("", 0), (OWN_METRICS, 1)])
def test_a_monitor_that_is_no_metric_is_refused(
    write_module: Write, tiny_dataset: Path, tmp_path: Path, patience: int | None, added: str, epochs: int
) -> None:
    """Before the first step, where no code of the user's could bring further metrics."""
    settings = replace(FAST, early_stopping_patience=patience, monitor="val_acc")
    module = load_module(write_module(MODULE + added))
    steps: list[int] = []

    def say(phase: str = "", step: int = 0) -> None:
        steps.append(step)

    with pytest.raises(
        InvalidSetting, match=r"unknown metric 'val_acc' in training\.monitor; there are: loss, accuracy"
    ):
        run_training(module, tiny_dataset, tmp_path / "model", settings=settings, task=TaskContext(send_heartbeat=say))
    assert max(steps) == epochs * 6


def test_a_monitor_that_a_callback_adds_is_known(write_module: Write, tiny_dataset: Path, tmp_path: Path) -> None:
    module = load_module(write_module(MODULE + OWN_METRICS))
    result = run_training(module, tiny_dataset, tmp_path / "model", settings=replace(FAST, monitor="size"))
    assert [epoch["size"] for epoch in result.history] == [3.0] * 3
