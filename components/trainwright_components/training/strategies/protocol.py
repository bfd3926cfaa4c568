"""What a strategy is: one way of using devices and processes for one model. Importing it loads no TensorFlow."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

from trainwright_components.cluster.spec import ClusterSpec
from trainwright_components.errors import InvalidSetting
from trainwright_components.training.configuration.settings import TrainingSettings
from trainwright_components.training.drivers.driver import Driver
from trainwright_components.training.drivers.feed import Feed

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

_MODEL_PARALLEL: Mapping[str, str] = {"placement": "placement", "layout": "dtensor"}
"""Settings that spread one model over devices, and the strategy of each."""


@dataclass(frozen=True, kw_only=True)
class Proof:
    """How a training run is compared with the same run on one device.

    Args:
        steps: After how many.
        limit: The largest difference of a weight that is taken; None only tells it.
    """

    steps: int
    limit: float | None = None


class Spread(Protocol):
    """How the variables of one model come onto devices."""

    def variables(self) -> AbstractContextManager[None]:
        """Within, the model is built."""
        ...

    def apply(self, model: "keras.Model") -> None:
        """Set up the model that was built.

        Raises:
            InvalidSetting: It cannot be spread so.
        """
        ...


class Unspread:
    """Variables where TensorFlow's strategy puts them."""

    def variables(self) -> AbstractContextManager[None]:
        """Within, the model is built."""
        return nullcontext()

    def apply(self, model: "keras.Model") -> None:
        """Leave the model as it is."""


class Strategy(Protocol):
    """A strategy; it has no state of its own."""

    name: ClassVar[str]
    takes_tf_keras: ClassVar[bool]
    """Whether it trains models of tf_keras too."""
    takes_plain_batches: ClassVar[bool]
    """Whether a model that was built under it can be called on plain tensors."""
    needs_all_variables: ClassVar[bool]
    """Whether the model has to have been called before its spread is applied, in a member of a cluster too."""
    has_fixed_shapes: ClassVar[bool]
    """Whether all batches have to have one shape."""

    def check(self, settings: TrainingSettings, cluster: ClusterSpec) -> None:
        """Refuse what it cannot do.

        Raises:
            InvalidSetting: It cannot run on such a cluster, or with such settings.
        """
        ...

    def reason(self, settings: TrainingSettings, cluster: ClusterSpec) -> str:
        """Why it is chosen where none is set; empty if it is not. This may ask TensorFlow for devices."""
        ...

    def least_replicas(self, settings: TrainingSettings, cluster: ClusterSpec) -> int:
        """Replicas that are known of before TensorFlow makes the devices: more GPUs make more."""
        ...

    def make(self, settings: TrainingSettings) -> "tf.distribute.Strategy":
        """TensorFlow's strategy; in a cluster this waits for the other members, which `TF_CONFIG` names.

        Raises:
            InvalidSetting: There is no such device.
        """
        ...

    def spread(self, settings: TrainingSettings, *, replicas: int) -> Spread:
        """How a model's variables are spread."""
        ...

    def make_driver(
        self, model: "keras.Model", distribution: "tf.distribute.Strategy", feed: Feed, spread: Spread
    ) -> Driver:
        """What runs the steps of a model that was built under `distribution` and `spread`."""
        ...

    def proof(self, settings: TrainingSettings) -> Proof | None:
        """How its first steps are compared with one device; None if they are not."""
        ...

    def plan(self, settings: TrainingSettings) -> tuple[str, ...]:
        """The devices of one process that hold a copy of the model or a part of it; this starts TensorFlow.

        Raises:
            InvalidSetting: There is no such device.
        """
        ...


