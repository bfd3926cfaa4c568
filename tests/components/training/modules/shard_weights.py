"""Run by a fresh process: cut weights over devices, and write down the parts that each device has."""

import json
import os
from pathlib import Path

import keras
import tensorflow as tf
from tensorflow.experimental import dtensor

from trainwright_components.training.drivers.sharding import VariableSharding

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
sharding = VariableSharding(devices=["CPU:0", "CPU:1"], axes={"first/kernel": 1, "l*/kernel": 0})
with sharding.variables():
    model = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(6, name="first"), keras.layers.Dense(2, name="last")]
    )
    model.compile(keras.optimizers.Adam(), "mse")
    model._symbolic_build(data_batch=(keras.KerasTensor((None, 4)), keras.KerasTensor((None, 2))))
parts = {}
for variable in [*model.variables, *model.optimizer.variables]:
    on_devices = dtensor.unpack(variable.value.read_value())
    parts[variable.path.removeprefix("sequential/")] = [[part.device[-5:], list(part.shape)] for part in on_devices]
Path(os.environ["RESULT"]).write_text(json.dumps(parts))
