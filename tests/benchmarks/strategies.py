"""Strategies beside one device on the digits: weights after the first steps, and speed. Run by hand; prints a table.

python tests/benchmarks/strategies.py --rounds 3 --epochs 8
"""

import argparse
import statistics
import tempfile
from pathlib import Path
from typing import Any

from trainwright_components.prepare_data.prepare import prepare_data
from trainwright_components.train_distributed.train import train_model

MODULE = """
import keras

def preprocess(features, context):
    return {"image": features["image"] / 16.0}

def build_model(context):
    image = keras.Input((8, 8), name="image")
    hidden = keras.layers.Dense(128, activation="relu", name="first")(keras.layers.Flatten()(image))
    hidden = keras.layers.Dense(128, activation="relu", name="second")(hidden)
    model = keras.Model({"image": image}, keras.layers.Dense(10, activation="softmax", name="last")(hidden))
    model.compile(keras.optimizers.Adam(), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model
"""
ONE_PROCESS = {"chief": 1}
CASES: dict[str, tuple[dict[str, Any], dict[str, int]]] = {
    "mirrored, 2 CPUs": ({"logical_devices": 2}, ONE_PROCESS),
    "multi_worker_mirrored, 2 members": ({}, {"worker": 2}),
    "central_storage, 2 CPUs": ({"logical_devices": 2, "strategy": "central_storage"}, ONE_PROCESS),
    "placement, 2 CPUs": ({"logical_devices": 2, "placement": {"second": "CPU:1"}}, ONE_PROCESS),
    "dtensor, 2 CPUs": ({"logical_devices": 2, "layout": {"first/kernel": 1, "second/kernel": 0}}, ONE_PROCESS),
}


def main() -> None:
    """Train each case beside one device, round by round, and print medians."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--steps", type=int, default=40)
    arguments = parser.parse_args()
    common = {"epochs": arguments.epochs, "batch_size": 64, "checkpoint_every_s": 0}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        module = folder / "net.py"
        module.write_text(MODULE)
        dataset = prepare_data("digits", folder / "dataset").dataset

        def train(training: dict[str, Any], cluster: dict[str, int]) -> Any:
            return train_model(dataset, module, folder / "model", training={**common, **training}, cluster=cluster)

        print(f"{'strategy':<36}{f'difference after {arguments.steps} steps':>28}{'examples/s to one device':>26}")
        for case, (training, cluster) in CASES.items():
            differences, ratios = [], []
            for _ in range(arguments.rounds):
                alone = train({}, ONE_PROCESS)
                result = train({**training, "equivalence_steps": arguments.steps}, cluster)
                differences.append(result.numbers["difference_to_one_device"])
                ratios.append(result.examples_per_second / alone.examples_per_second)
            print(f"{case:<36}{max(differences):>28.1e}{statistics.median(ratios):>26.2f}", flush=True)


if __name__ == "__main__":
    main()
