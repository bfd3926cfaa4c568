"""One model whose chosen weights are cut over the devices of one process, by TensorFlow's DTensor."""

from typing import TYPE_CHECKING

from trainwright_components.cluster.spec import ClusterSpec
from trainwright_components.training.configuration.devices import replica_devices
from trainwright_components.training.configuration.settings import TrainingSettings
from trainwright_components.training.drivers.driver import Driver
from trainwright_components.training.drivers.feed import Feed
from trainwright_components.training.drivers.sharding import VariableSharding
from trainwright_components.training.strategies.protocol import (
    OneProcess,
    Proof,
    Spread,
    Strategy,
    reason_to_spread,
    require_setting,
)

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

_PROOF_STEPS = 3  # DTensor may compute wrong numbers and say nothing: each training run proves its first steps
_LIMIT, _MIXED_LIMIT = 1e-4, 1e-2


class Dtensor(OneProcess):
    """Sharded variables."""

    name = "dtensor"
    takes_plain_batches = False

    def check(self, settings: TrainingSettings, cluster: ClusterSpec) -> None:
        """Refuse to cut nothing."""
        super().check(settings, cluster)
        require_setting(self.name, settings, "layout", example='{"dense/kernel": 1}')

    def reason(self, settings: TrainingSettings, cluster: ClusterSpec) -> str:
        """Weights with axes."""
        return reason_to_spread(settings, cluster, "layout")

    def make(self, settings: TrainingSettings) -> "tf.distribute.Strategy":
        """TensorFlow's default: DTensor is none of its strategies."""
        import tensorflow as tf

        return tf.distribute.get_strategy()

    def spread(self, settings: TrainingSettings, *, replicas: int) -> Spread:
        """Weights in parts over all devices, or those that are set."""
        return VariableSharding(devices=replica_devices(settings), axes=settings.layout)

    def make_driver(
        self, model: "keras.Model", distribution: "tf.distribute.Strategy", feed: Feed, spread: Spread
    ) -> Driver:
        """The driver of one step on all devices."""
        from trainwright_components.training.drivers.sharded import ShardedDriver

        assert isinstance(spread, VariableSharding)  # its own
        return ShardedDriver(model, spread, feed)

    def proof(self, settings: TrainingSettings) -> Proof | None:
        """Always."""
        limit = _MIXED_LIMIT if settings.precision.startswith("mixed") else _LIMIT
        return Proof(steps=settings.equivalence_steps or _PROOF_STEPS, limit=limit)


if TYPE_CHECKING:
    _: type[Strategy] = Dtensor
