"""A training run goes on after every edit that leaves its model and its rows as they are, and after no other."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from trainwright_components.training.configuration.settings import TrainingSettings
from trainwright_components.training.contexts import make_context
from trainwright_components.training.recovery.fingerprint import Identity
from trainwright_components.training.result import TrainingResult
from trainwright_components.training.run import run_training
from trainwright_components.training.trained_model import TrainedModel
from trainwright_components.user_module.module import load_module

Write = Callable[[str], Path]
SETTINGS = TrainingSettings(epochs=3, batch_size=10, seed=1, checkpoint_every_steps=4)

MODULE = '''
"""A net."""
import keras
from keras import layers

DEFAULT_PARAMS = {"rate": 0.01, "noise": 0.0}
SCALE = 1.0


def scaled(a):
    return a * SCALE


def preprocess(features, context):
    return {"a": scaled(features["a"]) + context.params["noise"]}


@keras.saving.register_keras_serializable()
class Twice(layers.Layer):
    def call(self, x):
        return doubled(x)


def doubled(x):
    return 2 * x


def build_model(context):
    a = keras.Input((6,), name="a")
    x = Twice()(layers.Dense(8, activation=lambda v: v * 1.0)(a))
    x = layers.Lambda(lambda v: v + 0.0)(x)
    model = keras.Model({"a": a}, layers.Dense(3, activation="softmax")(x))
    model.compile(keras.optimizers.Adam(context.params["rate"]), "sparse_categorical_crossentropy")
    return model


class Note(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.limit, self.seen = 5, 0

    def on_epoch_end(self, epoch, logs=None):
        self.seen += 1


def callbacks(context):
    return [Note()]
'''

PLAIN = MODULE.replace(", activation=lambda v: v * 1.0", "").replace(
    "    x = layers.Lambda(lambda v: v + 0.0)(x)\n", ""
)
HARMLESS = {
    "a comment": ("    return 2 * x", "    return 2 * x  # doubled"),
    "a docstring": ("def doubled(x):", 'def doubled(x):\n    """Twice."""'),
    "lines moved": ("import keras\n", "import keras\n\n\n\n"),
    "a callback": ("self.limit, self.seen = 5, 0", "self.limit, self.seen = 7, 0"),
    "metrics": ('"sparse_categorical_crossentropy")', '"sparse_categorical_crossentropy", metrics=["accuracy"])'),
    "a rate": ('(context.params["rate"])', "(0.003)"),
    "a name of a layer": ("layers.Dense(8,", 'layers.Dense(8, name="hidden",'),
    "a parameter of the rate": ('"rate": 0.01', '"rate": 0.02'),
    "a way to write it": (
        '    a = keras.Input((6,), name="a")',
        '    width = 6\n    a = keras.Input((width,), name="a")',
    ),
}
ANOTHER = {
    "units": ("Dense(8,", "Dense(9,"),
    "an activation": ('"softmax"', '"sigmoid"'),
    "a lambda as activation": ("v * 1.0", "v * 2.0"),
    "a lambda layer": ("v + 0.0", "v + 1.0"),
    "what a class of the user's calls": ("return 2 * x", "return 3 * x"),
    "the loss": ('"sparse_categorical_crossentropy")', "keras.losses.SparseCategoricalCrossentropy(reduction='sum'))"),
    "the optimizer": ("optimizers.Adam", "optimizers.SGD"),
    "variables of the optimizer": ('Adam(context.params["rate"])', "Adam(0.01, amsgrad=True)"),
    "a schedule": ('(context.params["rate"])', "(keras.optimizers.schedules.CosineDecay(0.01, 9))"),
    "what preprocess calls": ("return a * SCALE", "return a * SCALE + 1"),
    "a constant of preprocess": ("SCALE = 1.0", "SCALE = 2.0"),
    "a parameter of preprocess": ('"noise": 0.0', '"noise": 0.5'),
    "a policy": ("DEFAULT_PARAMS", "keras.config.set_epsilon(1e-6)\nDEFAULT_PARAMS"),
    "a dtype": ("layers.Dense(3,", 'layers.Dense(3, dtype="mixed_bfloat16",'),
    "frozen": ("layers.Dense(3,", "layers.Dense(3, trainable=False,"),
}


def identity_of(file: Path, dataset: Path, **params: Any) -> Identity:
    module = load_module(file)
    context = make_context(module, dataset, params, SETTINGS)
    keras.utils.set_random_seed(1)
    return Identity.of_model(module, context, SETTINGS, module.build_model(context))


@pytest.fixture
def epsilon() -> Any:
    """Puts back what one of the modules sets for all of Keras."""
    before = keras.config.epsilon()
    yield
    keras.config.set_epsilon(before)


def test_what_leaves_the_model_and_its_rows_alone_is_the_same_training(write_module: Write, tiny_dataset: Path) -> None:
    """Also where Keras has numbered its layers on: each model has other names."""
    before = identity_of(write_module(MODULE), tiny_dataset)
    assert identity_of(write_module(MODULE), tiny_dataset) == before
    for name, (old, new) in HARMLESS.items():
        assert MODULE.count(old) == 1, name
        now = identity_of(write_module(MODULE.replace(old, new)), tiny_dataset)
        assert (now.key, now.reasons_against(before)) == (before.key, []), name
        is_unseen = name in ("a comment", "a docstring", "lines moved")
        assert (now.changes_since(before) == []) is is_unseen, name


@pytest.mark.usefixtures("epsilon")
def test_what_makes_another_model_or_other_rows_is_another_training(write_module: Write, tiny_dataset: Path) -> None:
    before = identity_of(write_module(MODULE), tiny_dataset)
    for name, (old, new) in ANOTHER.items():
        assert MODULE.count(old) >= 1, name
        now = identity_of(write_module(MODULE.replace(old, new, 1)), tiny_dataset)
        assert now.key != before.key, name
        assert now.reasons_against(before), name


SUBCLASS = """
import keras

