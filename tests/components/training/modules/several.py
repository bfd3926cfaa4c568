"""Two inputs, two outputs, and a dataset of its own that gives each output its label."""

from typing import Any

import keras
import tensorflow as tf

from trainwright_components.datasets.reader import read_split
from trainwright_components.user_module.module import Context


def make_dataset(split: str, context: Context) -> tf.data.Dataset:
    return read_split(context.dataset, split).map(lambda x, y, weight: (x, {"kind": y, "again": y}, weight))


def preprocess(features: dict[str, Any], context: Context) -> dict[str, Any]:
    return {"a": features["a"], "b": features["b"][:, None]}


def build_model(context: Context) -> keras.Model:
    a, b = keras.Input((6,), name="a"), keras.Input((1,), name="b")
    hidden = keras.layers.Dense(6, activation="tanh")(keras.layers.Concatenate()([a, b]))
    outputs = {
        "kind": keras.layers.Dense(3, activation="softmax", name="kind")(hidden),
        "again": keras.layers.Dense(3, name="again")(hidden),
    }
    model = keras.Model({"a": a, "b": b}, outputs)
    model.compile(
        optimizer="adam",
        loss={
            "kind": "sparse_categorical_crossentropy",
            "again": keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        },
        loss_weights={"kind": 1.0, "again": 0.3},
        metrics={"kind": ["accuracy"]},
    )
    return model
