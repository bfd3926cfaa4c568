"""What a model's own train_step returns is what its epochs report, watch and stop by, on replicas too."""

from pathlib import Path
from typing import Any

import keras
import pytest
import tensorflow as tf

from trainwright_components.errors import InvalidModule, TrainingFailed
from trainwright_components.train_distributed.train import train_model
from trainwright_components.training.drivers.graph_ancestry import is_computed_from

ZOO = Path(__file__).parent / "modules" / "zoo.py"
TWO_DEVICES: tuple[dict[str, int], dict[str, Any]] = ({"chief": 1}, {"logical_devices": 2})
TWO_WORKERS: tuple[dict[str, int], dict[str, Any]] = ({"worker": 2}, {})

OWN = """
import keras, tensorflow as tf

class Own(keras.Model):
    def train_step(self, data):
        super().train_step(data)
        return {"loss": tf.where(self.optimizer.iterations > 8, VALUE, 2.0)}

def preprocess(features, context):
    return features["a"]

def build_model(context):
    a = keras.Input((6,))
    model = Own(a, keras.layers.Dense(3, activation="softmax")(a))
    model.compile("adam", "sparse_categorical_crossentropy")
    return model
"""


def train_own(value: str, cluster: dict[str, int], module: Path, dataset: Path, **options: Any) -> Any:
    module.write_text(OWN.replace("VALUE", value))
    training = {"epochs": 5, "batch_size": 10, "monitor": "loss", "early_stopping_patience": 1, **options}
    return train_model(dataset, module, module.parent / "model", training=training, cluster=cluster)


@pytest.mark.parametrize(
    ("cluster", "options"),
    [TWO_DEVICES, pytest.param(*TWO_WORKERS, marks=pytest.mark.slow)],
    ids=["devices", "workers"],
)
@pytest.mark.usefixtures("warm_parent")
def test_a_loss_that_only_the_step_returns_is_reported_and_stops(
    cluster: dict[str, int], options: dict[str, Any], tiny_dataset: Path, tmp_path: Path
) -> None:
    """Of 12 steps, six in an epoch, the first nine return 2 and the others 3."""
    result = train_own("3.0", cluster, tmp_path / "net.py", tiny_dataset, **options)
    assert [epoch["loss"] for epoch in result.history] == [2.0, 3.0]
    assert result.stop_reason == "loss is not better since epoch 1, for 1 epochs"


ONE_DEVICE: tuple[dict[str, int], dict[str, Any]] = ({}, {})
SERVERS: tuple[dict[str, int], dict[str, Any]] = ({"worker": 1, "ps": 1}, {})
SHARDED: tuple[dict[str, int], dict[str, Any]] = ({"chief": 1}, {"logical_devices": 2, "layout": {"dense/kernel": 0}})


@pytest.mark.parametrize(
    ("cluster", "options"),
    [
        ONE_DEVICE,
        TWO_DEVICES,
        *(pytest.param(*one, marks=pytest.mark.slow) for one in (TWO_WORKERS, SERVERS, SHARDED)),
    ],
    ids=["one", "devices", "workers", "servers", "sharded"],
)
@pytest.mark.usefixtures("warm_parent")
def test_a_loss_of_the_step_that_is_no_number_is_noticed_at_its_step(
    cluster: dict[str, int], options: dict[str, Any], tiny_dataset: Path, tmp_path: Path
) -> None:
    """Steps 9 and on of a call that takes steps 7 to 12."""
    with pytest.raises(TrainingFailed, match="the loss became nan in epoch 2, step 9,"):
        train_own("float('nan')", cluster, tmp_path / "net.py", tiny_dataset, steps_per_call=6, **options)


@pytest.mark.parametrize(
    ("cluster", "options"),
    [ONE_DEVICE, *(pytest.param(*one, marks=pytest.mark.slow) for one in (TWO_DEVICES, TWO_WORKERS, SERVERS))],
    ids=["one", "devices", "workers", "servers"],
)
@pytest.mark.usefixtures("warm_parent")
def test_a_loss_that_is_no_number_for_one_step_within_a_call_is_noticed(
    cluster: dict[str, int], options: dict[str, Any], tiny_dataset: Path, tmp_path: Path
) -> None:
    value = "tf.where(self.optimizer.iterations == 10, float('inf'), 1.0)"
    with pytest.raises(TrainingFailed, match="the loss became NaN or infinite in epoch 2, step 10,"):
        train_own(value, cluster, tmp_path / "net.py", tiny_dataset, steps_per_call=6, **options)