class OneProcess:
    """What strategies of one process that takes each step at once have in common."""

    name: ClassVar[str]
    takes_tf_keras: ClassVar[bool] = False
    takes_plain_batches: ClassVar[bool] = True
    needs_all_variables: ClassVar[bool] = False
    has_fixed_shapes: ClassVar[bool] = False

    def check(self, settings: TrainingSettings, cluster: ClusterSpec) -> None:
        """Refuse a cluster, and settings that spread one model over devices."""
        refuse_parameter_servers(self.name, cluster)
        if cluster.trainers > 1:
            raise InvalidSetting(
                f"training.strategy {self.name} uses one process, but the cluster has {cluster.trainers}; "
                "use multi_worker_mirrored or leave the cluster out"
            )
        refuse_model_parallel(self.name, settings)

    def reason(self, settings: TrainingSettings, cluster: ClusterSpec) -> str:
        """Never chosen by itself."""
        return ""

    def least_replicas(self, settings: TrainingSettings, cluster: ClusterSpec) -> int:
        """One."""
        return 1

    def spread(self, settings: TrainingSettings, *, replicas: int) -> Spread:
        """Variables as TensorFlow's strategy makes them."""
        return Unspread()

    def make_driver(
        self, model: "keras.Model", distribution: "tf.distribute.Strategy", feed: Feed, spread: Spread
    ) -> Driver:
        """The driver of replicas that take each step together."""
        from trainwright_components.training.drivers.synchronous import SynchronousDriver

        return SynchronousDriver(model, distribution, feed)

    def proof(self, settings: TrainingSettings) -> Proof | None:
        """On request."""
        return Proof(steps=settings.equivalence_steps) if settings.equivalence_steps else None

    def plan(self, settings: TrainingSettings) -> tuple[str, ...]:
        """The devices of the replicas."""
        from trainwright_components.training.configuration.devices import replica_devices

        return tuple(replica_devices(settings))


def refuse_parameter_servers(name: str, cluster: ClusterSpec) -> None:
    """Refuse a cluster with parameter servers for the strategy `name`, which has no use for them."""
    if cluster.has_parameter_servers:
        raise InvalidSetting(f"training.strategy {name} has no parameter servers; leave cluster.ps out")


def refuse_model_parallel(name: str, settings: TrainingSettings) -> None:
    """Refuse settings by which another strategy than `name` spreads one model over devices."""
    for setting, owner in _MODEL_PARALLEL.items():
        if owner != name and getattr(settings, setting):
            raise InvalidSetting(
                f"training.{setting} spreads one model over devices, which is training.strategy {owner}; {name} "
                "does it otherwise: choose one of them"
            )


def require_setting(name: str, settings: TrainingSettings, setting: str, *, example: str) -> None:
    """Refuse the strategy `name` without the setting by which it spreads a model."""
    if not getattr(settings, setting):
        raise InvalidSetting(f"training.strategy {name} needs training.{setting}, such as {example}")


def reason_to_spread(settings: TrainingSettings, cluster: ClusterSpec, setting: str) -> str:
    """Why one model is spread over the devices of one process, if `setting` says so."""
    is_alone = cluster.trainers <= 1 and not cluster.has_parameter_servers
    return f"training.{setting} spreads the model over devices" if is_alone and getattr(settings, setting) else ""


def refuse_several_devices(name: str, settings: TrainingSettings) -> None:
    """Refuse more than one device in `training.devices.use`."""
    used = settings.devices.use
    if len(used) > 1:
        raise InvalidSetting(
            f"training.strategy {name} takes one device from training.devices.use, which has {len(used)}; use mirrored"
        )


def devices_of_member(settings: TrainingSettings) -> tuple[str, ...]:
    """All GPUs of a member of a cluster, or its CPU; this starts TensorFlow."""
    from trainwright_components.training.configuration.devices import replica_devices

    return tuple(device for device in replica_devices(settings) if device.startswith("GPU:")) or ("CPU:0",)


def gpu_count() -> int:
    """GPUs that this process may use."""
    import tensorflow as tf

    return len(tf.config.get_visible_devices("GPU"))
