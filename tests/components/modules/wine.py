"""A tabular classifier: strings and missing values handled in `preprocess`, logits out, one custom layer."""

import keras
import tensorflow as tf

DEFAULT_PARAMS = {"units": 16}


class Scale(keras.layers.Layer):
    """A layer that plain TensorFlow does not know."""

    def build(self, input_shape):
        self.factor = self.add_weight(shape=(input_shape[-1],), initializer="ones", name="factor")

    def call(self, inputs):
        return inputs * self.factor


def preprocess(features, context):
    statistics = context.statistics.split("train")
    numbers = []
    for feature in context.schema.features:
        if feature.kind != "numeric":
            continue
        column = statistics.column(feature.name)
        value = (tf.cast(features[feature.name], tf.float32) - column.mean) / column.std
        numbers.append(tf.where(tf.math.is_nan(value), 0.0, value))
    lookup = keras.layers.StringLookup(vocabulary=list(context.schema.feature("strength").vocabulary))
    return {"numbers": tf.stack(numbers, axis=-1), "strength": lookup(features["strength"])}


def build_model(context):
    numeric = [feature for feature in context.schema.features if feature.kind == "numeric"]
    values = len(context.schema.feature("strength").vocabulary) + 1
    numbers = keras.Input((len(numeric),), name="numbers")
    strength = keras.Input((), dtype="int64", name="strength")
    x = keras.layers.Concatenate()([Scale()(numbers), keras.layers.Embedding(values, 2)(strength)])
    x = keras.layers.Dense(context.params["units"], activation="relu")(x)
    model = keras.Model(
        {"numbers": numbers, "strength": strength}, keras.layers.Dense(len(context.schema.class_names))(x)
    )
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    return model
