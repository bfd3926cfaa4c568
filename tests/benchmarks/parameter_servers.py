"""How fast parameter servers train, beside one process and Keras' fit: python tests/benchmarks/parameter_servers.py.

Prints examples per second of the epochs after the first, which compiles; the median over rounds in which all ways take
turns, and its ratio to fit's. On one machine several processes share the cores: this measures what the way costs.
"""

import json
import statistics
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from trainwright_components.datasets.schema import Feature, Label, Schema
from trainwright_components.datasets.writer import DatasetWriter
from trainwright_components.train_distributed.train import train_model

ROWS, EPOCHS, BATCH_SIZE, ROUNDS = 8192, 5, 64, 3
SIZES = {"dense 64": "mlp(64)", "dense 512": "mlp(512)", "convolution": "convolution()"}
MODULE = textwrap.dedent(
    """
    import json, time
    import keras

    DEFAULT_PARAMS = {"size": "", "times": ""}

    def mlp(units):
        return [keras.layers.Flatten(), *[keras.layers.Dense(units, activation="relu") for _ in range(2)]]

    def convolution():
        layers = [keras.layers.Conv2D(16, 3, activation="relu"), keras.layers.Conv2D(32, 3, activation="relu")]
        return [keras.layers.Reshape((16, 16, 1)), *layers, keras.layers.Flatten()]

    def preprocess(features, context):
        return features["a"]

    def model_of(size, steps_per_execution=1):
        model = keras.Sequential([keras.Input((16, 16)), *eval(size), keras.layers.Dense(10)])
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile("adam", loss, metrics=["accuracy"], steps_per_execution=steps_per_execution)
        return model

    def build_model(context):
        return model_of(context.params["size"])

    class Times(keras.callbacks.Callback):
        def __init__(self, path):
            super().__init__()
            self.path, self.times = path, []

        def on_epoch_end(self, epoch, logs=None):
            self.times.append(time.monotonic())
            with open(self.path, "w") as file:
                json.dump(self.times, file)

    def callbacks(context):
        return [Times(context.params["times"])]
    """
)


def write_dataset(folder: Path) -> tuple[Path, Any, Any]:
    random = np.random.default_rng(0)
    images = random.normal(size=(ROWS, 16, 16)).astype("float32")
    labels = random.integers(0, 10, ROWS)
    schema = Schema(
        features=(Feature(name="a", kind="numeric", dtype="float32", shape=(16, 16)),),
        label=Label(name="y", kind="class", dtype="int64", class_names=tuple("0123456789")),
    )
    dataset = folder / "dataset"
    dataset.mkdir()
    with DatasetWriter(dataset, schema, shards={"train": 1}) as writer:
        writer.write("train", {"a": images, "y": labels})
    return dataset, images, labels


def speed(times: list[float]) -> float:
    """Examples per second, of the epochs after the first."""
    return ROWS * (len(times) - 1) / (times[-1] - times[0])


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        dataset, images, labels = write_dataset(folder)
        module = folder / "sizes.py"
        module.write_text(MODULE)
        sys.path.insert(0, name)
        import sizes  # type: ignore[import-not-found]  # written above

        def fit(size: str) -> float:
            keras.utils.set_random_seed(0)
            watch = sizes.Times(str(folder / "times"))
            model = sizes.model_of(size, steps_per_execution=32)
            model.fit(images, labels, batch_size=BATCH_SIZE, epochs=EPOCHS, callbacks=[watch], verbose=0)
            return speed(watch.times)

        def ours(cluster: dict[str, int]) -> Callable[[str], float]:
            def train(size: str) -> float:
                times = folder / "times"
                train_model(
                    dataset,
                    module,
                    folder / f"model-{time.monotonic_ns()}",
                    params={"size": size, "times": str(times)},
                    training={"epochs": EPOCHS, "batch_size": BATCH_SIZE, "checkpoint_every_s": 0},
                    cluster=cluster,
                )
                return speed(json.loads(times.read_text()))

            return train

        ways = {
            "fit": fit,
            "one process": ours({}),
            "1 worker, 1 ps": ours({"worker": 1, "ps": 1}),
            "2 workers, 1 ps": ours({"worker": 2, "ps": 1}),
        }
        print(f"{'model':12} {'way':16} {'examples/s':>12} {'to fit':>7}")
        for title, size in SIZES.items():
            rounds = [{way: run(size) for way, run in ways.items()} for _ in range(ROUNDS)]
            for way in ways:
                rate = statistics.median(one[way] for one in rounds)
                ratio = statistics.median(one[way] / one["fit"] for one in rounds)
                print(f"{title:12} {way:16} {rate:12,.0f} {ratio:7.2f}", flush=True)


if __name__ == "__main__":
    main()
