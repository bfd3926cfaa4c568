"""Run by a fresh process: place layers, run one step, and write down where TensorFlow had what."""

import json
import os
from collections import defaultdict
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python.eager import context

from trainwright_components.training.strategies.placement import LayerPlacement

PLACEMENT = {"lstm": "CPU:2", "first": "CPU:1", "lazy": "CPU:1"}


@keras.saving.register_keras_serializable()
class Lazy(keras.layers.Layer):
    """Builds the layer within when it is called first."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.inner = keras.layers.Dense(4, activation="relu", name="inner")

    def call(self, x: Any) -> Any:
        return self.inner(x)


def build() -> keras.Model:
    a = keras.Input((4, 6))
    x = keras.layers.Dense(5, activation="relu", name="first")(keras.layers.LSTM(5, name="lstm")(a))
    model = keras.Model(a, keras.layers.Dense(2, name="last")(Lazy(name="lazy")(x)))
    model.compile(keras.optimizers.Adam(), "mse", metrics=["mae"])
    return model


def devices_of(variables: Any) -> list[str]:
    return sorted({variable.value.device[-5:] for variable in variables})


def devices_of_products(model: keras.Model) -> dict[str, list[str]]:
    """Where the matrices of each layer are multiplied, forwards and backwards, in the graphs that ran."""
    step = tf.function(lambda x, y: model.train_step((x, y)), autograph=False)
    context.enable_run_metadata()
    step(tf.zeros((3, 4, 6)), tf.zeros((3, 2)))
    found = defaultdict(set)
    for graph in context.export_run_metadata().partition_graphs:
        for node in graph.node:
            (layer,) = [name for name in ("lstm", "first", "lazy", "last") if name in node.name] or [""]
            if "MatMul" in node.op:
                found[f"{layer} {'backward' if 'gradient_tape' in node.name else 'forward'}"].add(node.device[-5:])
    return {name: sorted(devices) for name, devices in found.items()}


cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 3)
placement = LayerPlacement(devices=PLACEMENT)
with placement.variables():
    model = build()
    model(np.zeros((1, 4, 6)))
placement.apply(model)
model._symbolic_build(data_batch=(keras.KerasTensor((None, 4, 6)), keras.KerasTensor((None, 2))))
layers = {layer.name: devices_of(layer.weights) for layer in model.layers if layer.weights}
slots = [variable for variable in model.optimizer.variables if "lstm" in variable.path]
result = {"variables": {**layers, "slots of lstm": devices_of(slots)}, "products": devices_of_products(model)}
Path(os.environ["RESULT"]).write_text(json.dumps(result))
