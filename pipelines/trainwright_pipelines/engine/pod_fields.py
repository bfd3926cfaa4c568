"""Variables that take fields of a step's pod: what such a field is where there is no pod.

Kubernetes takes these fields and refuses a pod that asks for another (kubernetes.io, Downward API).
"""

import re
import socket
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from trainwright_components.errors import InvalidSetting

RUN_LABEL = "pipeline/runid"
"""KFP's own label on the pods of a run (LabelKeyWorkflowRunId in backend/src/common/util/consts.go)."""
_KEYED = re.compile(r"metadata\.(labels|annotations)\['([^']+)'\]")
_NO_NAME = re.compile(r"[^a-z0-9.]+")
_ADDRESS = "127.0.0.1"
_MAX_NAME_LENGTH = 253


@dataclass(frozen=True, kw_only=True)
class PodFields:
    """Variables by name: those that the pipeline's author has set, and those that differ from run to run."""

    fixed: Mapping[str, str] = field(default_factory=dict)
    varying: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def read_pod_fields(config: Mapping[str, Any], *, step: str, run: str, run_id: str, task_id: str) -> PodFields:
    """The variables of an executor's `fieldPathAsEnv`.

    Raises:
        InvalidSetting: Kubernetes knows no such field.
    """
    fixed: dict[str, str] = {}
    varying: dict[str, str] = {}
    warnings: list[str] = []
    plain = {
        "metadata.name": _NO_NAME.sub("-", f"{run}-{step}".lower()).strip("-.")[:_MAX_NAME_LENGTH],
        "metadata.namespace": "default",
        "metadata.uid": str(uuid.UUID(hex=task_id)) if re.fullmatch(r"[0-9a-f]{32}", task_id) else task_id,
        "spec.nodeName": socket.gethostname(),
        "spec.serviceAccountName": "default",
        **dict.fromkeys(("status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs"), _ADDRESS),
    }
    for each in config.get("fieldPathAsEnv") or []:
        name, path = str(each.get("name") or ""), str(each.get("fieldPath") or "")
        keyed = _KEYED.fullmatch(path)
        if keyed is None and path not in plain:
            raise InvalidSetting(
                f"{step} takes the variable {name!r} from the field {path!r}, which Kubernetes does not give to a "
                f"variable; it gives {', '.join(plain)}, metadata.labels['KEY'] and metadata.annotations['KEY']"
            )
        if keyed is None:
            varying[name] = plain[path]
            continue
        kind, key = keyed.groups()
        known = (config.get("podMetadata") or {}).get(kind) or {}
        if kind == "labels" and key == RUN_LABEL:
            varying[name] = run_id
            continue
        fixed[name] = str(known.get(key, ""))
        if key not in known:
            warnings.append(f"its variable {name!r} is empty: the step has no {kind.removesuffix('s')} {key!r}")
    return PodFields(fixed=fixed, varying=varying, warnings=tuple(warnings))
