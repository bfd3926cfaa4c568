"""Models that look rows up in tables, over the tiny dataset: `model` and `optimizer` choose one.

In every model tokens are looked up. What else is, is the same for every row of a batch, or repeats itself.
"""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from trainwright_components.user_module.module import Context

DEFAULT_PARAMS = {"model": "every", "optimizer": "adam"}
_DISTANCES = np.abs(np.subtract.outer(np.arange(5), np.arange(5)))


def preprocess(features: dict[str, Any], context: Context) -> dict[str, Any]:
    tokens = features["tokens"]
    if context.params["model"] == "varying":  # as long as the longest row of a share; 0 is not a token
        tokens = tf.where(tf.range(5) < tf.argmax(tokens, 1, tf.int32)[:, None] + 1, tokens + 1, 0)
        tokens = tokens[:, : tf.reduce_max(tf.reduce_sum(tf.cast(tokens > 0, tf.int32), 1))]
    return {"a": features["a"], "tokens": tokens}


class Sequence(keras.Model):
    """Tokens of rows, and a dense layer over numbers."""

    def __init__(self, *, mask_zero: bool = False) -> None:
        super().__init__()
        self.tokens = keras.layers.Embedding(14, 4, mask_zero=mask_zero)
        self.hidden = keras.layers.Dense(4)
        self.head = keras.layers.Dense(3, activation="softmax")

    def call(self, features: dict[str, Any]) -> Any:
        mean = keras.ops.mean(self.embed(features["tokens"]), axis=1)
        return self.head(mean + self.hidden(features["a"]))

    def embed(self, tokens: Any) -> Any:
        return self.tokens(tokens)


class Every(Sequence):
    """Learned positions, distances of positions, and a table for tokens, their neighbours and a constant."""

    def __init__(self) -> None:
        super().__init__()
        self.places = keras.layers.Embedding(8, 4)
        self.distances = keras.layers.Embedding(6, 1)

    def embed(self, tokens: Any) -> Any:
        found = self.tokens(tokens) + self.places(keras.ops.arange(tokens.shape[1]))
        found += keras.ops.matmul(self.distances(_DISTANCES)[..., 0], found)
        return found + keras.ops.mean(self.tokens(np.arange(3)), axis=0) + self.tokens((tokens + 1) % 12)


class Tied(Sequence):
    """A table that is also multiplied with, which makes its gradient dense."""

    def embed(self, tokens: Any) -> Any:
        found = self.tokens(tokens)
        scores = keras.ops.matmul(found, keras.ops.transpose(self.tokens.embeddings))
        return found + keras.ops.matmul(keras.ops.softmax(scores), self.tokens.embeddings)


class Repeated(Sequence):
    """A place for each row of the batch, made in two ways."""

    def __init__(self) -> None:
        super().__init__()
        self.places = keras.layers.Embedding(8, 4)

    def embed(self, tokens: Any) -> Any:
        ops = keras.ops
        counted = ops.cumsum(ops.ones_like(tokens), axis=1)
        spread = ops.broadcast_to(ops.arange(5), ops.shape(tokens))
        return self.tokens(tokens) + self.places(counted) + self.places(spread)


class Masked(Sequence):
    def __init__(self) -> None:
        super().__init__(mask_zero=True)
        self.sum = keras.layers.LSTM(4)

    def call(self, features: dict[str, Any]) -> Any:
        return self.head(self.sum(self.tokens(features["tokens"])) + self.hidden(features["a"]))


class Varying(Sequence):
    """Batches of several lengths, and as many places."""

    def __init__(self) -> None:
        super().__init__()
        self.places = keras.layers.Embedding(8, 4)

    def call(self, features: dict[str, Any]) -> Any:
        ops, tokens = keras.ops, features["tokens"]
        found = self.tokens(tokens) + self.places(ops.arange(ops.shape(tokens)[1]))
        is_token = ops.cast(tokens > 0, "float32")[..., None]
        mean = ops.sum(found * is_token, axis=1) / ops.sum(is_token, axis=1)
        return self.head(mean + self.hidden(features["a"]))


class OwnStep(Every):
    """Applies its gradients by itself."""

    def train_step(self, data: Any) -> dict[str, Any]:
        x, y, weight = keras.utils.unpack_x_y_sample_weight(data)
        with tf.GradientTape() as tape:
            prediction = self(x, training=True)
            loss = self.compute_loss(x, y, prediction, weight)
        variables = self.trainable_variables
        self.optimizer.apply(tape.gradient(loss, [one.value for one in variables]), variables)
        return self.compute_metrics(x, y, prediction, weight)


