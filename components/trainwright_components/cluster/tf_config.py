"""The one builder and the one reader of `TF_CONFIG`, by which TensorFlow learns where the members of a cluster are."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trainwright_components.cluster.spec import ROLES, ClusterSpec, Member, RoleSpec
from trainwright_components.errors import InvalidSetting

VARIABLE = "TF_CONFIG"
VERTEX_VARIABLE = "CLUSTER_SPEC"
_PATTERN_VARIABLE = "TF_HOST_PATTERN"
DEFAULT_PORT = 2222
_VERTEX_POOL = "workerpool"  # the roles of CLUSTER_SPEC, a name that others may use for anything
# Old launchers say master. The pools' order: https://cloud.google.com/vertex-ai/docs/training/distributed-training
_ROLE_NAMES = {"master": "chief", **{f"{_VERTEX_POOL}{i}": ROLES[i] for i in range(len(ROLES))}}
_MOST_SHOWN = 300  # Vertex AI puts the whole job into it

Addresses = Mapping[str, Sequence[str]]


def build_tf_config(addresses: Addresses, member: Member) -> str:
    """`TF_CONFIG` of `member`, from `host:port` of each member by role; evaluators are not part of the cluster."""
    cluster = {role: list(hosts) for role, hosts in addresses.items() if hosts and role != "evaluator"}
    return json.dumps({"cluster": cluster, "task": {"type": member.role, "index": member.index}})


@dataclass(frozen=True, kw_only=True)
class Place:
    """A process's place in a cluster whose members know each other's addresses.

    Args:
        variable: What told it, such as `TF_CONFIG`.
        addresses: `host:port` of each member by role.
        member: Which of them this process is; the evaluator is known to itself alone.
    """

    variable: str
    addresses: Addresses
    member: Member

    @property
    def spec(self) -> ClusterSpec:
        """The cluster.

        Raises:
            InvalidSetting: It has a role that training does not know, or lacks one that it needs.
        """
        if unknown := [role for role in (*self.addresses, self.member.role) if role not in ROLES]:
            raise InvalidSetting(f"{self.variable} names the role {unknown[0]!r}; there are: {', '.join(ROLES)}")
        typed: dict[str, Any] = {role: RoleSpec(replicas=len(hosts)) for role, hosts in self.addresses.items()}
        try:
            return ClusterSpec(**typed)
        except InvalidSetting as error:
            raise InvalidSetting(f"{self.variable} names a cluster that cannot train: {error}") from error

    @property
    def is_chief(self) -> bool:
        """Whether this process is the one that writes."""
        return self.spec.is_chief(self.member)

    @property
    def roles(self) -> dict[str, int]:
        """How many members each role has, with the evaluator that only it knows."""
        own = {"evaluator": 1} if self.member.role == "evaluator" else {}
        return {**own, **{role: len(hosts) for role, hosts in self.addresses.items()}}

    @property
    def in_words(self) -> str:
        """Such as `worker-1 of a cluster (chief: 1, worker: 2)`."""
        return f"{self.member} of a cluster ({', '.join(f'{role}: {count}' for role, count in self.roles.items())})"

    def address_of(self, member: Member) -> str:
        """`host:port` of another member, or of this one."""
        return self.addresses[member.role][member.index]

    def to_env(self) -> dict[str, str]:
        """`TF_CONFIG` as TensorFlow takes it."""
        return {VARIABLE: build_tf_config(self.addresses, self.member)}


def read_tf_config(environ: Mapping[str, str]) -> tuple[ClusterSpec, Member] | None:
    """The cluster and this process's place in it; None outside a cluster.

    Kubernetes' Indexed Job gives the parts instead of the whole; `complete_tf_config` makes the whole of them.

    Raises:
        InvalidSetting: It is malformed, or names a role that training does not know.
    """
    found = _parse(VARIABLE, environ.get(VARIABLE, ""))
    return None if found is None else (found.spec, found.member)


def find_place(environ: Mapping[str, str]) -> Place | None:
    """The place that another launcher gave this process among several members of a cluster; None for a process alone.

    Vertex AI sets `CLUSTER_SPEC` in each job and `TF_CONFIG` beside it in those of several replicas
    (https://cloud.google.com/vertex-ai/docs/training/distributed-training).

    Raises:
        InvalidSetting: What describes it is malformed.
    """
    each = (_parse(variable, text) for variable, text in _descriptions(environ))
    found = next((one for one in each if one is not None), None)
    return found if found is not None and sum(found.roles.values()) > 1 else None


def refuse_foreign_cluster(environ: Mapping[str, str]) -> None:
    """Refuse to work alone in a process that another launcher started as one of several members of a cluster.

    Raises:
        InvalidSetting: It is one, or `TF_CONFIG` is malformed.
    """
    found = find_place(environ)
    if found is not None:
        raise InvalidSetting(
            f"{found.variable} makes this process {found.in_words} that Trainwright did not start: each member would "
            "do all the work alone, in the same folders. Train with `trainwright train DATASET MODULE OUTPUT`, which "
            f'joins it, or start one process without {found.variable}, where cluster={{"worker": 2}} starts members'
        )


def _descriptions(environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """The variables that may describe a cluster, with their texts; the first that does so counts."""
    parts = complete_tf_config(environ)
    yield (_PATTERN_VARIABLE, parts[VARIABLE]) if parts else (VARIABLE, environ.get(VARIABLE, ""))
    text = environ.get(VERTEX_VARIABLE, "")
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return  # another program's variable of this name
    cluster = content.get("cluster") if isinstance(content, Mapping) else None
    if isinstance(cluster, Mapping) and any(role.startswith(_VERTEX_POOL) for role in cluster):
        yield VERTEX_VARIABLE, text


def _parse(variable: str, text: str) -> Place | None:
    """The members by role, and which of them this process is; None without a cluster."""

    def malformed(why: str) -> InvalidSetting:
        shown = text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}..."
        return InvalidSetting(f"{variable} cannot be read: {why}; correct it, or unset it: {shown}")

    if not text.strip():
        return None
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise malformed(f"it is not valid JSON ({error})") from error
    if not isinstance(content, Mapping):
        raise malformed("it must be a JSON object")
    cluster, task = content.get("cluster", {}), content.get("task")
    if not isinstance(cluster, Mapping) or not all(_are_hosts(hosts) for hosts in cluster.values()):
        raise malformed('"cluster" must give a list of "host:port" for each role')
    addresses: dict[str, list[str]] = {}
    for role, hosts in cluster.items():
        if hosts and _known_as(role) != "evaluator":  # which CLUSTER_SPEC has, and no other member asks for
            addresses.setdefault(_known_as(role), []).extend(hosts)
    if not addresses:
        return None
    if not isinstance(task, Mapping) or not isinstance(task.get("type"), str) or not _is_index(task.get("index")):
        raise malformed('"task" must have a "type", which is a role, and an "index" from 0')
    member = Member(role=_known_as(task["type"]), index=int(task["index"]))
    if member.role != "evaluator" and member.index >= len(addresses.get(member.role, ())):
        raise malformed(f'"task" is {member}, which "cluster" does not have')
    return Place(variable=variable, addresses=addresses, member=member)


def _known_as(role: str) -> str:
    return _ROLE_NAMES.get(role, role)


def _are_hosts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(host, str) for host in value)


def _is_index(value: Any) -> bool:
    if isinstance(value, str):
        return value.isdecimal()
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def complete_tf_config(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables to add so that `TF_CONFIG` is there: nothing when it is, or when its parts are missing too.

    The parts are `NUM_NODES`, `JOB_NAME`, `TF_HOST_PATTERN` such as `{job}-{i}.{job}`, and `JOB_COMPLETION_INDEX`.
    """
    if environ.get(VARIABLE, "").strip() or _PATTERN_VARIABLE not in environ:
        return {}
    try:
        count, index, job = int(environ["NUM_NODES"]), int(environ["JOB_COMPLETION_INDEX"]), environ["JOB_NAME"]
    except (KeyError, ValueError) as error:
        raise InvalidSetting(
            f"{_PATTERN_VARIABLE} is set, but NUM_NODES, JOB_NAME and JOB_COMPLETION_INDEX are needed too: {error}"
        ) from error
    pattern = environ[_PATTERN_VARIABLE]
    try:
        hosts = [pattern.format(job=job, i=number) for number in range(count)]
    except (LookupError, ValueError, AttributeError, TypeError) as error:
        raise InvalidSetting(
            f"{_PATTERN_VARIABLE} may hold {{job}} and {{i}} in braces, such as {{job}}-{{i}}.{{job}}; "
            f"got {pattern!r}: correct it, or unset it"
        ) from error
    addresses = {"worker": [f"{host}:{DEFAULT_PORT}" for host in hosts]}
    return {VARIABLE: build_tf_config(addresses, Member(role="worker", index=index))}