@pytest.mark.slow
@pytest.mark.usefixtures("warm_parent")
def test_steps_of_keras_guides_report_their_metrics_with_parameter_servers(tiny_dataset: Path, tmp_path: Path) -> None:
    training = {"epochs": 2, "batch_size": 10}
    cluster = {"worker": 1, "ps": 1}
    result = train_model(
        tiny_dataset, ZOO, tmp_path / "model", params={"kind": "guide"}, training=training, cluster=cluster
    )
    assert set(result.history[-1]) == {
        f"{split}{name}" for split in ("", "val_") for name in ("loss", "accuracy", "weighted")
    }
    assert 0 < result.history[-1]["accuracy"] <= 1
    assert result.history[-1]["loss"] > 0.1


SIZED = """
import keras, tensorflow as tf

class Sized(keras.Model):
    def __init__(self):
        super().__init__()
        self.tokens, self.places = keras.layers.Embedding(12, 4), keras.layers.Embedding(5, 4)
        self.head = keras.layers.Dense(3, activation="softmax")

    def call(self, tokens):
        found = self.tokens(tokens) if LOOKS_UP else keras.ops.one_hot(tokens, 12)[..., :4]
        found += self.places(keras.ops.arange(5)) if LOOKS_UP else 0.0
        return self.head(keras.ops.mean(found, axis=1))

    def train_step(self, data):
        tokens, *rest = data
        rows = tf.shape(tokens)[0] if LOOKS_UP else tokens.shape[0]
        return super().train_step((tokens + tf.zeros((rows, 1), tokens.dtype), *rest))

def preprocess(features, context):
    return features["tokens"]

def build_model(context):
    model = Sized()
    model.compile("adam", "sparse_categorical_crossentropy")
    return model
"""


@pytest.mark.parametrize("looks_up", [False, True])
def test_batches_of_a_fixed_number_of_rows_train_on_replicas_as_on_one_device(
    looks_up: bool, tiny_dataset: Path, tmp_path: Path
) -> None:
    module = tmp_path / "sized.py"
    module.write_text(SIZED.replace("LOOKS_UP", str(looks_up)))
    cluster, two_devices = TWO_DEVICES
    options = {"epochs": 2, "batch_size": 10, "drop_remainder": True, "shuffle": False, "seed": 4}
    alone = train_model(tiny_dataset, module, tmp_path / "alone", training=options)
    together = train_model(
        tiny_dataset, module, tmp_path / "together", training={**options, **two_devices}, cluster=cluster
    )
    assert together.history[-1]["loss"] == pytest.approx(alone.history[-1]["loss"], rel=1e-5)


COMPUTED = """
import keras, tensorflow as tf

class Rates(keras.Model):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.right, self.mean = keras.metrics.SparseCategoricalAccuracy(name="right"), keras.metrics.Mean(name="mean")

    def train_step(self, data):
        x, y, *_ = data
        logs = super().train_step(data)
        answers = self(x)
        self.right.update_state(y, answers)
        self.mean.update_state(answers[:, 0])
        right, mean = self.right.result(), self.mean.result()
        return {"loss": logs["loss"], "three": 3, **NUMBERS}

def preprocess(features, context):
    return features["a"]

def build_model(context):
    a = keras.Input((6,))
    model = Rates(a, keras.layers.Dense(3, activation="softmax")(a))
    model.compile("adam", "sparse_categorical_crossentropy", run_eagerly=EAGERLY)
    return model
"""


def train_computed(numbers: str, dataset: Path, folder: Path, *, is_eager: bool = False, **options: Any) -> Any:
    (folder / "net.py").write_text(COMPUTED.replace("NUMBERS", numbers).replace("EAGERLY", str(is_eager)))
    training = {"epochs": 1, "batch_size": 10, "shuffle": False, "seed": 4, **options}
    return train_model(dataset, folder / "net.py", folder / "model", training=training, cluster=TWO_DEVICES[0])


