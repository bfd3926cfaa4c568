"""Which member of which cluster a process is."""

from collections.abc import Callable
from dataclasses import dataclass, field

from trainwright_components.cluster.spec import ClusterSpec, Member


@dataclass(frozen=True, kw_only=True)
class Place:
    """A process among those that train; alone by default.

    Args:
        sign_of_life: Called when every member has been reached, and while training goes on.
    """

    cluster: ClusterSpec = field(default_factory=ClusterSpec)
    member: Member = field(default_factory=lambda: Member(role="chief", index=0))
    sign_of_life: Callable[[], None] = lambda: None

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
        """How many processes train together."""
        return max(1, self.cluster.trainers)