DEFAULT_PARAMS = {"rate": 0.01, "dropout": 0.1}

class Net(keras.Model):
    def __init__(self, dropout):
        super().__init__()
        self.out, self.drop = keras.layers.Dense(3), keras.layers.Dropout(dropout)

    def call(self, inputs, training=False):
        return self.out(self.drop(inputs["a"], training=training))

def build_model(context):
    model = Net(context.params["dropout"])
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model

def callbacks(context):
    return []
"""


def test_a_class_of_the_users_is_known_by_its_code_and_all_parameters(write_module: Write, tiny_dataset: Path) -> None:
    """What is handed to it leaves no trace in its configuration; and before it was called, it has no weights."""
    before = identity_of(write_module(SUBCLASS), tiny_dataset)
    module = load_module(write_module(SUBCLASS))
    context = make_context(module, tiny_dataset, {}, SETTINGS)
    model = module.build_model(context)
    model({"a": np.zeros((2, 6), "float32")})
    assert Identity.of_model(module, context, SETTINGS, model).key == before.key
    other_callbacks = SUBCLASS.replace("return []", "return [keras.callbacks.TerminateOnNaN()]")
    assert identity_of(write_module(other_callbacks), tiny_dataset).key == before.key
    assert identity_of(write_module(SUBCLASS), tiny_dataset, dropout=0.2).key != before.key
    other_call = SUBCLASS.replace("self.out(self.drop", "2 * self.out(self.drop")
    assert identity_of(write_module(other_call), tiny_dataset).key != before.key


def test_a_model_of_layers_is_the_same_before_and_after_it_was_called(write_module: Write, tiny_dataset: Path) -> None:
    """In a cluster it was not: a Sequential without an Input learns its shapes only then."""
    text = (
        MODULE.replace("def build_model", "def unused").replace('return {"a": scaled', "return (scaled")
        + """
def build_model(context):
    net = keras.Sequential([layers.Dense(4), keras.Sequential([layers.Dropout(0.1)]), layers.Dense(3)])
    net.compile("adam", "sparse_categorical_crossentropy")
    return net
