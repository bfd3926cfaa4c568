"""A model whose gradients do not depend on its weights, and which counts: any order of steps gives the same."""

import json
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import keras
import psutil

from trainwright_components.user_module.module import Context

DEFAULT_PARAMS = {"victims": "", "step": 0, "signal": int(signal.SIGKILL), "marker": "", "compiled_with": "", "own": ""}
COMPILED_WITH: dict[str, Any] = {
    "run_eagerly": {"run_eagerly": True},
    "jit_compile": {"jit_compile": True},
}


def preprocess(features: dict[str, Any], context: Context) -> dict[str, Any]:
    return {"a": features["a"]}


class CountRows(keras.layers.Layer):
    """Adds the rows of each training batch to a variable that no gradient reaches."""

    def build(self, shape: Any) -> None:
        self.seen = self.add_weight(shape=(), initializer="zeros", trainable=False, name="seen")

    def call(self, a: Any, training: bool = False) -> Any:
        if training:
            self.seen.assign_add(keras.ops.cast(keras.ops.shape(a)[0], "float32"))
        return a


class Rows(keras.metrics.Metric):
    """How many rows there were, or the sum of their weights."""

    def __init__(self, name: str = "rows", **options: Any) -> None:
        super().__init__(name=name, **options)
        self.total = self.add_variable((), "zeros", name="total")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        rows = keras.ops.ones(keras.ops.shape(y_pred)[:1])
        self.total.assign_add(keras.ops.sum(rows if sample_weight is None else keras.ops.reshape(sample_weight, (-1,))))

    def result(self) -> Any:
        return self.total.value


class Largest(Rows):
    """The largest prediction, which is not a sum over batches."""

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        self.total.assign(keras.ops.maximum(self.total, keras.ops.max(y_pred) + 5.0))


class OwnStep(keras.Model):
    """A train_step of its own, with a log of its own."""

    def train_step(self, data: Any) -> dict[str, Any]:
        return {**super().train_step(data), "answer": keras.ops.convert_to_tensor(42.0)}


class DiesAtSecondScore(keras.Model):
    """Ends its process when its metrics begin anew for the second time, once."""

    resets = 0
    marker = Path()

    def reset_metrics(self) -> None:
        super().reset_metrics()
        self.resets += 1
        if self.resets == 2 and not self.marker.exists():
            self.marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)


def slope(kind: Any, prediction: Any) -> Any:
    return prediction[:, 0] * (keras.ops.cast(keras.ops.reshape(kind, (-1,)), "float32") - 0.7)


def distance(kind: Any, prediction: Any) -> Any:
    return keras.ops.square(prediction[:, 0] - keras.ops.cast(keras.ops.reshape(kind, (-1,)), "float32"))


def build_model(context: Context) -> keras.Model:
    name = context.params["compiled_with"]
    a = keras.Input((6,), name="a")
    DiesAtSecondScore.marker = Path(context.params["marker"])
    kind: Any = OwnStep if context.params["own"] == "step" else keras.Model
    if context.role == "evaluator" and context.params["victims"] == "evaluator-0":
        kind = DiesAtSecondScore
    model = kind({"a": a}, keras.layers.Dense(3)(CountRows()(a)))
    optimizer: Any = keras.optimizers.SGD(
        0.05, gradient_accumulation_steps=2 if name == "gradient_accumulation_steps" else None
    )
    if name == "loss scaling":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    model.compile(
        optimizer=optimizer,
        loss=slope,
        metrics=[
            Largest("largest") if context.params["own"] == "metric" else Rows(),
            keras.metrics.MeanMetricWrapper(distance, name="mean_squared_error"),
        ],
        weighted_metrics=[Rows("weights")],
        **COMPILED_WITH.get(name, {}),
    )
    return model


class Strike(keras.callbacks.Callback):
    """Sends a signal to members, or processes by number, while a step of a given number is under way, once."""

    def __init__(self, context: Context) -> None:
        super().__init__()
        self.context = context

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        threading.Thread(target=self._strike, daemon=True).start()

    def _strike(self) -> None:
        params = self.context.params
        while int(self.model.optimizer.iterations.numpy()) < params["step"]:
            time.sleep(0.002)
        try:
            Path(params["marker"]).touch(exist_ok=False)
        except FileExistsError:
            return
        for victim in params["victims"].split(","):
            os.kill(_process_at(victim), params["signal"])


def _process_at(member: str) -> int:
    if member.isdecimal():
        return int(member)
    role, _, index = member.partition("-")
    if role == "chief":
        return os.getpid()
    port = int(json.loads(os.environ["TF_CONFIG"])["cluster"][role][int(index)].rpartition(":")[2])
    listening = [one for one in psutil.net_connections("tcp") if one.status == "LISTEN" and one.laddr.port == port]
    pid = listening[0].pid
    assert pid is not None
    return pid


def callbacks(context: Context) -> list[keras.callbacks.Callback]:
    return [Strike(context)] if context.params["victims"] and context.params["step"] else []
