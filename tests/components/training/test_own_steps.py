"""What a model's own train_step returns is what its epochs report, watch and stop by, on replicas too."""

from pathlib import Path
from typing import Any

import pytest

from trainwright_components.errors import TrainingFailed
from trainwright_components.train_distributed.train import train_model

ZOO = Path(__file__).parent / "modules" / "zoo.py"
TWO_DEVICES = ({"chief": 1}, {"logical_devices": 2})
TWO_WORKERS: tuple[dict[str, int], dict[str, Any]] = ({"worker": 2}, {})

OWN = """
import keras, tensorflow as tf

class Own(keras.Model):
    def train_step(self, data):
        super().train_step(data)
        return {"loss": tf.where(self.optimizer.iterations > 8, VALUE, 2.0)}

def preprocess(features, context):
    return features["a"]

def build_model(context):
    a = keras.Input((6,))
    model = Own(a, keras.layers.Dense(3, activation="softmax")(a))
    model.compile("adam", "sparse_categorical_crossentropy")
    return model
"""


def train_own(value: str, cluster: dict[str, int], module: Path, dataset: Path, **options: Any) -> Any:
    module.write_text(OWN.replace("VALUE", value))
    training = {"epochs": 5, "batch_size": 10, "monitor": "loss", "early_stopping_patience": 1, **options}
    return train_model(dataset, module, module.parent / "model", training=training, cluster=cluster)


@pytest.mark.parametrize(
    ("cluster", "options"),
    [TWO_DEVICES, pytest.param(*TWO_WORKERS, marks=pytest.mark.slow)],
    ids=["devices", "workers"],
)
@pytest.mark.usefixtures("warm_parent")
def test_a_loss_that_only_the_step_returns_is_reported_and_stops(
    cluster: dict[str, int], options: dict[str, Any], tiny_dataset: Path, tmp_path: Path
) -> None:
    """Of 12 steps, six in an epoch, the first nine return 2 and the others 3."""
    result = train_own("3.0", cluster, tmp_path / "net.py", tiny_dataset, **options)
    assert [epoch["loss"] for epoch in result.history] == [2.0, 3.0]
    assert result.stop_reason == "loss is not better since epoch 1, for 1 epochs"


@pytest.mark.parametrize(
    ("cluster", "options"),
    [TWO_DEVICES, pytest.param(*TWO_WORKERS, marks=pytest.mark.slow)],
    ids=["devices", "workers"],
)
@pytest.mark.usefixtures("warm_parent")
def test_a_loss_of_the_step_that_is_no_number_is_noticed(
    cluster: dict[str, int], options: dict[str, Any], tiny_dataset: Path, tmp_path: Path
) -> None:
    with pytest.raises(TrainingFailed, match="the loss became nan in epoch 2, step"):
        train_own("float('nan')", cluster, tmp_path / "net.py", tiny_dataset, **options)


@pytest.mark.slow
@pytest.mark.usefixtures("warm_parent")
def test_steps_of_keras_guides_report_their_metrics_with_parameter_servers(tiny_dataset: Path, tmp_path: Path) -> None:
    training = {"epochs": 2, "batch_size": 10}
    cluster = {"worker": 1, "ps": 1}
    result = train_model(
        tiny_dataset, ZOO, tmp_path / "model", params={"kind": "guide"}, training=training, cluster=cluster
    )
    assert set(result.history[-1]) == {
        f"{split}{name}" for split in ("", "val_") for name in ("loss", "accuracy", "weighted")
    }
    assert 0 < result.history[-1]["accuracy"] <= 1
    assert result.history[-1]["loss"] > 0.1
