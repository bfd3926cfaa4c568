"""A typed cluster: roles with replicas, and the one rule for who is chief."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

from trainwright_components.errors import InvalidSetting
from trainwright_components.settings import check_choice, check_minimum, read_settings

LAUNCHERS = {
    "local": "trainwright_components.cluster.launchers.local:LocalProcesses",
    "docker": "trainwright_components.cluster.launchers.docker:DockerContainers",
}
ROLES = ("chief", "worker", "ps", "evaluator")
DEFAULT_MAX_RESTARTS = 2
DEFAULT_RENDEZVOUS_S = 120.0
DEFAULT_STALL_S = 900.0


@dataclass(frozen=True, kw_only=True)
class RoleSpec:
    """How many members of a role there are and what each needs.

    Args:
        replicas: How many members.
        machine: A machine type, for launchers that choose machines.
        accelerator: Such as `l4 x 2`, for launchers that choose machines.
        image: The container image; the launcher's own when empty.
    """

    SHORTHAND: ClassVar[str] = "replicas"

    replicas: int = 0
    machine: str = ""
    accelerator: str = ""
    image: str = ""


@dataclass(frozen=True, kw_only=True)
class Member:
    """One process of a cluster."""

    role: str
    index: int

    def __str__(self) -> str:
        return f"{self.role}-{self.index}"


@dataclass(frozen=True, kw_only=True)
class ClusterSpec:
    """The roles of a cluster and how it is supervised; no role at all means this process alone.

    `ClusterSpec.from_mapping({"worker": 2})` makes one of plain values, with a chief where one is needed.

    Args:
        chief: Coordinates parameter servers, or trains and writes what worker 0 would; at most one.
        worker: Train together; worker 0 writes the model where there is no chief.
        ps: Parameter servers, which hold the variables.
        evaluator: Scores each checkpoint beside the training; at most one.
        launcher: `local` starts processes of this machine, `docker` containers.
        mounts: Further absolute paths that members in containers may read, such as data outside the dataset.
        min_workers: How many are enough where others do not come within `rendezvous_timeout_s`, or are lost again
            after `max_restarts`; 0 needs all of them.
        max_restarts: How often lost members are answered with a restart before the training run fails; the evaluator,
            whose loss fails nothing, is started again as often.
        rendezvous_timeout_s: Seconds until every member must have joined.
        stall_timeout_s: Seconds without a step of any member after which those that are silent count as lost.
    """

    chief: RoleSpec = field(default_factory=RoleSpec)
    worker: RoleSpec = field(default_factory=RoleSpec)
    ps: RoleSpec = field(default_factory=RoleSpec)
    evaluator: RoleSpec = field(default_factory=RoleSpec)
    launcher: str = "local"
    mounts: tuple[str, ...] = ()
    min_workers: int = 0
    max_restarts: int = DEFAULT_MAX_RESTARTS
    rendezvous_timeout_s: float = DEFAULT_RENDEZVOUS_S
    stall_timeout_s: float = DEFAULT_STALL_S

    def __post_init__(self) -> None:
        for name in ROLES:
            given: Any = getattr(self, name)
            if not isinstance(given, RoleSpec):
                example = f"ClusterSpec.from_mapping({{{name!r}: {given!r}}})"
                raise InvalidSetting(f"cluster.{name} takes a number or a mapping by {example} alone; got {given!r}")
        check_choice(self.launcher, LAUNCHERS, where="cluster.launcher")
        check_minimum(self, where="cluster", minimum={}, above_0=("rendezvous_timeout_s", "stall_timeout_s"))
        if relative := [path for path in self.mounts if not path.startswith("/")]:
            raise InvalidSetting(f"cluster.mounts must be absolute paths, got {relative[0]!r}")
        if self.chief.replicas > 1:
            raise InvalidSetting(f"cluster.chief must be 0 or 1, got {self.chief.replicas}")
        if negative := [role for role in ROLES if self.role(role).replicas < 0]:
            raise InvalidSetting(f"cluster.{negative[0]} must be at least 0, got {self.role(negative[0]).replicas}")
        if self.min_workers > self.worker.replicas:
            raise InvalidSetting(
                f"cluster.min_workers must be at most cluster.worker={self.worker.replicas}, got {self.min_workers}"
            )
        if self.evaluator.replicas > 1:
            raise InvalidSetting(f"cluster.evaluator must be 0 or 1, got {self.evaluator.replicas}")
        if self.evaluator.replicas and not self.trainers:
            raise InvalidSetting("an evaluator needs a training run beside it: add cluster.chief=1")
        if self.ps.replicas and not self.worker.replicas:
            raise InvalidSetting('cluster.ps needs at least one worker, such as {"worker": 2, "ps": 1}')
        if self.ps.replicas and not self.chief.replicas:
            raise InvalidSetting("parameter servers need a chief, which coordinates: add cluster.chief=1")

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Self:
        """A cluster from untyped values, such as `{"worker": 2}` or `{"worker": {"replicas": 2, "machine": "e2"}}`.

        A chief is added where one is needed and none is named: to parameter servers, which it coordinates without
        computing steps itself, and to an evaluator without a worker.

        Raises:
            InvalidSetting: An unknown name, or a value of the wrong type.
        """
        return read_settings(cls, _completed(values) if isinstance(values, Mapping) else values, where="cluster")

    def without(self, lost: Collection[Member]) -> "ClusterSpec | None":
        """The cluster that goes on where `lost` do not come back; None where it needs them."""
        left = self.worker.replicas - len(lost)
        if not lost or not self.min_workers or left < self.min_workers or any(one.role != "worker" for one in lost):
            return None
        return replace(self, worker=replace(self.worker, replicas=left))

    def role(self, name: str) -> RoleSpec:
        """What is asked for a role."""
        spec: RoleSpec = getattr(self, name)
        return spec

    @property
    def trainers(self) -> int:
        """The chief and the workers."""
        return self.chief.replicas + self.worker.replicas

    @property
    def has_parameter_servers(self) -> bool:
        """Whether a chief has workers take steps by themselves on variables that parameter servers hold."""
        return self.ps.replicas > 0

    @property
    def is_empty(self) -> bool:
        """Whether no member is asked for, so that the training stays in this process."""
        return not any(self.role(role).replicas for role in ROLES)

    @property
    def members(self) -> tuple[Member, ...]:
        """Every member, chief first."""
        return tuple(self._members())

    def is_chief(self, member: Member) -> bool:
        """Whether `member` writes checkpoints, logs and the model: the explicit chief, else worker 0."""
        return member.role == "chief" or (not self.chief.replicas and member == Member(role="worker", index=0))

    def who_trains(self, replicas: int) -> str:
        """Who takes the steps, in words: `replicas` that take them together, or workers beside parameter servers."""
        if not self.has_parameter_servers:
            return _counted(replicas, "replica")
        return f"{_counted(self.worker.replicas, 'worker')}, {_counted(self.ps.replicas, 'parameter server')}"

    def to_mapping(self) -> dict[str, int]:
        """Replicas of each role that has any."""
        return {role: self.role(role).replicas for role in ROLES if self.role(role).replicas}

    def _members(self) -> Iterator[Member]:
        for role in ROLES:
            for index in range(self.role(role).replicas):
                yield Member(role=role, index=index)


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _completed(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """`values` with one replica of a role that is only described, and with the chief that others need."""
    roles = {
        name: {"replicas": 1, **value} for name, value in values.items() if name in ROLES and isinstance(value, Mapping)
    }
    given = {role: roles[role]["replicas"] if role in roles else values.get(role, 0) for role in ROLES}
    is_needed = given["ps"] or (given["evaluator"] and not given["worker"])
    return {**values, **roles, **({"chief": 1} if is_needed and not given["chief"] else {})}
