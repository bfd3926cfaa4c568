"""What a training run says about processors and about how they talk to each other. Knows no TensorFlow."""

from dataclasses import dataclass

from trainwright_components.errors import InvalidSetting
from trainwright_components.settings import check_choice, check_minimum

ALL_REDUCE = ("auto", "nccl", "hierarchical_copy", "reduction_to_one_device")
IMPLEMENTATIONS = ("auto", "ring", "nccl")
ALLOCATORS = ("", "cuda_malloc_async")


@dataclass(frozen=True, kw_only=True)
class DeviceSettings:
    """Devices of a process. What is about GPUs has no effect where TensorFlow sees none, and training says so.

    Args:
        use: Logical devices that replicas are on, such as `GPU:0`; all GPUs when empty, without GPUs all CPUs.
        visible_gpus: Numbers of the GPUs that TensorFlow may use; None leaves all, an empty list hides them.
        memory_growth: Take GPU memory as it is needed instead of all at the start.
        memory_limit_mb: MiB of GPU memory for each logical GPU; 0 sets no limit.
        allocator: Of GPU memory: `cuda_malloc_async`, or TensorFlow's own when empty.
        soft_placement: Run an operation elsewhere when its device has no kernel for it; otherwise that is an error.
        log_placement: Write the device of each operation to the log.
        inter_op_threads: Operations at the same time; 0 takes `training.threads`.
    """

    use: tuple[str, ...] = ()
    visible_gpus: tuple[int, ...] | None = None
    memory_growth: bool = False
    memory_limit_mb: int = 0
    allocator: str = ""
    soft_placement: bool = True
    log_placement: bool = False
    inter_op_threads: int = 0

    def __post_init__(self) -> None:
        check_minimum(self, where="training.devices", minimum={})
        check_choice(self.allocator, ALLOCATORS, where="training.devices.allocator")
        if self.memory_growth and self.memory_limit_mb:
            raise InvalidSetting(
                "training.devices.memory_growth and training.devices.memory_limit_mb exclude each other in TensorFlow; "
                "choose one"
            )


@dataclass(frozen=True, kw_only=True)
class CommunicationSettings:
    """How replicas add up their gradients; changes sums in nothing but rounding.

    Args:
        all_reduce: Between the devices of one process: auto, nccl, hierarchical_copy or reduction_to_one_device.
        implementation: Between the members of a cluster: auto, ring or nccl.
        bytes_per_pack: Gradients of at least so many bytes are sent together in a cluster; 0 leaves it to TensorFlow.
        timeout_s: Seconds after which an operation over a cluster fails; 0 waits as long as the members live.
    """

    all_reduce: str = "auto"
    implementation: str = "auto"
    bytes_per_pack: int = 0
    timeout_s: float = 0.0

    def __post_init__(self) -> None:
        check_minimum(self, where="training.communication", minimum={})
        check_choice(self.all_reduce, ALL_REDUCE, where="training.communication.all_reduce")
        check_choice(self.implementation, IMPLEMENTATIONS, where="training.communication.implementation")
