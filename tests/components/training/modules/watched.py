"""A dense model with Keras' own callbacks; the parameter `folder` says where they write."""

from pathlib import Path
from typing import Any

import keras

from trainwright_components.user_module.module import Context

DEFAULT_PARAMS = {"folder": ""}


def preprocess(features: dict[str, Any], context: Context) -> dict[str, Any]:
    return {"a": features["a"]}


def build_model(context: Context) -> keras.Model:
    a = keras.Input((6,), name="a")
    output = keras.layers.Dense(3, activation="softmax")(keras.layers.Dense(6, activation="tanh")(a))
    model = keras.Model({"a": a}, output)
    optimizer = keras.optimizers.Adam(0.05, use_ema=True, ema_momentum=0.9)
    model.compile(optimizer, loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def callbacks(context: Context) -> list[keras.callbacks.Callback]:
    folder = Path(context.params["folder"])
    folder.mkdir(exist_ok=True)
    seen = folder / "batches.txt"

    def note(batch: int, logs: dict[str, float]) -> None:
        with seen.open("a") as file:
            file.write(f"{batch} {logs['loss']:.4f}\n")

    return [
        keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate * 0.9),
        keras.callbacks.ReduceLROnPlateau("val_loss", factor=0.5, patience=0, min_delta=0.05),
        keras.callbacks.SwapEMAWeights(),
        keras.callbacks.ModelCheckpoint(str(folder / "best.weights.h5"), save_best_only=True, save_weights_only=True),
        keras.callbacks.CSVLogger(str(folder / "log.csv")),
        keras.callbacks.TensorBoard(str(folder / "tensorboard")),
        keras.callbacks.TerminateOnNaN(),
        keras.callbacks.LambdaCallback(on_train_batch_end=note),
        keras.callbacks.EarlyStopping("val_loss", patience=1, min_delta=0.02, restore_best_weights=True),
    ]
