"""Predicts a number from a row of any table: inputs, vocabularies and the label's scale come from the data."""

from typing import Any

import keras

from trainwright import Context, InvalidData, table_inputs, table_sizes

DEFAULT_PARAMS = {"units": 64, "layers": 2, "embedding": 8, "l2": 1.0, "learning_rate": 3e-3}

SEARCH_SPACE = {
    "units": {"type": "discrete", "values": [16, 32, 64, 128]},
    "layers": {"type": "integer", "min_value": 1, "max_value": 3},
    "l2": {"type": "double", "min_value": 1e-2, "max_value": 1e2, "scale_type": "UNIT_LOG_SCALE"},
    "learning_rate": {"type": "double", "min_value": 1e-4, "max_value": 1e-2, "scale_type": "UNIT_LOG_SCALE"},
}


def preprocess(features: dict[str, Any], context: Context) -> dict[str, Any]:
    """Numbers, ids of categories and weights of words; the same code runs in training and in the served model."""
    return table_inputs(features, context)


def build_model(context: Context) -> keras.Model:
    """A linear model and a small network, added, in the scale of the label."""
    params, sizes, outputs, label = context.params, table_sizes(context), 1, context.schema.label
    if label is None or label.kind != "number":
        raise InvalidData("tabular_regressor needs a label that is a number; use tabular_classifier for classes")
    if label.shape:
        raise InvalidData("tabular_regressor predicts one number; `trainwright new` writes a module for several")
    rows = context.statistics.split("train").rows
    l2 = keras.regularizers.L2(params["l2"] / rows)  # as Ridge of scikit-learn counts it
    inputs, terms, parts = {}, [], []
    if sizes.row:
        row = inputs["row"] = keras.Input((sizes.row,), name="row")
        terms.append(keras.layers.Dense(outputs, kernel_initializer="zeros", kernel_regularizer=l2)(row))
        parts.append(keras.ops.clip(row, -4, 4))  # a network learns little from the few values beyond
    if sizes.ids:
        ids = inputs["ids"] = keras.Input((sizes.ids,), name="ids", dtype="int32")
        terms.append(keras.ops.sum(keras.layers.Embedding(sizes.categories, outputs, "zeros", l2)(ids), axis=1))
        parts.append(keras.layers.Flatten()(keras.layers.Embedding(sizes.categories, params["embedding"])(ids)))
    if sizes.words:
        words = inputs["words"] = keras.Input((sizes.words,), name="words")
        terms.append(keras.layers.Dense(outputs, kernel_initializer="zeros", kernel_regularizer=l2)(words))
    if parts:
        hidden = keras.layers.concatenate(parts) if len(parts) > 1 else parts[0]
        for _ in range(params["layers"]):
            hidden = keras.layers.Dense(params["units"], activation="relu", kernel_regularizer=l2)(hidden)
        terms.append(keras.layers.Dense(outputs, kernel_initializer="zeros", kernel_regularizer=l2)(hidden))
    total = keras.layers.add(terms) if len(terms) > 1 else terms[0]
    numbers = context.statistics.split("train").column(label.name)
    scale = numbers.std or 1.0
    model = keras.Model(inputs, keras.layers.Rescaling(scale, numbers.mean, name="value")(total))
    model.compile(
        optimizer=keras.optimizers.Adam(params["learning_rate"], clipnorm=1.0),  # for labels far out
        loss="mean_squared_error",
        loss_weights=scale**-2,  # as if the label had the deviation 1, beside which l2 means the same for any label
        metrics=[keras.metrics.MeanAbsoluteError(name="mae"), keras.metrics.RootMeanSquaredError(name="rmse")],
    )
    return model
