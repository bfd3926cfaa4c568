"""Measure the model that `trainwright new` writes for a table; run by hand, prints two tables.

    python tests/benchmarks/tables.py [--columns 10,100,1000] [--rows 32768] [--rounds 3] [--epochs 4] [--steps 1,16]

First, per number of columns (a fifth are categories): seconds to trace `preprocess`, beside the same done column by
column, and to export the trained model; the contestants trace in turn. Second, examples per second of our training on a
prepared dataset of 20 columns, relative to Keras' own fit of the same network on arrays that were preprocessed before
and are in memory, with as many steps in one call into TensorFlow on both sides; more than 1 is faster. Figures are
medians, of epochs without the first, which holds the tracing; `cpu` is the ratio by processor time, which a busy
machine disturbs least.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

CATEGORIES = ("blue", "green", "red")
FIT_COLUMNS, BATCH_SIZE = 20, 64
EXPORT_ROWS = 500


def write_rows(folder: Path, columns: int, rows: int) -> Path:
    """Random rows as a prepared dataset."""
    from trainwright_components.datasets.schema import Feature, Label, Schema
    from trainwright_components.datasets.writer import DatasetWriter

    categorical = [f"c{number}" for number in range(columns // 5)]
    numeric = [f"n{number}" for number in range(columns - len(categorical))]
    features = [Feature(name=name, kind="numeric", dtype="float32") for name in numeric]
    features += [Feature(name=name, kind="categorical", dtype="string", vocabulary=CATEGORIES) for name in categorical]
    schema = Schema(
        features=tuple(features), label=Label(name="y", kind="class", dtype="int64", class_names=("no", "yes"))
    )
    folder.mkdir()
    random = np.random.default_rng(0)
    splits = {"train": rows, "validation": 100, "test": 100}
    with DatasetWriter(folder, schema, shards=dict.fromkeys(splits, 1)) as writer:
        for split, count in splits.items():
            values: dict[str, Any] = {name: random.normal(size=count).astype("float32") for name in numeric}
            values |= {name: random.choice(np.array(CATEGORIES, object), count) for name in categorical}
            writer.write(split, {**values, "y": random.integers(2, size=count)})
    return folder


def write_module(folder: Path, dataset: Path) -> Path:
    """What `trainwright new` writes for these rows."""
    from trainwright_components.datasets.schema import Schema
    from trainwright_pipelines.scaffold.project import write_table_project

    return write_table_project(folder, source="rows.csv", schema=Schema.load(dataset)).folder / "model.py"


def make_context(module: Path, dataset: Path) -> Any:
    """What the module's functions are given."""
    from trainwright_components.datasets.schema import Schema
    from trainwright_components.datasets.statistics import Statistics
    from trainwright_components.user_module.module import Context, load_module

    params = load_module(module).default_params
    return Context(params=params, schema=Schema.load(dataset), statistics=Statistics.load(dataset), dataset=dataset)


def by_column(features: Any, context: Any) -> Any:
    """The same row, made one column after the other."""
    import tensorflow as tf

    parts = []
    for feature in context.schema.features:
        values, train = features[feature.name], context.statistics.split("train").column(feature.name)
        if feature.vocabulary:
            parts.append(tf.cast(values[:, None] == tf.constant(feature.vocabulary)[None, :], tf.float32))
        else:
            scaled = (values - train.mean) / train.std
            parts.append(tf.where(tf.math.is_nan(scaled), 0.0, scaled)[:, None])
    return tf.concat(parts, axis=1)


def trace(function: Callable[[Any], Any], context: Any) -> float:
    """Seconds."""
    import tensorflow as tf

    specs = {each.name: tf.TensorSpec([None], each.dtype) for each in context.schema.features}
    begin = time.perf_counter()
    tf.function(function, autograph=False).get_concrete_function(specs)
    return time.perf_counter() - begin


def train(module: Path, dataset: Path, output: Path, *, epochs: int, steps: int, note: Callable[[], None]) -> None:
    """Train with ours in this process."""
    from trainwright_components.training.configuration.settings import TrainingSettings
    from trainwright_components.training.run import run_training
    from trainwright_components.user_module.module import load_module

    def on_epoch_end(_epoch: int, _metrics: Any) -> bool:
        note()
        return False

    settings = TrainingSettings(epochs=epochs, batch_size=BATCH_SIZE, checkpoint_every_s=0, steps_per_call=steps)
    run_training(load_module(module), dataset, output, settings=settings, on_epoch_end=on_epoch_end)


