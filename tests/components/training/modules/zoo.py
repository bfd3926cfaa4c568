"""Small models of many kinds over the tiny dataset; the parameter `kind` chooses one."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from trainwright_components.model_module import Context

DEFAULT_PARAMS = {"kind": "dense", "learning_rate": 0.01}


def preprocess(features: dict[str, Any], context: Context) -> dict[str, Any]:
    return {"a": features["a"], "b": features["b"][:, None], "tokens": features["tokens"]}


def build_model(context: Context) -> keras.Model:
    return BUILDERS[context.params["kind"]](context)


def _model(output: Any, *, a: Any = None, b: Any = None, tokens: Any = None) -> keras.Model:
    inputs = {
        "a": keras.Input((6,), name="a") if a is None else a,
        "b": keras.Input((1,), name="b") if b is None else b,
        "tokens": keras.Input((5,), dtype="int64", name="tokens") if tokens is None else tokens,
    }
    return keras.Model(inputs, output)


def _compiled(model: keras.Model, context: Context, **options: Any) -> keras.Model:
    settings: dict[str, Any] = {
        "optimizer": keras.optimizers.Adam(context.params["learning_rate"]),
        "loss": "sparse_categorical_crossentropy",
        "metrics": ["accuracy"],
        "weighted_metrics": [keras.metrics.SparseCategoricalAccuracy(name="weighted")],
    }
    model.compile(**{**settings, **options})
    return model


def dense(context: Context) -> keras.Model:
    a = keras.Input((6,), name="a")
    hidden = keras.layers.Dense(8, activation="relu", kernel_regularizer=keras.regularizers.L2(0.01))(a)
    output = keras.layers.Dense(3, activation="softmax")(hidden)
    rate = keras.optimizers.schedules.ExponentialDecay(context.params["learning_rate"], 5, 0.9)
    return _compiled(_model(output, a=a), context, optimizer=keras.optimizers.AdamW(rate, clipnorm=0.5, use_ema=True))


def batch_norm(context: Context) -> keras.Model:
    a = keras.Input((6,), name="a")
    hidden = keras.layers.Conv1D(4, 3)(keras.layers.Reshape((6, 1))(a))
    hidden = keras.layers.Dropout(0.2, seed=5)(keras.layers.BatchNormalization()(hidden))
    output = keras.layers.Dense(3, activation="softmax")(keras.layers.Flatten()(hidden))
    return _compiled(_model(output, a=a), context)


def synchronized_batch_norm(context: Context) -> keras.Model:
    a = keras.Input((6,), name="a")
    hidden = keras.layers.BatchNormalization(synchronized=True)(keras.layers.Dense(4)(a))
    return _compiled(_model(keras.layers.Dense(3, activation="softmax")(hidden), a=a), context)


def recurrent(context: Context) -> keras.Model:
    tokens = keras.Input((5,), dtype="int64", name="tokens")
    hidden = keras.layers.LSTM(4)(keras.layers.Embedding(12, 3)(tokens))
    return _compiled(_model(keras.layers.Dense(3, activation="softmax")(hidden), tokens=tokens), context)


class Subclassed(keras.Model):
    def __init__(self) -> None:
        super().__init__()
        self.hidden = keras.layers.Dense(5, activation="relu")
        self.head = keras.layers.Dense(3, activation="softmax")

    def call(self, features: dict[str, Any]) -> Any:
        return self.head(self.hidden(features["a"]))


class OwnStep(Subclassed):
    def train_step(self, data: Any) -> dict[str, Any]:
        x, y, weight = keras.utils.unpack_x_y_sample_weight(data)
        with tf.GradientTape() as tape:
            prediction = self(x, training=True)
            loss = self.compute_loss(x, y, prediction, weight)
        variables = [variable.value for variable in self.trainable_variables]
        self.optimizer.apply_gradients(zip(tape.gradient(loss, variables), self.trainable_variables, strict=True))
        return {**self.compute_metrics(x, y, prediction, weight), "twice": 2 * loss}


BUILDERS: dict[str, Callable[[Context], keras.Model]] = {
    "dense": dense,
    "batch_norm": batch_norm,
    "synchronized_batch_norm": synchronized_batch_norm,
    "recurrent": recurrent,
    "subclassed": lambda context: _compiled(Subclassed(), context),
    "own_step": lambda context: _compiled(OwnStep(), context),
    "eager": lambda context: _compiled(Subclassed(), context, run_eagerly=True),
    "several_steps": lambda context: _compiled(Subclassed(), context, steps_per_execution=3),
}
