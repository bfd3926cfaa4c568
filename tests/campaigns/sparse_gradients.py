"""Compare weights that replicas trained with those of Keras' own fit, for models with look-ups; run by hand.

    python tests/campaigns/sparse_gradients.py [--models every,varying] [--optimizers adam,clipnorm]
                                               [--strategies mirrored,workers,central]

Prints one table: for each model and optimizer the largest difference of any weight after 3 epochs of 53 rows in batches
of 10, the last of 3 rows, from what `fit` on one device gives; `fit` or a strategy that refuses says so. Two replicas.
"""

import argparse
import json
import logging
import os
import tempfile
from pathlib import Path
from typing import Any

MODULE = Path(__file__).resolve().parents[1] / "components" / "training" / "modules" / "lookups.py"
STRATEGIES: dict[str, tuple[dict[str, int], dict[str, Any]]] = {
    "mirrored": ({"chief": 1}, {"strategy": "mirrored", "logical_devices": 2}),
    "workers": ({"worker": 2}, {}),
    "central": ({"chief": 1}, {"strategy": "central_storage", "logical_devices": 2}),
}
ROWS, SEED = 53, 4


def write_rows(folder: Path) -> Path:
    """Random rows as a prepared dataset."""
    import numpy as np

    from trainwright_components.datasets.schema import Feature, Label, Schema
    from trainwright_components.datasets.writer import DatasetWriter

    folder.mkdir()
    schema = Schema(
        features=(
            Feature(name="a", kind="numeric", dtype="float32", shape=(6,)),
            Feature(name="tokens", kind="numeric", dtype="int64", shape=(5,)),
        ),
        label=Label(name="kind", kind="class", dtype="int64", class_names=("x", "y", "z")),
    )
    random = np.random.default_rng(7)
    with DatasetWriter(folder, schema, shards={"train": 1}) as writer:
        a = random.normal(size=(ROWS, 6)).astype("float32")
        kind = np.digitize(a[:, 0] + a[:, 1], [-0.5, 0.5]).astype("int64")
        writer.write("train", {"a": a, "tokens": random.integers(12, size=(ROWS, 5)), "kind": kind})
    return folder


def fit(dataset: Path, params: dict[str, str], training: dict[str, Any]) -> list[Any]:
    """The weights that Keras' fit gives on one device, by their order."""
    import keras
    import numpy as np

    from trainwright_components.datasets.reader import read_split
    from trainwright_components.datasets.schema import Schema
    from trainwright_components.datasets.statistics import Statistics
    from trainwright_components.user_module.module import Context, load_module

    module, size = load_module(MODULE), training["batch_size"]
    context = Context(params=params, schema=Schema.load(dataset), statistics=Statistics.load(dataset), dataset=dataset)
    ((features, label),) = read_split(dataset, "train").batch(ROWS).as_numpy_iterator()
    x = {name: np.asarray(value) for name, value in module.preprocess(features, context).items()}
    rows = ROWS // size * size if training.get("drop_remainder") else ROWS
    keras.utils.set_random_seed(SEED)
    model = module.build_model(context)
    cut = {name: value[:rows] for name, value in x.items()}
    model.fit(cut, label[:rows], batch_size=size, shuffle=False, epochs=training["epochs"], verbose=0)
    return list(model.get_weights())


def difference(dataset: Path, params: dict[str, str], training: dict[str, Any], strategy: str, weights: Any) -> str:
    """The largest of any weight, or why there is none."""
    import numpy as np

    from trainwright_components.errors import TrainwrightError
    from trainwright_components.train_distributed.train import train_model
    from trainwright_components.training.trained_model import TrainedModel

    cluster, more = STRATEGIES[strategy]
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "model"
        try:
            train_model(dataset, MODULE, output, params=params, training={**training, **more}, cluster=cluster)
        except TrainwrightError as error:
            return f"{type(error).__name__}: {error}"
        ours = TrainedModel.load(output).model.get_weights()
    return f"{max(float(np.abs(one - other).max()) for one, other in zip(ours, weights, strict=True)):.1e}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="every")
    parser.add_argument("--optimizers", default="")
    parser.add_argument("--strategies", default=",".join(STRATEGIES))
    parser.add_argument("--training", default="{}", help="more settings, as JSON")
    options = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.basicConfig(level=logging.ERROR)
    from trainwright_components.processes.warm_parent import SOCKET_VARIABLE, WarmParent
    from trainwright_components.user_module.module import load_module

    training = {"epochs": 3, "batch_size": 10, "shuffle": False, "seed": SEED, **json.loads(options.training)}
    strategies = options.strategies.split(",")
    print(f"{'model':10} {'optimizer':18} {' '.join(f'{one:>9}' for one in strategies)}")
    with WarmParent.start(("tensorflow", "keras")) as parent, tempfile.TemporaryDirectory() as folder:
        os.environ[SOCKET_VARIABLE] = str(parent.address)
        dataset = write_rows(Path(folder) / "dataset")
        every = load_module(MODULE).python_module.OPTIMIZERS
        optimizers = options.optimizers.split(",") if options.optimizers else every
        for model in options.models.split(","):
            for optimizer in optimizers:
                params = {"model": model, "optimizer": optimizer}
                print(f"{model:10} {optimizer:18} ", end="", flush=True)
                try:
                    weights = fit(dataset, params, training)
                except Exception as error:  # what fit cannot do needs no replicas
                    print(f"fit: {type(error).__name__}: {str(error).splitlines()[-1][:150]}")
                    continue
                found = [difference(dataset, params, training, one, weights) for one in strategies]
                print(" ".join(f"{one:>9}" for one in found), flush=True)


if __name__ == "__main__":
    main()