def fit(module: Path, dataset: Path, *, epochs: int, steps: int, note: Callable[[], None]) -> None:
    """Train the same network with Keras' fit, on the same rows as arrays."""
    import keras

    from trainwright_components.datasets.reader import read_split
    from trainwright_components.user_module.module import load_module

    context, loaded = make_context(module, dataset), load_module(module)
    (rows,), (validation,) = (list(read_split(dataset, split).batch(1_000_000)) for split in ("train", "validation"))
    inputs, given = (
        {name: tensor.numpy() for name, tensor in loaded.preprocess(each[0], context).items()}
        for each in (rows, validation)
    )
    model = loaded.build_model(context)
    model.steps_per_execution = steps
    model.fit(
        inputs,
        rows[1].numpy(),
        validation_data=(given, validation[1].numpy()),
        batch_size=BATCH_SIZE,
        epochs=epochs,
        callbacks=[keras.callbacks.LambdaCallback(on_epoch_end=lambda _epoch, _logs: note())],
        verbose=0,
    )


def measure_columns(columns: int, rounds: int, folder: Path) -> None:
    """Print the row of the first table."""
    from trainwright_components.export_savedmodel.export import export_model
    from trainwright_components.user_module.module import load_module

    folder.mkdir()
    dataset = write_rows(folder / "dataset", columns, EXPORT_ROWS)
    module = write_module(folder / "project", dataset)
    context, loaded = make_context(module, dataset), load_module(module)
    trace(lambda features: loaded.preprocess(features, context), context)  # what is done once in a process
    together, apart = [], []
    for _ in range(rounds):
        together.append(trace(lambda features: loaded.preprocess(features, context), context))
        apart.append(trace(lambda features: by_column(features, context), context))
    train(module, dataset, folder / "model", epochs=1, steps=1, note=lambda: None)
    begin = time.perf_counter()
    export_model(folder / "model", dataset, folder / "saved", golden=folder / "golden", card=folder / "card")
    exported = time.perf_counter() - begin
    medians = statistics.median(together), statistics.median(apart)
    print(
        f"{columns:7} {medians[0]:9.2f} {medians[1]:11.2f} {medians[1] / medians[0]:7.1f} {exported:9.1f}", flush=True
    )


def measure_training(rows: int, rounds: int, epochs: int, all_steps: Sequence[int], folder: Path) -> None:
    """Print the second table."""
    folder.mkdir()
    dataset = write_rows(folder / "dataset", FIT_COLUMNS, rows)
    module = write_module(folder / "project", dataset)
    print("\n   rows  steps a call   fit ex/s  ours ex/s  ratio    cpu")
    for steps in all_steps:
        times: dict[str, list[tuple[float, float]]] = {"fit": [], "ours": []}
        for number in range(rounds):
            for name, each in times.items():
                ends: list[tuple[float, float]] = []

                def note(ends: list[tuple[float, float]] = ends) -> None:
                    ends.append((time.perf_counter(), time.process_time()))

                if name == "fit":
                    fit(module, dataset, epochs=epochs, steps=steps, note=note)
                else:
                    output = folder / f"model-{steps}-{number}"
                    train(module, dataset, output, epochs=epochs, steps=steps, note=note)
                each += [*map(tuple, np.diff(ends, axis=0).tolist())]
        (fit_s, fit_cpu_s), (ours_s, ours_cpu_s) = (np.median(each, axis=0) for each in times.values())
        print(
            f"{rows:7} {steps:13} {rows / fit_s:10,.0f} {rows / ours_s:10,.0f} {fit_s / ours_s:6.2f} "
            f"{fit_cpu_s / ours_cpu_s:6.2f}",
            flush=True,
        )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--columns", default="10,100,1000")
    parser.add_argument("--rows", type=int, default=32_768)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=4, help="epochs of one training; the first is not counted")
    parser.add_argument("--steps", default="1,16", help="steps in one call into TensorFlow")
    options = parser.parse_args(arguments)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    print("columns   trace s by column s  ratio  export s")
    with tempfile.TemporaryDirectory() as folder:
        for columns in filter(None, options.columns.split(",")):
            measure_columns(int(columns), options.rounds, Path(folder) / columns)
        all_steps = [*map(int, options.steps.split(","))]
        measure_training(options.rows, options.rounds, options.epochs, all_steps, Path(folder) / "training")


if __name__ == "__main__":
    main()
