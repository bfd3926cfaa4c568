"""A model whose data, callback or `build_model` does not return."""

import contextlib
import ctypes
import multiprocessing
import os
import time
from pathlib import Path

import keras
import tensorflow as tf

DEFAULT_PARAMS = {"how": "sleep", "where": "callback"}


def sleep():
    time.sleep(10**6)


def hold_the_lock():
    while True:
        ctypes.PyDLL(None).sleep(10**6)  # as an extension in C that does not give Python's lock away


def swallow():
    while True:
        with contextlib.suppress(BaseException):
            sleep()


def end_a_pool():
    with multiprocessing.get_context("fork").Pool(2):
        pass  # which sends SIGTERM to its processes


def slow_step():
    time.sleep(1.5)


def note_reached():
    (Path(os.environ["FOLDER"]) / "reached").touch()


def hang(context, where):
    how = context.params["how"]
    if context.params["where"] == where:
        if how != "end_a_pool":
            note_reached()
        globals()[how]()


def make_dataset(split, context):
    def rows():
        for number in range(60):
            if number == 50:
                hang(context, split)
            yield {"x": [float(number)] * 4}, number % 3

    spec = ({"x": tf.TensorSpec((4,))}, tf.TensorSpec((), tf.int64))
    return tf.data.Dataset.from_generator(rows, output_signature=spec).apply(
        tf.data.experimental.assert_cardinality(60)
    )


def build_model(context):
    hang(context, "build")
    x = keras.Input((4,), name="x")
    model = keras.Model({"x": x}, keras.layers.Dense(3, activation="softmax")(x))
    model.compile("sgd", "sparse_categorical_crossentropy")
    return model


def callbacks(context):
    class Hang(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 3:
                if context.params["how"] == "end_a_pool":  # long ago: the training run continues after it
                    note_reached()
                hang(context, "callback")

    return [Hang()]
