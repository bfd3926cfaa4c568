"""The one builder and the one reader of `TF_CONFIG`, by which TensorFlow learns where the members of a cluster are."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from trainwright_components.cluster.spec import ROLES, ClusterSpec, Member, RoleSpec
from trainwright_components.errors import InvalidSetting

VARIABLE = "TF_CONFIG"
VERTEX_VARIABLE = "CLUSTER_SPEC"
_PATTERN_VARIABLE = "TF_HOST_PATTERN"
DEFAULT_PORT = 2222
_ROLE_NAMES = {"master": "chief"}  # as old launchers call it
_VERTEX_POOL = "workerpool"  # the roles of CLUSTER_SPEC, a name that others may use for anything
_MOST_SHOWN = 300  # Vertex AI puts the whole job into it

Addresses = Mapping[str, Sequence[str]]


def build_tf_config(addresses: Addresses, member: Member) -> str:
    """`TF_CONFIG` of `member`, from `host:port` of each member by role; evaluators are not part of the cluster."""
    cluster = {role: list(hosts) for role, hosts in addresses.items() if hosts and role != "evaluator"}
    return json.dumps({"cluster": cluster, "task": {"type": member.role, "index": member.index}})


def read_tf_config(environ: Mapping[str, str]) -> tuple[ClusterSpec, Member] | None:
    """The cluster and this process's place in it; None outside a cluster.

    Kubernetes' Indexed Job gives the parts instead of the whole; `complete_tf_config` makes the whole of them.

    Raises:
        InvalidSetting: It is malformed, or names a role that training does not know.
    """
    found = _parse(VARIABLE, environ.get(VARIABLE, ""))
    if found is None:
        return None
    roles, member = found
    if unknown := [role for role in (*roles, member.role) if role not in ROLES]:
        raise InvalidSetting(f"{VARIABLE} names the role {unknown[0]!r}; there are: {', '.join(ROLES)}")
    typed: dict[str, Any] = {role: RoleSpec(replicas=count) for role, count in roles.items()}
    return ClusterSpec(**typed), member


def refuse_foreign_cluster(environ: Mapping[str, str]) -> None:
    """Refuse to work alone in a process that another launcher started as one of several members of a cluster.

    Vertex AI sets `CLUSTER_SPEC` in each job and `TF_CONFIG` beside it in those of several replicas
    (https://cloud.google.com/vertex-ai/docs/training/distributed-training).

    Raises:
        InvalidSetting: It is one, or `TF_CONFIG` is malformed.
    """
    each = ((variable, _parse(variable, text)) for variable, text in _descriptions(environ))
    variable, found = next((one for one in each if one[1] is not None), ("", None))
    if found is None:
        return
    roles, member = found
    if member.role == "evaluator":
        roles = {"evaluator": 1, **roles}  # which the others do not see
    if sum(roles.values()) > 1:
        members = ", ".join(f"{role}: {count}" for role, count in roles.items())
        raise InvalidSetting(
            f"{variable} makes this process {member} of a cluster ({members}) that Trainwright did not start and "
            "cannot join: each member would do all the work alone, in the same folders. Start one process without "
            f'{variable}; it starts members on its machine by itself, with cluster={{"worker": 2}} for two'
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


def _parse(variable: str, text: str) -> tuple[dict[str, int], Member] | None:
    """How many members each role has, and which of them this process is; None without a cluster."""

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
    roles = Counter[str]()
    for role, hosts in cluster.items():
        roles.update({_known_as(role): len(hosts)} if hosts else {})
    if not roles:
        return None
    if not isinstance(task, Mapping) or not isinstance(task.get("type"), str) or not _is_index(task.get("index")):
        raise malformed('"task" must have a "type", which is a role, and an "index" from 0')
    member = Member(role=_known_as(task["type"]), index=int(task["index"]))
    if member.role != "evaluator" and member.index >= roles.get(member.role, 0):
        raise malformed(f'"task" is {member}, which "cluster" does not have')
    return roles, member


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
