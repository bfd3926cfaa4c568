"""Variables on parameter servers; workers take steps by themselves, and the chief hands them out."""

import logging
import os
from typing import TYPE_CHECKING

from trainwright_components.cluster.spec import ClusterSpec
from trainwright_components.errors import InvalidSetting
from trainwright_components.training.configuration.settings import TrainingSettings
from trainwright_components.training.drivers.driver import Driver
from trainwright_components.training.drivers.feed import Feed
from trainwright_components.training.strategies.protocol import (
    OneProcess,
    Proof,
    Spread,
    Strategy,
    devices_of_member,
    refuse_model_parallel,
)

if TYPE_CHECKING:
    import keras
    import tensorflow as tf


class ParameterServer(OneProcess):
    """TensorFlow's ParameterServerStrategy, by a ClusterCoordinator."""

    name = "parameter_server"

    def check(self, settings: TrainingSettings, cluster: ClusterSpec) -> None:
        """Refuse a cluster without parameter servers."""
        if not cluster.has_parameter_servers:
            raise InvalidSetting(f'training.strategy {self.name} needs a cluster such as {{"worker": 2, "ps": 1}}')
        refuse_model_parallel(self.name, settings)

    def reason(self, settings: TrainingSettings, cluster: ClusterSpec) -> str:
        """Parameter servers in the cluster."""
        return "the cluster has parameter servers" if cluster.has_parameter_servers else ""

    def make(self, settings: TrainingSettings) -> "tf.distribute.Strategy":
        """Of the cluster that `TF_CONFIG` names."""
        import tensorflow as tf

        prepare_to_connect()
        return tf.distribute.ParameterServerStrategy(tf.distribute.cluster_resolver.TFConfigClusterResolver())

    def make_driver(
        self, model: "keras.Model", distribution: "tf.distribute.Strategy", feed: Feed, spread: Spread
    ) -> Driver:
        """The driver that schedules steps."""
        from trainwright_components.training.drivers.asynchronous import AsynchronousDriver

        return AsynchronousDriver(model, distribution, feed)

    def proof(self, settings: TrainingSettings) -> Proof | None:
        """None: workers do not take each step together."""
        if settings.equivalence_steps:
            logging.getLogger(__name__).warning(
                "equivalence is of replicas that take each step together; parameter servers are not compared"
            )
        return None

    def plan(self, settings: TrainingSettings) -> tuple[str, ...]:
        """All GPUs of a worker, or its CPU."""
        return devices_of_member(settings)


def prepare_to_connect() -> None:
    """Have a member that is gone be noticed at once, not after a connection has timed out."""
    os.environ["GRPC_FAIL_FAST"] = "use_caller"


if TYPE_CHECKING:
    _: type[Strategy] = ParameterServer
