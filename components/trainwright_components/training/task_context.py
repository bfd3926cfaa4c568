"""Which member of which cluster a process is."""

from dataclasses import dataclass, field

from trainwright_components.cluster.heartbeats import SendHeartbeat
from trainwright_components.cluster.spec import ClusterSpec, Member


def send_no_heartbeat(*_: object, **__: object) -> None:
    """For a process without a supervisor."""


@dataclass(frozen=True, kw_only=True)
class TaskContext:
    """A process among those that train; alone by default.

    Args:
        send_heartbeat: Called before this member waits for the others, when it has reached them, and while it trains.
    """

    cluster: ClusterSpec = field(default_factory=ClusterSpec)
    member: Member = field(default_factory=lambda: Member(role="chief", index=0))
    send_heartbeat: SendHeartbeat = send_no_heartbeat

    @property
    def is_chief(self) -> bool:
        """Whether this process writes checkpoints, logs and the model."""
        return self.cluster.is_empty or self.cluster.is_chief(self.member)

    @property
    def role(self) -> str:
        """What a model module is told: `chief` for whoever is chief, else the member's role."""
        return "chief" if self.is_chief else self.member.role

    @property
    def processes(self) -> int:
        """How many processes take each step together."""
        return 1 if self.cluster.has_parameter_servers else max(1, self.cluster.trainers)
