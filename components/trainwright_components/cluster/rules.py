"""Which members end a training run when they are done, and which start again when one is lost.

Members that train in step, under a synchronous strategy, can only go on together. With parameter servers the chief
alone runs the training: a worker comes and goes by itself, while a parameter server takes the chief's variables with
it. The evaluator looks on, and starts again alone.
"""

from collections.abc import Collection

from trainwright_components.cluster.spec import ClusterSpec, Member

EVALUATOR = Member(role="evaluator", index=0)
CHIEF = Member(role="chief", index=0)


def trainers(spec: ClusterSpec) -> set[Member]:
    """All members that the training needs: all but the evaluator."""
    return set(spec.members) - {EVALUATOR}


def finishers(spec: ClusterSpec) -> set[Member]:
    """The members whose end, all with success, is the end of the training."""
    return {CHIEF} if spec.has_parameter_servers else trainers(spec)


def servers(spec: ClusterSpec) -> set[Member]:
    """The members that serve a chief, and would for ever."""
    return trainers(spec) - finishers(spec)


def members_to_restart(lost: Collection[Member], spec: ClusterSpec) -> set[Member]:
    """All that have to start again when `lost` are gone."""
    together = set(lost)
    if together == {EVALUATOR}:
        return together
    if not spec.has_parameter_servers:
        return together | trainers(spec)
    return together | ({CHIEF} if any(member.role == "ps" for member in lost) else set())
