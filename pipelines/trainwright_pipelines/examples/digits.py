"""Handwritten digits: a small convolutional network over 8x8 grey images."""

from typing import Any

import keras

from trainwright import Context, InvalidData

DEFAULT_PARAMS = {"filters": 32, "units": 64, "dropout": 0.2, "learning_rate": 3e-3}

SEARCH_SPACE = {
    "filters": {"type": "discrete", "values": [16, 32, 64]},
    "units": {"type": "integer", "min_value": 32, "max_value": 128},
    "dropout": {"type": "double", "min_value": 0.0, "max_value": 0.5},
    "learning_rate": {"type": "double", "min_value": 5e-4, "max_value": 1e-2, "scale_type": "UNIT_LOG_SCALE"},
}

DARKEST = 16.0  # scikit-learn's digits count ink from 0 to 16


def preprocess(features: dict[str, Any], context: Context) -> dict[str, Any]:
    """Grey values in [0, 1] with a channel axis."""
    (name,) = (feature.name for feature in context.schema.features)
    return {"image": keras.ops.cast(features[name], "float32")[..., None] / DARKEST}


def build_model(context: Context) -> keras.Model:
    """Two strided convolutions and one hidden layer."""
    params = context.params
    feature, *others = context.schema.features
    if others or len(feature.shape) != 2:
        raise InvalidData("digits takes one column of grey images; for a table say module=tabular_classifier")
    image = keras.Input(shape=(*feature.shape, 1), name="image")
    x = keras.layers.Conv2D(params["filters"], 3, padding="same", activation="relu")(image)
    x = keras.layers.Conv2D(params["filters"], 3, strides=2, padding="same", activation="relu")(x)
    x = keras.layers.Flatten()(x)
    x = keras.layers.Dense(params["units"], activation="relu")(x)
    x = keras.layers.Dropout(params["dropout"])(x)
    output = keras.layers.Dense(len(context.schema.class_names), activation="softmax", name="digit")(x)
    model = keras.Model({"image": image}, output)
    model.compile(
        optimizer=keras.optimizers.Adam(params["learning_rate"]),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model