"""
    )
    text = text.replace('context.params["noise"]}', 'context.params["noise"])')
    module = load_module(write_module(text))
    context = make_context(module, tiny_dataset, {}, SETTINGS)
    model = module.build_model(context)
    before = Identity.of_model(module, context, SETTINGS, model).key
    model(np.zeros((2, 6), "float32"))
    assert Identity.of_model(module, context, SETTINGS, model).key == before


@pytest.mark.parametrize(("place", "counts"), [("mine", True), ("venv/lib/python3.11/site-packages", False)])
def test_modules_that_the_users_code_imports_count(
    write_module: Write, tiny_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, counts: bool
) -> None:
    """Beside it on sys.path; those of installed packages do not, also where another Python runs."""
    helper = tmp_path / place / "mine_of_fingerprint.py"
    helper.parent.mkdir(parents=True)
    monkeypatch.syspath_prepend(str(helper.parent))

    def key(factor: str) -> str:
        sys.modules.pop(helper.stem, None)
        helper.write_text(f"def scaled(a):\n    return a * {factor}\n")
        text = MODULE.replace("def scaled(a):\n    return a * SCALE\n", "").replace(
            "from keras import layers", f"from keras import layers\nfrom {helper.stem} import scaled"
        )
        return identity_of(write_module(text), tiny_dataset).key

    assert key("1.0") == key("1.0  # once")
    assert (key("1.0") != key("2.0")) is counts


def cut_off(epoch: int, metrics: Mapping[str, float]) -> bool:
    raise KeyboardInterrupt


def trained(file: Path, dataset: Path, output: Path, settings: TrainingSettings = SETTINGS, **more: Any) -> Any:
    return run_training(load_module(file), dataset, output, settings=settings, **more)


def test_an_edit_goes_on_with_the_new_rate_and_the_state_of_the_optimizer(
    write_module: Write, tiny_dataset: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A rate of 0 leaves the weights as the checkpoint has them; what was changed is told, once, and stays recorded."""
    with pytest.raises(KeyboardInterrupt):
        trained(write_module(PLAIN), tiny_dataset, tmp_path / "model", on_epoch_end=cut_off)
    edited = PLAIN.replace('(context.params["rate"])', "(1e-9)").replace("limit, self.seen = 5", "limit, self.seen = 7")
    edited = edited.replace(
        '"sparse_categorical_crossentropy")', '"sparse_categorical_crossentropy", metrics=["accuracy"])'
    )
    edited = edited.replace("return [Note()]", "return [keras.callbacks.Callback(), Note()]")
    with pytest.raises(KeyboardInterrupt):
        trained(write_module(edited), tiny_dataset, tmp_path / "model", on_epoch_end=cut_off)
    (told,) = [message for message in caplog.messages if "after changes" in message]
    said = "went on from step 4 after changes (the code of the module changed; the optimizer's learning_rate is 1e-09, "
    assert told.startswith(f"{said}was 0.01), with the state of the optimizer")
    caplog.clear()
    seen: list[Any] = []
    module = load_module(
        write_module(edited.replace("self.seen += 1", "self.seen += 1; SEEN.append(self)") + "SEEN = []")
    )
    seen = module.python_module.SEEN
    result: TrainingResult = run_training(module, tiny_dataset, tmp_path / "model", settings=SETTINGS)
    assert result.notes[0].startswith("went on from step 4 after changes")
    assert (result.steps, set(result.history[0])) == (18, {"loss", "accuracy", "val_loss", "val_accuracy"})
    assert [(one.limit, one.seen) for one in seen][-1][0] == 7
    model = TrainedModel.load(result.model_folder).model
    assert float(model.optimizer.learning_rate) == pytest.approx(1e-9)
    assert int(model.optimizer.iterations) == 18
    assert not (tmp_path / "model" / "previous").exists()


def test_another_model_starts_anew_and_the_first_one_can_still_go_on(
    write_module: Write, tiny_dataset: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    output = tmp_path / "model"
    with pytest.raises(KeyboardInterrupt):
        trained(write_module(PLAIN), tiny_dataset, output, on_epoch_end=cut_off)
    with pytest.raises(KeyboardInterrupt):
        trained(write_module(PLAIN.replace("Dense(8)", "Dense(9)")), tiny_dataset, output, on_epoch_end=cut_off)
    (told,) = [message for message in caplog.messages if "starts anew" in message]
    assert "the checkpoints up to step 4 are of another training run (the model is another (its layers" in told
    assert [path.name for path in (output / "checkpoints").iterdir()] == ["step-0000000004.npz"]
    settings = replace(SETTINGS, batch_size=20)
    with pytest.raises(KeyboardInterrupt):
        trained(write_module(PLAIN), tiny_dataset, output, settings, on_epoch_end=cut_off)
    assert "(the model is another" in caplog.messages[-1] or "training.batch_size is 20, was 10" in caplog.text
    assert trained(write_module(PLAIN), tiny_dataset, output).resumed_at == 4
    assert not (output / "previous").exists()


@pytest.mark.slow
def test_more_epochs_go_on_where_a_training_run_ended(write_module: Write, tiny_dataset: Path, tmp_path: Path) -> None:
    """And give what as many at once give; with anything else changed too, it starts anew."""
    settings = replace(SETTINGS, deterministic=True)
    more = replace(settings, epochs=5)
    whole = trained(write_module(PLAIN), tiny_dataset, tmp_path / "whole", more)
    trained(write_module(PLAIN), tiny_dataset, tmp_path / "model", settings)
    other = PLAIN.replace('"rate": 0.01', '"rate": 0.02')
    longer = trained(write_module(PLAIN), tiny_dataset, tmp_path / "model", more)
    assert (longer.resumed_at, longer.history) == (18, whole.history)
    for one, two in zip(*(TrainedModel.load(r.model_folder).model.get_weights() for r in (longer, whole)), strict=True):
        np.testing.assert_array_equal(one, two)
    assert trained(write_module(other), tiny_dataset, tmp_path / "model", replace(more, epochs=6)).resumed_at == 0


def test_fewer_epochs_than_were_done_end_there_and_say_so(
    write_module: Write, tiny_dataset: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def stop_in_third(epoch: int, metrics: Mapping[str, float]) -> bool:
        if epoch == 3:
            raise KeyboardInterrupt
        return False

    with pytest.raises(KeyboardInterrupt):
        trained(write_module(PLAIN), tiny_dataset, tmp_path / "model", on_epoch_end=stop_in_third)
    result = trained(write_module(PLAIN), tiny_dataset, tmp_path / "model", replace(SETTINGS, epochs=1))
    said = "training.epochs is 1, and 2 epochs and 4 steps were done before: the model is that of step 16"
    assert result.notes == [said]
    assert result.steps == 16
    assert said in caplog.text
