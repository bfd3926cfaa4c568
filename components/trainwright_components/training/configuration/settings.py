"""How to train: epochs, batches, strategy, checkpoints. Checked once, where settings enter; knows no TensorFlow."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from trainwright_components.errors import InvalidSetting
from trainwright_components.settings import check_choice, check_mapping, check_minimum, read_settings
from trainwright_components.training.configuration.device_settings import CommunicationSettings, DeviceSettings

DEFAULT_EPOCHS = 20
DEFAULT_BATCH_SIZE = 64
AUTO = "auto"
STRATEGIES = {
    "one_device": "trainwright_components.training.strategies.one_device:OneDevice",
    "mirrored": "trainwright_components.training.strategies.mirrored:Mirrored",
    "multi_worker_mirrored": "trainwright_components.training.strategies.multi_worker_mirrored:MultiWorkerMirrored",
    "parameter_server": "trainwright_components.training.strategies.parameter_server:ParameterServer",
    "central_storage": "trainwright_components.training.strategies.central_storage:CentralStorage",
    "tpu": "trainwright_components.training.strategies.tpu:Tpu",
    "placement": "trainwright_components.training.strategies.placement:Placement",
    "dtensor": "trainwright_components.training.strategies.dtensor:Dtensor",
}
"""From the plainest, which always fits, to the most special: `auto` takes the last that has a reason."""
PRECISIONS = ("", "float32", "mixed_float16", "mixed_bfloat16")
_IMPOSSIBLE = {
    "variable_partitioner": "Keras 3 cannot split a variable over parameter servers; whole variables are spread over "
    "them in turn, so give cluster.ps more replicas and a large embedding more than one layer"
}

DEFAULT_MONITOR = "val_loss"
STOP, ROLL_BACK = "stop", "roll_back"


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """Settings of one training.

    Args:
        epochs: Passes over the training rows.
        batch_size: Examples per step over all replicas.
        seed: Of initial weights, shuffling and everything random; the same seed gives the same training.
        strategy: `auto` chooses from the cluster and the devices, and says why.
        logical_devices: Into how many each GPU is divided, or the CPU where there is none; 1 leaves them whole.
        placement: Devices of layers by patterns of their names, such as `{"block_2_*": "GPU:1"}`.
        layout: Axes along which weights are cut over the devices, by ends of their paths: `{"dense/kernel": 1}`.
        tpu: Name or address of the TPU; `local` is that of this machine.
        devices: Which devices, their memory, threads and placement.
        communication: How replicas add up their gradients.
        precision: The dtype policy that the model is built with: float32, mixed_float16 or mixed_bfloat16; the module's
            own when empty.
        jit_compile: Whether XLA compiles the step; None leaves it to the model's `compile`.
        early_stopping_patience: Epochs without a better `monitor` before training stops; None never stops early.
        monitor: The metric that early stopping and the choice of weights look at.
        restore_best_weights: Whether early stopping ends with the weights of its best epoch.
        shuffle: Whether the training rows come in another order each epoch.
        shuffle_buffer: Rows that are shuffled together when a split is too large to hold in memory.
        drop_remainder: Leave out the last partial batch of an epoch instead of training on it.
        class_weights: What a row of a class counts in the training loss, by the class's name, such as
            `{"malignant": 2.0}`; 1 for those not named.
        steps_per_epoch: Steps that count as an epoch; 0 is one pass over the data.
        steps_per_call: Steps in one call into TensorFlow; 0 chooses for about two calls per second, and one where a
            callback looks at batches.
        checkpoint_every_steps: Steps between checkpoints; 0 leaves it to `checkpoint_every_s`.
        checkpoint_every_s: Seconds between checkpoints; 0 leaves it to `checkpoint_every_steps`.
        keep_checkpoints: How many of the newest checkpoints stay.
        on_nan: What follows a loss that is NaN or infinite: `stop`, or `roll_back` to the last checkpoint at a lower
            rate.
        roll_back_factor: By which each roll back multiplies the learning rate.
        max_roll_backs: Roll backs before the training run fails all the same.
        equivalence_steps: After so many steps, say how far the weights are from those of one device; 0 does not.
        deterministic: Use only operations that give the same bits each time; slower.
        threads: Threads within one operation; 0 leaves it to TensorFlow, in a local cluster an equal share of
            the cores.
        progress_every_s: Seconds between progress lines.
    """

    epochs: int = DEFAULT_EPOCHS
    batch_size: int = DEFAULT_BATCH_SIZE
    seed: int = 0
    strategy: str = AUTO
    logical_devices: int = 1
    placement: Mapping[str, str] = field(default_factory=dict)
    layout: Mapping[str, int] = field(default_factory=dict)
    tpu: str = "local"
    devices: DeviceSettings = field(default_factory=DeviceSettings)
    communication: CommunicationSettings = field(default_factory=CommunicationSettings)
    precision: str = ""
    jit_compile: bool | None = None
    early_stopping_patience: int | None = None
    monitor: str = DEFAULT_MONITOR
    restore_best_weights: bool = True
    shuffle: bool = True
    shuffle_buffer: int = 10_000
    drop_remainder: bool = False
    class_weights: Mapping[str, float] = field(default_factory=dict)
    steps_per_epoch: int = 0
    steps_per_call: int = 0
    checkpoint_every_steps: int = 0
    checkpoint_every_s: float = 30.0
    keep_checkpoints: int = 2
    on_nan: str = "stop"
    roll_back_factor: float = 0.5
    max_roll_backs: int = 3
    equivalence_steps: int = 0
    deterministic: bool = False
    threads: int = 0
    progress_every_s: float = 5.0

    def __post_init__(self) -> None:
        minimum = {"epochs": 1, "batch_size": 1, "logical_devices": 1, "keep_checkpoints": 1, "shuffle_buffer": 1}
        check_minimum(self, where="training", minimum=minimum)
        check_choice(self.strategy, (AUTO, *STRATEGIES), where="training.strategy")
        check_choice(self.precision, PRECISIONS, where="training.precision")
        check_choice(self.on_nan, (STOP, ROLL_BACK), where="training.on_nan")
        for name, weight in self.class_weights.items():
            if weight < 0:
                raise InvalidSetting(f"training.class_weights.{name} must be at least 0, got {weight}")
        if not 0 < self.roll_back_factor < 1:
            raise InvalidSetting(
                f"training.roll_back_factor must be between 0 and 1, got {self.roll_back_factor}; it lowers the rate"
            )

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Self:
        """Settings from untyped values, as they come from a pipeline's parameters.

        Raises:
            InvalidSetting: An unknown name, or a value of the wrong type.
        """
        check_mapping(values, where="training")
        for name in _IMPOSSIBLE.keys() & set(values):
            raise InvalidSetting(f"training.{name} is not possible: {_IMPOSSIBLE[name]}")
        return read_settings(cls, values, where="training")

    def to_mapping(self) -> dict[str, Any]:
        """All settings by name, as plain values."""
        return asdict(self)
