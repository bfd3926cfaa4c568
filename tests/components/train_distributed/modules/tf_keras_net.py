"""Models of tf_keras over the small dataset; the parameter `kind` chooses one."""

from typing import Any

import tf_keras

from trainwright_components.user_module.module import Context

DEFAULT_PARAMS = {"kind": "dense"}


def build_model(context: Context) -> tf_keras.Model:
    model = BUILDERS[context.params["kind"]]()
    model.compile(
        tf_keras.optimizers.Adam(tf_keras.optimizers.schedules.ExponentialDecay(0.01, 5, 0.9), clipnorm=0.5),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
        weighted_metrics=[tf_keras.metrics.SparseCategoricalAccuracy(name="weighted")],
    )
    return model


def dense() -> tf_keras.Model:
    a = tf_keras.Input((6,), name="a")
    hidden = tf_keras.layers.Dense(8, activation="relu", kernel_regularizer=tf_keras.regularizers.L2(0.01))(a)
    return tf_keras.Model({"a": a}, tf_keras.layers.Dense(3, activation="softmax")(hidden))


def convolution() -> tf_keras.Model:
    a = tf_keras.Input((6,), name="a")
    hidden = tf_keras.layers.Conv1D(4, 3, use_bias=False)(tf_keras.layers.Reshape((6, 1))(a))
    hidden = tf_keras.layers.BatchNormalization(synchronized=True)(hidden)
    output = tf_keras.layers.Dense(3, activation="softmax")(tf_keras.layers.Flatten()(hidden))
    return tf_keras.Model({"a": a}, output)


def dropout() -> tf_keras.Model:
    a = tf_keras.Input((6,), name="a")
    hidden = tf_keras.layers.Dropout(0.3)(tf_keras.layers.Dense(16, activation="relu")(a))
    return tf_keras.Model({"a": a}, tf_keras.layers.Dense(3, activation="softmax")(hidden))


@tf_keras.saving.register_keras_serializable("tests")
class Subclassed(tf_keras.Model):
    """Makes its layers only when it is called, and its loss itself."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.lstm = tf_keras.layers.LSTM(4)
        self.out = tf_keras.layers.Dense(3, activation="softmax")

    def call(self, inputs: Any) -> Any:
        return self.out(self.lstm(inputs["a"][:, :, None]))


BUILDERS = {"dense": dense, "convolution": convolution, "dropout": dropout, "subclassed": Subclassed}
