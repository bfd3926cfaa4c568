"""Predicts the class of a row of any table: inputs, vocabularies and classes come from the data."""

from typing import Any

import keras

from trainwright import Context, InvalidData, features_as_row, row_width

DEFAULT_PARAMS = {"units": 64, "layers": 2, "dropout": 0.1, "learning_rate": 3e-3}

SEARCH_SPACE = {
    "units": {"type": "discrete", "values": [16, 32, 64, 128]},
    "layers": {"type": "integer", "min_value": 1, "max_value": 3},
    "dropout": {"type": "double", "min_value": 0.0, "max_value": 0.5},
    "learning_rate": {"type": "double", "min_value": 1e-4, "max_value": 1e-2, "scale_type": "UNIT_LOG_SCALE"},
}


def preprocess(features: dict[str, Any], context: Context) -> dict[str, Any]:
    """One row of numbers; the same code runs in training and in the served model."""
    return {"row": features_as_row(features, context)}


def build_model(context: Context) -> keras.Model:
    """Dense layers and one output per class."""
    params = context.params
    if not context.schema.class_names:
        raise InvalidData("tabular_classifier needs a label with classes; use tabular_regressor for numbers")
    row = keras.Input(shape=(row_width(context),), name="row")
    hidden = row
    for _ in range(params["layers"]):
        hidden = keras.layers.Dense(params["units"], activation="relu")(hidden)
        hidden = keras.layers.Dropout(params["dropout"])(hidden)
    classes = keras.layers.Dense(len(context.schema.class_names), activation="softmax", name="probabilities")(hidden)
    model = keras.Model({"row": row}, classes)
    model.compile(
        optimizer=keras.optimizers.Adam(params["learning_rate"]),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model
