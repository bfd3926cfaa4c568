"""The one builder and the one reader of `TF_CONFIG`, by which TensorFlow learns where the members of a cluster are."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from trainwright_components.cluster.spec import ClusterSpec, Member, RoleSpec
from trainwright_components.errors import InvalidSetting

VARIABLE = "TF_CONFIG"
DEFAULT_PORT = 2222
_ROLE_NAMES = {"master": "chief"}  # as old launchers call it

Addresses = Mapping[str, Sequence[str]]


def build_tf_config(addresses: Addresses, member: Member) -> str:
    """`TF_CONFIG` of `member`, from `host:port` of each member by role; evaluators are no part of the cluster."""
    cluster = {role: list(hosts) for role, hosts in addresses.items() if hosts and role != "evaluator"}
    return json.dumps({"cluster": cluster, "task": {"type": member.role, "index": member.index}})


def read_tf_config(environ: Mapping[str, str]) -> tuple[ClusterSpec, Member] | None:
    """The cluster and this process's place in it; None outside a cluster.

    Kubernetes' Indexed Job gives the parts instead of the whole; `complete_tf_config` makes the whole of them.
    """
    text = environ.get(VARIABLE)
    if not text:
        return None
    try:
        content = json.loads(text)
        roles = {role: RoleSpec(replicas=len(hosts)) for role, hosts in content.get("cluster", {}).items()}
        task = content.get("task", {})
        if not roles:
            return None
        member = Member(role=_ROLE_NAMES.get(task["type"], task["type"]), index=int(task["index"]))
        typed: dict[str, Any] = {_ROLE_NAMES.get(role, role): spec for role, spec in roles.items()}
        return ClusterSpec(**typed), member
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidSetting(f"TF_CONFIG cannot be read ({error}): {text}") from error


def complete_tf_config(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables to add so that `TF_CONFIG` is there: nothing when it is, or when its parts are missing too.

    The parts are `NUM_NODES`, `JOB_NAME`, `TF_HOST_PATTERN` such as `{job}-{i}.{job}`, and `JOB_COMPLETION_INDEX`.
    """
    if environ.get(VARIABLE) or "TF_HOST_PATTERN" not in environ:
        return {}
    try:
        count, index = int(environ["NUM_NODES"]), int(environ["JOB_COMPLETION_INDEX"])
        hosts = [environ["TF_HOST_PATTERN"].format(job=environ["JOB_NAME"], i=number) for number in range(count)]
    except (KeyError, ValueError) as error:
        raise InvalidSetting(
            f"TF_HOST_PATTERN is set, but NUM_NODES, JOB_NAME and JOB_COMPLETION_INDEX are needed too: {error}"
        ) from error
    addresses = {"worker": [f"{host}:{DEFAULT_PORT}" for host in hosts]}
    return {VARIABLE: build_tf_config(addresses, Member(role="worker", index=index))}