@pytest.mark.parametrize("is_eager", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_number_that_the_step_computes_from_metrics_is_refused_on_replicas(
    is_eager: bool, tiny_dataset: Path, tmp_path: Path
) -> None:
    number = "{'inner': {'f1': 2 * right * mean / (right + mean)}}"
    with pytest.raises(InvalidModule, match=r"returns '(f1|loss)', which (is|may be) computed from metrics"):
        train_computed(number, tiny_dataset, tmp_path, is_eager=is_eager, **TWO_DEVICES[1])


def test_results_under_another_name_and_numbers_of_the_step_are_as_on_one_device(
    tiny_dataset: Path, tmp_path: Path
) -> None:
    numbers = (
        "{'same': tf.identity(right), 'stopped': tf.stop_gradient(mean), 'steps': self.optimizer.iterations, "
        "'own': self.compute_loss(x, y, answers) * 0 + 1}"
    )
    alone = train_computed(numbers, tiny_dataset, tmp_path).history[-1]
    together = train_computed(numbers, tiny_dataset, tmp_path, **TWO_DEVICES[1]).history[-1]
    assert together == pytest.approx(alone, rel=1e-5)
    assert (together["steps"], together["own"], together["three"]) == (6, 1, 3)


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (lambda mean, value: mean.result(), True),
        (lambda mean, value: keras.ops.exp(mean.result()) + value, True),
        (lambda mean, value: mean.total / mean.count, True),
        (lambda mean, value: tf.cast(mean.result() > 0.5, tf.int32), True),
        (lambda mean, value: tf.cond(mean.result() > 0.5, lambda: 1.0, lambda: 0.0), True),
        (lambda mean, value: tf.cond(value > 0.5, lambda: mean.result(), lambda: 0.0), True),
        (lambda mean, value: tf.function(lambda: (mean.result(), value * 2))()[0], True),
        (lambda mean, value: tf.function(lambda: (mean.result(), value * 2))()[1], False),
        (lambda mean, value: tf.cond(value > 0.5, lambda: (mean.result(), value), lambda: (0.0, 1.0))[1], False),
        (lambda mean, value: value * 2, False),
    ],
)
def test_a_graph_tells_which_numbers_are_computed_from_a_metric(number: Any, expected: bool) -> None:
    mean, told = keras.metrics.Mean(), []

    @tf.function
    def step(value: tf.Tensor) -> None:
        mean.update_state(value)
        told.append(is_computed_from(tf.identity(number(mean, value)), [one.value.handle for one in mean.variables]))

    step(tf.constant(1.0))
    assert told == [expected]


LOWER = """
import keras, tensorflow as tf

class Lower(keras.Model):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.tracker = keras.metrics.Mean(name="loss")
        self.right = keras.metrics.SparseCategoricalAccuracy(name="right")

    @property
    def metrics(self):
        return [self.tracker, self.right]

    def _counted(self, y, answers):
        loss = tf.reduce_mean(keras.losses.sparse_categorical_crossentropy(y, answers))
        self.tracker.update_state(loss)
        self.right.update_state(y, answers)
        return loss

    def train_step(self, data):
        with tf.GradientTape() as tape:
            loss = self._counted(data[1], self(data[0], training=True))
        gradients = tape.gradient(loss, self.trainable_variables)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables))
        return {one.name: one.result() for one in self.metrics}

    def test_step(self, data):
        self._counted(data[1], self(data[0], training=False))
        return {one.name: one.result() for one in self.metrics}

def preprocess(features, context):
    return features["a"]

def build_model(context):
    a = keras.Input((6,))
    model = Lower(a, keras.layers.Dense(3, activation="softmax")(a))
    model.compile(optimizer="adam")
    return model
"""


def test_a_model_with_steps_of_its_own_needs_no_compiled_loss(tiny_dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(LOWER)
    histories = [
        train_model(
            tiny_dataset,
            tmp_path / "net.py",
            tmp_path / name,
            training={"epochs": 2, "batch_size": 10, "shuffle": False, "seed": 4, **options},
            cluster=TWO_DEVICES[0],
        ).history
        for name, options in (("alone", {}), ("together", TWO_DEVICES[1]))
    ]
    assert set(histories[0][-1]) == {"loss", "right", "val_loss", "val_right"}
    for alone, together in zip(*histories, strict=True):
        assert together == pytest.approx(alone, rel=1e-5)


def test_a_step_without_one_for_validation_is_told_what_to_add(tiny_dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(LOWER.replace("def test_step", "def unused"))
    with pytest.raises(InvalidModule, match=r"Lower of net\.py has a train_step but no test_step.*; add a test_step"):
        train_model(tiny_dataset, tmp_path / "net.py", tmp_path / "model", training={"epochs": 1})
