"""A small model, and a callback that injects a fault into its training run on request."""

import os
import resource
import signal
import threading
from pathlib import Path
from typing import Any

import keras

from trainwright_components.user_module.module import Context

DEFAULT_PARAMS = {
    "member": "",
    "step": 0,
    "signal": 0,
    "pid": 0,
    "marker": "",
    "error": False,
    "file_limit": 0,
    "nan_above": 1.0,
    "nan_from": 0,
}


def preprocess(features: dict[str, Any], context: Context) -> dict[str, Any]:
    return {"a": features["a"]}


class Fragile(keras.Model):
    """Its loss is not a number from a step on, while the learning rate is above a limit."""

    def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
        optimizer = self.optimizer
        is_bad = (optimizer.iterations >= self.nan_from) & (optimizer.learning_rate > self.nan_above)
        return super().compute_loss(*args, **kwargs) * keras.ops.where(is_bad, float("nan"), 1.0)


def build_model(context: Context) -> keras.Model:
    a = keras.Input((6,), name="a")
    hidden = keras.layers.Dense(8, activation="relu", kernel_regularizer=keras.regularizers.L2(0.01))(a)
    hidden = keras.layers.BatchNormalization(synchronized=True)(hidden)
    kind = Fragile if context.params["nan_from"] else keras.Model
    model = kind({"a": a}, keras.layers.Dense(3, activation="softmax")(hidden))
    model.nan_from, model.nan_above = context.params["nan_from"], context.params["nan_above"]
    model.compile(
        optimizer=keras.optimizers.Adam(0.01, clipnorm=0.5),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
        weighted_metrics=[keras.metrics.SparseCategoricalAccuracy(name="weighted")],
    )
    return model


class InjectFault(keras.callbacks.Callback):
    def __init__(self, context: Context) -> None:
        super().__init__()
        self.context = context

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        params = self.context.params
        if int(self.model.optimizer.iterations.numpy()) != params["step"]:
            return
        if params["marker"]:  # of what happens but once
            try:
                Path(params["marker"]).touch(exist_ok=False)
            except FileExistsError:
                return
        if params["file_limit"]:
            hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
            resource.setrlimit(resource.RLIMIT_FSIZE, (params["file_limit"], hard))
            return
        if params["error"]:
            raise RuntimeError("wrong on purpose")
        if params["pid"]:
            ask_to_end(params["pid"])
        else:
            os.kill(os.getpid(), params["signal"] or signal.SIGKILL)


def ask_to_end(pid: int) -> None:
    """Send SIGTERM to another process, and make no further step until it asks this one to end as well."""
    answer, is_asked = signal.getsignal(signal.SIGTERM), threading.Event()

    def note(number: int, frame: Any) -> None:
        is_asked.set()
        assert callable(answer)
        answer(number, frame)

    signal.signal(signal.SIGTERM, note)
    os.kill(pid, signal.SIGTERM)
    assert is_asked.wait(600)


def callbacks(context: Context) -> list[keras.callbacks.Callback]:
    member = f"{context.role}-{context.role_index}"
    return [InjectFault(context)] if member == context.params["member"] else []
