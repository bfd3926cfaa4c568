"""Small models of many kinds over the tiny dataset; the parameter `kind` chooses one."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from trainwright_components.user_module.module import Context

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
    hidden = keras.layers.BatchNormalization(synchronized=True)(keras.layers.Dense(4, use_bias=False)(a))
    return _compiled(_model(keras.layers.Dense(3, activation="softmax")(hidden), a=a), context)


def recurrent(context: Context) -> keras.Model:
    tokens = keras.Input((5,), dtype="int64", name="tokens")
    hidden = keras.layers.LSTM(4)(keras.layers.Embedding(12, 3)(tokens))
    return _compiled(_model(keras.layers.Dense(3, activation="softmax")(hidden), tokens=tokens), context)


def softmax(hidden: Any) -> Any:
    return keras.layers.Dense(3, activation="softmax")(hidden)


def convolution(context: Context) -> keras.Model:
    a = keras.Input((6,), name="a")
    hidden = keras.layers.Conv2D(4, 2, use_bias=False)(keras.layers.Reshape((3, 2, 1))(a))
    hidden = keras.layers.BatchNormalization(synchronized=True, momentum=0.8)(hidden)
    return _compiled(_model(softmax(keras.layers.Flatten()(hidden)), a=a), context)


def attention(context: Context) -> keras.Model:
    tokens = keras.Input((5,), dtype="int64", name="tokens")
    hidden = keras.layers.Embedding(12, 4)(tokens)
    hidden = hidden + keras.layers.MultiHeadAttention(2, 2, use_bias=False)(hidden, hidden)
    hidden = keras.layers.GlobalAveragePooling1D()(keras.layers.LayerNormalization()(hidden))
    return _compiled(_model(softmax(hidden), tokens=tokens), context)


class Picky(keras.layers.Layer):
    """Leaves rows out of the loss and the metrics by what was predicted for them."""

    def call(self, prediction: Any) -> Any:
        return prediction

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> Any:
        return inputs[:, 0] > 0.3


def masked(context: Context) -> keras.Model:
    tokens = keras.Input((5,), dtype="int64", name="tokens")
    hidden = keras.layers.GRU(4)(keras.layers.Embedding(12, 3, mask_zero=True)(tokens))
    return _compiled(_model(Picky()(softmax(hidden)), tokens=tokens), context)


def plain(context: Context, **options: Any) -> keras.Model:
    return _compiled(Subclassed(), context, **options)


def optimized(**options: Any) -> Callable[[Context], keras.Model]:
    return lambda context: plain(context, optimizer=keras.optimizers.Adam(context.params["learning_rate"], **options))


def reduced(reduction: str) -> Callable[[Context], keras.Model]:
    return lambda context: plain(context, loss=keras.losses.SparseCategoricalCrossentropy(reduction=reduction))


def scaled(context: Context) -> keras.Model:
    inner = keras.optimizers.SGD(context.params["learning_rate"], momentum=0.9, clipnorm=0.1)
    return plain(
        context, optimizer=keras.optimizers.LossScaleOptimizer(inner, initial_scale=1e38, dynamic_growth_steps=3)
    )


def constrained(context: Context) -> keras.Model:
    a = keras.Input((6,), name="a")
    hidden = keras.layers.Dense(6, activation="relu", kernel_constraint=keras.constraints.MaxNorm(0.5))(a)
    hidden = keras.layers.ActivityRegularization(l2=0.01)(hidden)
    return _compiled(_model(softmax(hidden), a=a), context)


def mixed(policy: str) -> Callable[[Context], keras.Model]:
    def build(context: Context) -> keras.Model:
        a = keras.Input((6,), name="a")
        hidden = keras.layers.Dense(6, activation="tanh", dtype=policy)(a)
        output = keras.layers.Activation("softmax", dtype="float32")(keras.layers.Dense(3, dtype=policy)(hidden))
        return _compiled(_model(output, a=a), context)

    return build


class OfFirst(keras.metrics.AUC):
    """The area under the curve of the first class."""

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        super().update_state(keras.ops.equal(y_true, 0), y_pred[:, 0], sample_weight)


def measured(context: Context) -> keras.Model:
    metrics = [keras.metrics.SparseTopKCategoricalAccuracy(k=2), OfFirst(num_thresholds=20, name="of_first"), Spread()]
    return plain(context, metrics=metrics, weighted_metrics=[OfFirst(num_thresholds=20, name="weighted")])


def mean_square(y_true: Any, y_pred: Any) -> Any:
    return keras.ops.mean(y_pred**2)


def off_by(y_true: Any, y_pred: Any) -> Any:
    """One number for a batch."""
    return keras.ops.mean(keras.ops.abs(y_pred[:, 0] - keras.ops.cast(keras.ops.reshape(y_true, (-1,)), "float32")))


def scalars(context: Context) -> keras.Model:
    """Metrics that are given one number for each batch."""
    return plain(context, metrics=[off_by], weighted_metrics=[])


class Counters(keras.layers.Layer):
    """State that says how replicas bring it together: two sums of rows, a mean over rows, a number of steps."""

    def build(self, shape: Any) -> None:
        def state(dtype: str, aggregation: str) -> Any:
            return self.add_weight(shape=(), initializer="zeros", dtype=dtype, trainable=False, aggregation=aggregation)

        self.rows, self.whole_rows = state("float32", "sum"), state("int64", "sum")
        self.mean, self.steps = state("float32", "mean"), state("float32", "only_first_replica")

    def call(self, inputs: Any, training: bool = False) -> Any:
        if training:
            rows = keras.ops.shape(inputs)[0]
            self.rows.assign_add(keras.ops.cast(rows, "float32"))
            self.whole_rows.assign_add(keras.ops.cast(rows, "int64"))
            self.mean.assign(0.9 * self.mean + 0.1 * keras.ops.mean(inputs))
            self.steps.assign_add(1.0)
        return inputs


def counters(context: Context) -> keras.Model:
    a = keras.Input((6,), name="a")
    return _compiled(_model(softmax(Counters()(a)), a=a), context)


def unreduced(context: Context) -> keras.Model:
    return plain(context, loss=keras.losses.SparseCategoricalCrossentropy(reduction=None))


def by_rows(y_true: Any, y_pred: Any) -> Any:
    """The masked loss of TensorFlow's tutorials: the mean over rows that count."""
    losses = keras.losses.SparseCategoricalCrossentropy(reduction="none")(y_true, y_pred)
    return keras.ops.sum(losses) / keras.ops.cast(keras.ops.shape(losses)[0], "float32")


