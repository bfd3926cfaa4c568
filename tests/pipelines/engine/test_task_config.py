"""dsl.TaskConfig, variables of a pod, and `$(NAME)`."""

from __future__ import annotations

import re
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from trainwright_components.errors import InvalidSetting
from trainwright_pipelines.engine.isolation.expansion import expand
from trainwright_pipelines.engine.pod_fields import read_pod_fields
from trainwright_pipelines.engine.replay import rerun_step

if TYPE_CHECKING:
    from tests.pipelines.engine.conftest import Execute

    from trainwright_pipelines.engine.store import Store


def test_a_task_config_is_filled_as_kfps_driver_fills_it(execute: Execute, store: Store) -> None:
    """By hand from extendPodSpecPatch in backend/src/v2/driver/k8s.go; what is only handed on does not hold here."""
    finished = execute("task_config")
    got: dict[str, Any] = finished.output("hand-on")
    assert got["resources"] == {"limits": {"cpu": "2", "nvidia.com/gpu": "8"}, "requests": {"memory": "64Gi"}}
    assert got["env"] == [
        {"name": "COLOUR", "value": "red"},
        {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
    ]
    assert got["COLOUR"] == "red"
    assert got["node_selector"] == {"pool": "big"}
    assert got["tolerations"] == [
        {"key": "spot", "operator": "Exists", "effect": "NoSchedule", "tolerationSeconds": 30},
        {"key": "gpu", "operator": "Exists"},
    ]
    zone = {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]}
    preferred = [{"weight": 5, "preference": zone}]
    assert got["affinity"] == {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferred}}
    assert [each["name"] for each in got["volumes"]] == ["kfp-workspace", "claim", "keys"]
    assert got["volumes"][1:] == [
        {"name": "claim", "persistentVolumeClaim": {"claimName": "claim"}},
        {"name": "keys", "secret": {"secretName": "keys", "optional": False}},
    ]
    assert got["volume_mounts"][1:] == [
        {"name": "claim", "mountPath": "/data", "subPath": "in"},
        {"name": "keys", "mountPath": "/keys"},
    ]
    assert got["mounted"] is False
    assert finished.tasks["hand-on"].warnings == ()
    assert "resources=None" in finished.output("hand-on-nothing")
    again = rerun_step(finished.run.id, "hand-on", store=store).outputs.parameters["Output"]
    assert again["resources"] == got["resources"]


def test_variables_are_filled_in_commands_arguments_and_variables(execute: Execute) -> None:
    finished = execute("variables")
    task = finished.tasks["show-variables"]
    own_id = str(uuid.UUID(hex=task.id))
    own = ["a-$(B)", "b-a-$(B)", "vision", "", own_id]
    arguments = ["a-$(B)", "$(A)", f"b-a-$(B) {own_id}", "$(date)", "$(A)", '<$(A)say "no">']
    assert finished.output("show-variables", "out").split("|")[:-1] == own + arguments
    assert "its variable 'NOTE' is empty: the step has no annotation 'none'" in task.warnings


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$(A)$(A)", "11"),
        ("$(NONE) $A ${A}", "$(NONE) $A ${A}"),
        ("$$(A) $$$(A) $$$$(A)", "$(A) $1 $$(A)"),
        ("$$ is no process id", "$ is no process id"),
        ("ends with $", "ends with $"),
        ("$(open $(", "$(open $("),
        ("$(A$$B)", "$(A$$B)"),
        ("$(LOOP)", "$(A)"),  # once: what a value holds is not filled
    ],
)
def test_references_are_filled_as_kubernetes_fills_them(text: str, expected: str) -> None:
    assert expand(text, {"A": "1", "LOOP": "$(A)"}) == expected


def test_every_field_that_kubernetes_gives_has_a_value_here() -> None:
    paths = [
        *("metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName"),
        *("status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs"),
        *("metadata.labels['pipeline/runid']", "metadata.labels['team']", "metadata.annotations['why']"),
    ]
    config = {
        "fieldPathAsEnv": [{"name": path, "fieldPath": path} for path in paths],
        "podMetadata": {"labels": {"team": "vision"}, "annotations": {"why": "a test"}},
    }
    found = read_pod_fields(config, step="train", run="My Run_1", run_id="my-run-20", task_id=uuid.uuid4().hex)
    assert found.fixed == {"metadata.labels['team']": "vision", "metadata.annotations['why']": "a test"}
    assert all(found.varying.values())
    assert {*found.fixed, *found.varying} == {*paths}
    assert found.varying["metadata.name"] == "my-run-1-train"
    assert found.varying["metadata.labels['pipeline/runid']"] == "my-run-20"
    assert re.fullmatch(r"[0-9a-f-]{36}", found.varying["metadata.uid"])


@pytest.mark.parametrize("path", ["", "status.phase", "metadata.labels", "metadata.labels[team]", "spec.x['y']"])
def test_a_field_that_no_variable_can_take_is_refused(path: str) -> None:
    config = {"fieldPathAsEnv": [{"name": "X", "fieldPath": path}]}
    with pytest.raises(InvalidSetting, match="s takes the variable 'X' from the field"):
        read_pod_fields(config, step="s", run="r", run_id="r", task_id="t")