class Eager(Sequence):
    """Tokens and places in tables of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.places = keras.layers.Embedding(8, 4)

    def embed(self, tokens: Any) -> Any:
        return self.tokens(tokens) + self.places(keras.ops.arange(5))


class Unique(Sequence):
    """Looks each token up once for all rows."""

    def embed(self, tokens: Any) -> Any:
        unique, places = tf.unique(tf.reshape(tokens, [-1]))
        return tf.reshape(tf.gather(self.tokens(unique), places), [-1, 5, 4])


class Words(Sequence):
    """Makes tokens of text within the model, in rows as long as the longest."""

    def __init__(self) -> None:
        super().__init__()
        self.words = keras.layers.StringLookup(vocabulary=[str(number) for number in range(12)])
        self.places = keras.layers.Embedding(8, 4)

    def embed(self, tokens: Any) -> Any:
        text = tf.strings.reduce_join(tf.strings.as_string(tokens), 1, separator=" ")
        found = self.words(tf.strings.split(text).to_tensor("0"))
        return self.tokens(found) + self.places(keras.ops.arange(keras.ops.shape(found)[1]))


class Random(Sequence):
    def embed(self, tokens: Any) -> Any:
        return self.tokens(tokens) + self.tokens(tf.random.uniform([5], 0, 12, tf.int64))


class Largest(Sequence):
    """Looks up what depends on all rows of the batch."""

    def embed(self, tokens: Any) -> Any:
        return self.tokens(tokens) + self.tokens(tf.reduce_max(tokens, axis=0))


MODELS: dict[str, Callable[[], keras.Model]] = {
    "tokens": Sequence,
    "every": Every,
    "tied": Tied,
    "repeated": Repeated,
    "masked": Masked,
    "varying": Varying,
    "own_step": OwnStep,
    "eager": Eager,
    "mixed_eagerly": Every,
    "words": Words,
    "random": Random,
    "unique": Unique,
    "largest": Largest,
}

_ADAM, _SGD = keras.optimizers.Adam, keras.optimizers.SGD
OPTIMIZERS: dict[str, Callable[[], Any]] = {
    "sgd": lambda: _SGD(0.1),
    "momentum": lambda: _SGD(0.1, momentum=0.9, nesterov=True),
    "clipnorm": lambda: _SGD(0.5, clipnorm=0.02),
    "global_clipnorm": lambda: _SGD(0.5, global_clipnorm=0.05),
    "clipvalue": lambda: _SGD(0.5, clipvalue=0.002),
    "adam": lambda: _ADAM(0.01),
    "amsgrad": lambda: _ADAM(0.01, amsgrad=True),
    "adam_clipnorm": lambda: _ADAM(0.01, clipnorm=0.02),
    "adamw": lambda: keras.optimizers.AdamW(0.01, weight_decay=0.01),
    "nadam": lambda: keras.optimizers.Nadam(0.01),
    "adamax": lambda: keras.optimizers.Adamax(0.01),
    "rmsprop": lambda: keras.optimizers.RMSprop(0.01, momentum=0.5),
    "adagrad": lambda: keras.optimizers.Adagrad(0.05),
    "adadelta": lambda: keras.optimizers.Adadelta(1.0),
    "ftrl": lambda: keras.optimizers.Ftrl(0.05),
    "lion": lambda: keras.optimizers.Lion(0.001),
    "lamb": lambda: keras.optimizers.Lamb(0.01),
    "adafactor": lambda: keras.optimizers.Adafactor(0.01),
    "muon": lambda: keras.optimizers.Muon(0.01),
    "ema": lambda: _ADAM(0.01, use_ema=True, ema_momentum=0.8),
    "accumulation": lambda: _ADAM(0.01, gradient_accumulation_steps=3, clipnorm=0.02),
    "loss_scale": lambda: keras.optimizers.LossScaleOptimizer(_ADAM(0.01), initial_scale=8.0),
    "loss_scale_factor": lambda: _ADAM(0.01, loss_scale_factor=8.0),
}


def build_model(context: Context) -> keras.Model:
    model = MODELS[context.params["model"]]()
    optimizer, is_eager = OPTIMIZERS[context.params["optimizer"]](), "eager" in context.params["model"]
    model.compile(optimizer, "sparse_categorical_crossentropy", run_eagerly=is_eager)
    return model