class Spread(keras.metrics.Metric):
    """A metric with a state that is not a mean."""

    def __init__(self) -> None:
        super().__init__(name="spread")
        self.squares = self.add_variable((), initializer="zeros", name="squares")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        self.squares.assign_add(keras.ops.sum(keras.ops.square(y_pred - 0.3)))

    def result(self) -> Any:
        return keras.ops.sqrt(self.squares)


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


class Guide(Subclassed):
    """Steps in the form of Keras' guides, whose results hold those of the compiled metrics in a dict of their own."""

    def train_step(self, data: Any) -> dict[str, Any]:
        x, y, weight = keras.utils.unpack_x_y_sample_weight(data)
        with tf.GradientTape() as tape:
            prediction = self(x, training=True)
            loss = self.compute_loss(x=x, y=y, y_pred=prediction, sample_weight=weight)
        gradients = tape.gradient(loss, [one.value for one in self.trainable_variables])
        self.optimizer.apply(gradients, self.trainable_variables)
        return self.count(loss, y, prediction)

    def test_step(self, data: Any) -> dict[str, Any]:
        x, y, weight = keras.utils.unpack_x_y_sample_weight(data)
        prediction = self(x, training=False)
        return self.count(self.compute_loss(x=x, y=y, y_pred=prediction, sample_weight=weight), y, prediction)

    def count(self, loss: Any, y: Any, prediction: Any) -> dict[str, Any]:
        for metric in self.metrics:
            if metric.name == "loss":
                metric.update_state(loss)
            else:
                metric.update_state(y, prediction)
        return {metric.name: metric.result() for metric in self.metrics}


class OnlyLoss(OwnStep):
    """Steps that return the loss and count nothing."""

    def train_step(self, data: Any) -> dict[str, Any]:
        return {"loss": super().train_step(data)["twice"] / 2}

    def test_step(self, data: Any) -> dict[str, Any]:
        x, y, weight = keras.utils.unpack_x_y_sample_weight(data)
        return {"loss": self.compute_loss(x, y, self(x, training=False), weight)}


