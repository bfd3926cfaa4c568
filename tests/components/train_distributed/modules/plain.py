"""A model whose only state is its weights, with layers by name; parameters add what some strategies refuse."""

from typing import Any

import keras

from trainwright_components.user_module.module import Context

DEFAULT_PARAMS = {"dropout": 0.0, "keras_distribution": False, "eager": False}


def preprocess(features: dict[str, Any], context: Context) -> dict[str, Any]:
    return {"a": features["a"]}


def build_model(context: Context) -> keras.Model:
    if context.params["keras_distribution"]:
        keras.distribution.set_distribution(keras.distribution.DataParallel(devices=["cpu:0"]))
    a = keras.Input((6,), name="a")
    regularizer = keras.regularizers.L2(0.01)
    hidden = keras.layers.Dense(8, activation="relu", kernel_regularizer=regularizer, name="first")(a)
    hidden = keras.layers.Dense(8, activation="tanh", name="second")(hidden)
    if context.params["dropout"]:
        hidden = keras.layers.Dropout(context.params["dropout"], name="drop")(hidden)
    model = keras.Model({"a": a}, keras.layers.Dense(3, activation="softmax", name="last")(hidden))
    model.compile(
        optimizer=keras.optimizers.Adam(0.01, clipnorm=0.5),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
        run_eagerly=context.params["eager"],
    )
    return model
