"""Predicts a number from a row of any table: inputs, vocabularies and the label's scale come from the data."""

from typing import Any

import keras

from trainwright import Context, InvalidData, features_as_row, row_width

DEFAULT_PARAMS = {"units": 32, "layers": 1, "l2": 1e-2, "learning_rate": 3e-3}

SEARCH_SPACE = {
    "units": {"type": "discrete", "values": [16, 32, 64, 128]},
    "layers": {"type": "integer", "min_value": 1, "max_value": 3},
    "l2": {"type": "double", "min_value": 1e-5, "max_value": 1e-1, "scale_type": "UNIT_LOG_SCALE"},
    "learning_rate": {"type": "double", "min_value": 1e-4, "max_value": 1e-2, "scale_type": "UNIT_LOG_SCALE"},
}


def preprocess(features: dict[str, Any], context: Context) -> dict[str, Any]:
    """One row of numbers; the same code runs in training and in the served model."""
    return {"row": features_as_row(features, context)}


def build_model(context: Context) -> keras.Model:
    """Dense layers whose output is brought to the scale of the label."""
    params, label = context.params, context.schema.label
    if label is None or label.kind != "number":
        raise InvalidData("tabular_regressor needs a label that is a number; use tabular_classifier for classes")
    numbers = context.statistics.split("train").column(label.name)
    row = keras.Input(shape=(row_width(context),), name="row")
    hidden = row
    for _ in range(params["layers"]):
        regularizer = keras.regularizers.L2(params["l2"])
        hidden = keras.layers.Dense(params["units"], activation="relu", kernel_regularizer=regularizer)(hidden)
    scaled = keras.layers.Dense(1)(hidden)
    value = keras.layers.Rescaling(scale=numbers.std or 1.0, offset=numbers.mean or 0.0, name="value")(scaled)
    model = keras.Model({"row": row}, value)
    model.compile(
        optimizer=keras.optimizers.Adam(params["learning_rate"]),
        loss="mean_squared_error",
        metrics=[keras.metrics.MeanAbsoluteError(name="mae"), keras.metrics.RootMeanSquaredError(name="rmse")],
    )
    return model