class Unweighted(Subclassed):
    def train_step(self, data: Any) -> dict[str, Any]:
        return dict(super().train_step(data[:2]))

    def test_step(self, data: Any) -> dict[str, Any]:
        return dict(super().test_step(data[:2]))


class OwnLoss(Subclassed):
    """Means over rows, of this model's own making."""

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        loss = super().compute_loss(x, y, y_pred, sample_weight, training)
        return loss + 0.1 * keras.ops.mean(keras.ops.square(y_pred - 0.3))

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> dict[str, Any]:
        return {**super().compute_metrics(x, y, y_pred, sample_weight), "largest": keras.ops.mean(y_pred)}


class AddsLoss(Subclassed):
    def call(self, features: dict[str, Any]) -> Any:
        hidden = self.hidden(features["a"])
        self.add_loss(0.01 * keras.ops.mean(keras.ops.square(hidden)))
        return self.head(hidden)


class TwoOptimizers(Subclassed):
    """Like a GAN: two parts, each with its optimizer, within one step."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden.build((None, 6))
        self.head.build((None, 5))
        self.second = keras.optimizers.SGD(0.05, momentum=0.9)
        self.second.build(self.head.trainable_variables)

    def train_step(self, data: Any) -> dict[str, Any]:
        x, y, weight = keras.utils.unpack_x_y_sample_weight(data)
        with tf.GradientTape(persistent=True) as tape:
            prediction = self(x, training=True)
            loss = self.compute_loss(x, y, prediction, weight)
        for optimizer, part in ((self.optimizer, self.hidden), (self.second, self.head)):
            variables = part.trainable_variables
            optimizer.apply(tape.gradient(loss, [one.value for one in variables]), variables)
        return self.compute_metrics(x, y, prediction, weight)

    def test_step(self, data: Any) -> dict[str, Any]:
        x, y, weight = keras.utils.unpack_x_y_sample_weight(data)
        prediction = self(x, training=False)
        self.compute_loss(x, y, prediction, weight)
        return {**self.compute_metrics(x, y, prediction, weight)}


BUILDERS: dict[str, Callable[[Context], keras.Model]] = {
    "dense": dense,
    "batch_norm": batch_norm,
    "synchronized_batch_norm": synchronized_batch_norm,
    "convolution": convolution,
    "attention": attention,
    "masked": masked,
    "own_loss": lambda context: _compiled(OwnLoss(), context),
    "adds_loss": lambda context: _compiled(AddsLoss(), context),
    "two_optimizers": lambda context: _compiled(TwoOptimizers(), context),
    "constrained": constrained,
    "measured": measured,
    "sum": reduced("sum"),
    "mean_of_weights": reduced("mean_with_sample_weight"),
    "scalar_loss": lambda context: plain(context, loss=mean_square, weighted_metrics=[]),
    "scalars": scalars,
    "counters": counters,
    "unreduced": unreduced,
    "by_rows": lambda context: _compiled(Unweighted(), context, loss=by_rows, weighted_metrics=[]),
    "clipvalue": optimized(clipvalue=0.001),
    "global_clipnorm": optimized(global_clipnorm=0.01),
    "accumulation": optimized(gradient_accumulation_steps=3, clipnorm=0.1),
    "ema": optimized(use_ema=True, ema_momentum=0.8),
    "ema_overwrite": optimized(use_ema=True, ema_momentum=0.8, ema_overwrite_frequency=4),
    "weight_decay": optimized(weight_decay=0.01),
    "loss_scale_factor": optimized(loss_scale_factor=8.0),
    "loss_scale": scaled,
    "bfloat16": mixed("mixed_bfloat16"),
    "float16": mixed("mixed_float16"),
    "xla": lambda context: plain(context, jit_compile=True),
    "recurrent": recurrent,
    "subclassed": lambda context: _compiled(Subclassed(), context),
    "own_step": lambda context: _compiled(OwnStep(), context),
    "guide": lambda context: _compiled(Guide(), context),
    "only_loss": lambda context: _compiled(OnlyLoss(), context),
    "eager": lambda context: _compiled(Subclassed(), context, run_eagerly=True),
    "several_steps": lambda context: _compiled(Subclassed(), context, steps_per_execution=3),
}
