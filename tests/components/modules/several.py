"""Several labels, by logits, or several targets, of rows of numbers."""

from typing import Any

import keras
import tensorflow as tf

from trainwright_components.user_module.module import Context


def preprocess(features: dict[str, Any], context: Context) -> dict[str, Any]:
    train = context.statistics.split("train")
    columns = [
        (features[name] - train.column(name).mean) / train.column(name).std for name in context.schema.feature_names
    ]
    return {"row": tf.stack(columns, axis=1)}


def build_model(context: Context) -> keras.Model:
    row = keras.Input(shape=(len(context.schema.feature_names),), name="row")
    names = context.schema.value_names
    outputs = keras.layers.Dense(len(names))(row)
    is_multilabel = context.schema.label is not None and context.schema.label.kind == "multilabel"
    if not is_multilabel:
        columns = [context.statistics.split("train").column(name) for name in names]
        scale, offset = [each.std for each in columns], [each.mean for each in columns]
        outputs = keras.layers.Rescaling(scale=scale, offset=offset)(outputs)
    model = keras.Model({"row": row}, outputs)
    loss = keras.losses.BinaryCrossentropy(from_logits=True) if is_multilabel else keras.losses.MeanAbsoluteError()
    model.compile(optimizer=keras.optimizers.Adam(0.05), loss=loss)
    return model
