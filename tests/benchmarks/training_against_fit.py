"""Compare the speed of the training loop with Keras' own fit; run by hand, prints one table.

    python tests/benchmarks/training_against_fit.py [--rounds 3] [--epochs 4] [--replicas]

Every row is paired: in each round all contestants train the same model on the same rows one after the other, in one
process. An epoch's time is a median over all epochs but the first of each training run, which holds the tracing. Ratios
are examples per second relative to fit's, so more than 1 is faster than fit; `cpu` is the same with processor time,
which a busy machine disturbs least. `--replicas` adds two logical devices and two workers, which on one machine show
what distribution costs.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MODULE = """
import keras

DEFAULT_PARAMS = {"size": "tiny", "steps_per_execution": 1}

def build_model(context):
    layers, (feature,) = keras.layers, context.schema.features
    given = keras.Input(feature.shape, name="a")
    if context.params["size"] == "cnn":
        x = given
        for filters in (16, 32):
            x = layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
            x = layers.MaxPooling2D()(layers.ReLU()(layers.BatchNormalization()(x)))
        x = layers.Flatten()(x)
    else:
        x = layers.Flatten()(given)
        for units in {"tiny": (32,), "large": (2048, 2048)}[context.params["size"]]:
            x = layers.Dense(units, activation="relu")(x)
    model = keras.Model({"a": given}, layers.Dense(10)(x))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss=loss, metrics=["accuracy"], steps_per_execution=context.params["steps_per_execution"])
    return model
"""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One row of the table."""

    size: str
    shape: tuple[int, ...]
    rows: int
    batch_size: int
    several: int  # steps in one call of the contestants that take several


CASES = (
    Case(size="tiny", shape=(64,), rows=32_768, batch_size=64, several=64),
    Case(size="cnn", shape=(24, 24, 3), rows=2_048, batch_size=32, several=16),
    Case(size="large", shape=(784,), rows=4_096, batch_size=64, several=16),
)


@dataclass(kw_only=True)
class Epochs:
    """Notes the time of each epoch but the first."""

    walls: list[float] = field(default_factory=list)
    cpus: list[float] = field(default_factory=list)
    _before: tuple[float, float] | None = None

    def note(self) -> None:
        now = (time.perf_counter(), time.process_time())
        if self._before is not None:
            self.walls.append(now[0] - self._before[0])
            self.cpus.append(now[1] - self._before[1])
        self._before = now

    def begin(self) -> None:
        self._before = None


def write_rows(folder: Path, case: Case) -> Path:
    """Random rows as a prepared dataset."""
    import numpy as np

    from trainwright_components.datasets.schema import Feature, Label, Schema
    from trainwright_components.datasets.writer import DatasetWriter

    folder.mkdir()
    schema = Schema(
        features=(Feature(name="a", kind="numeric", dtype="float32", shape=case.shape),),
        label=Label(name="digit", kind="class", dtype="int64", class_names=tuple("0123456789")),
    )
    random = np.random.default_rng(0)
    with DatasetWriter(folder, schema, shards={"train": 1}) as writer:
        a = random.normal(size=(case.rows, *case.shape)).astype("float32")
        writer.write("train", {"a": a, "digit": random.integers(10, size=case.rows)})
    return folder


def train_with_fit(module: Path, dataset: Path, case: Case, steps: int, epochs: int, times: Epochs) -> None:
    """Train with fit on arrays in memory."""
    import keras
    import numpy as np

    from trainwright_components.datasets.reader import read_split
    from trainwright_components.datasets.schema import Schema
    from trainwright_components.datasets.statistics import Statistics
    from trainwright_components.user_module.module import Context, load_module

    params = {"size": case.size, "steps_per_execution": steps}
    context = Context(params=params, schema=Schema.load(dataset), statistics=Statistics.load(dataset), dataset=dataset)
    ((features, label),) = read_split(dataset, "train").batch(case.rows).as_numpy_iterator()
    model = load_module(module).build_model(context)
    note = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: times.note())
    times.begin()
    model.fit(
        {"a": np.asarray(features["a"])}, label, batch_size=case.batch_size, epochs=epochs, callbacks=[note], verbose=0
    )


def train_with_loop(module: Path, dataset: Path, case: Case, steps: int, epochs: int, times: Epochs) -> None:
    """Train with ours in this process."""
    from trainwright_components.training.configuration.settings import TrainingSettings
    from trainwright_components.training.run import run_training
    from trainwright_components.user_module.module import load_module

    def note(_epoch: int, _metrics: Any) -> bool:
        times.note()
        return False

    settings = TrainingSettings(epochs=epochs, batch_size=case.batch_size, checkpoint_every_s=0)
    params = {"size": case.size, "steps_per_execution": steps}
    times.begin()
    with tempfile.TemporaryDirectory() as folder:
        run_training(
            load_module(module), dataset, Path(folder) / "model", params=params, settings=settings, on_epoch_end=note
        )


def examples_per_second(
    module: Path, dataset: Path, case: Case, epochs: int, cluster: dict[str, int], **more: Any
) -> float:
    """Of a training run on replicas, between its second epoch and its end."""
    from trainwright_components.train_distributed.train import train_model

    training = {"epochs": epochs, "batch_size": case.batch_size, "checkpoint_every_s": 0.0, **more}
    with tempfile.TemporaryDirectory() as folder:
        result = train_model(
            dataset, module, Path(folder) / "model", params={"size": case.size}, training=training, cluster=cluster
        )
    return result.examples_per_second


Train = Callable[[Path, Path, Case, int, int, Epochs], None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=4, help="epochs of one training; the first is not counted")
    parser.add_argument("--replicas", action="store_true")
    options = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    print("model  batch   fit ex/s   ours    cpu    fit, n steps a call   ours    cpu")
    with tempfile.TemporaryDirectory() as folder:
        module = Path(folder) / "model.py"
        module.write_text(MODULE)
        for case in CASES:
            measure(case, module, write_rows(Path(folder) / case.size, case), options)


def measure(case: Case, module: Path, dataset: Path, options: argparse.Namespace) -> None:
    """Run all contestants in turn and print their row."""
    contestants: dict[str, tuple[Train, int]] = {
        "fit": (train_with_fit, 1),
        "ours": (train_with_loop, 1),
        "fit_several": (train_with_fit, case.several),
        "ours_several": (train_with_loop, case.several),
    }
    times = {name: Epochs() for name in contestants}
    for _ in range(options.rounds):
        for name, (train, steps) in contestants.items():
            train(module, dataset, case, steps, options.epochs, times[name])
    wall = {name: statistics.median(epochs.walls) for name, epochs in times.items()}
    cpu = {name: statistics.median(epochs.cpus) for name, epochs in times.items()}
    print(
        f"{case.size:6} {case.batch_size:5} {case.rows / wall['fit']:10,.0f} {wall['fit'] / wall['ours']:6.2f} "
        f"{cpu['fit'] / cpu['ours']:6.2f}   {case.rows / wall['fit_several']:14,.0f} (n={case.several:2}) "
        f"{wall['fit_several'] / wall['ours_several']:6.2f} {cpu['fit_several'] / cpu['ours_several']:6.2f}",
        flush=True,
    )
    if options.replicas:
        mirrored = examples_per_second(module, dataset, case, options.epochs, {"chief": 1}, logical_devices=2)
        workers = examples_per_second(module, dataset, case, options.epochs, {"worker": 2})
        print(
            f"       examples/s with tracing: two logical devices {mirrored:,.0f}, two workers {workers:,.0f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
