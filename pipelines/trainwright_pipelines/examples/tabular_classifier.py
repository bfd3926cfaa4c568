"""Predicts the class, or several labels, of a row of any table: inputs, vocabularies and names come from the data."""

from typing import Any

import keras

from trainwright import Context, InvalidData, table_inputs, table_sizes

DEFAULT_PARAMS = {"units": 64, "layers": 2, "embedding": 8, "dropout": 0.2, "l2": 1.0, "learning_rate": 3e-3}

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
    """A linear model and a small network, added: the first is hard to beat on few rows, the second on many.

    Both begin with nothing, so that a few rows move the network no further than they ask for.
    """
    params, sizes, label = context.params, table_sizes(context), context.schema.label
    if label is None or label.kind == "number":
        raise InvalidData("tabular_classifier needs a label with classes; use tabular_regressor for numbers")
    rows, outputs = context.statistics.split("train").rows, len(context.schema.value_names)
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
            hidden = keras.layers.Dropout(params["dropout"], seed=context.seed)(hidden)
        terms.append(keras.layers.Dense(outputs, kernel_initializer="zeros", kernel_regularizer=l2)(hidden))
    total = keras.layers.add(terms) if len(terms) > 1 else terms[0]
    if label.kind == "multilabel":
        model = keras.Model(inputs, keras.layers.Activation("sigmoid", name="probabilities")(total))
        auc = keras.metrics.AUC(multi_label=True, num_labels=outputs, name="auc")
        model.compile(keras.optimizers.Adam(params["learning_rate"]), loss="binary_crossentropy", metrics=[auc])
        return model
    model = keras.Model(inputs, keras.layers.Softmax(name="probabilities")(total))
    model.compile(
        optimizer=keras.optimizers.Adam(params["learning_rate"]),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model
