"""What a component asks to hand on to a workload of its own: dsl.TaskConfig and its passthroughs.

As KFP's driver fills it and leaves out of the step what it only hands on: getTaskConfigOptions and initPodSpecPatch in
backend/src/v2/driver/driver.go, extendPodSpecPatch in k8s.go. Empty directories and ephemeral volumes are never handed
on there, nor are they here.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from trainwright_pipelines.engine.platform_settings import Resolve
from trainwright_pipelines.engine.records import Values
from trainwright_pipelines.ir.spec import Component
from trainwright_pipelines.ir.values import to_text

_IN_PLATFORM = {
    "ENV": ("secretAsEnv", "configMapAsEnv", "fieldPathAsEnv"),
    "KUBERNETES_VOLUMES": ("pvcMount", "secretAsVolume", "configMapAsVolume"),
    "KUBERNETES_NODE_SELECTOR": ("nodeSelector",),
    "KUBERNETES_TOLERATIONS": ("tolerations",),
    "KUBERNETES_AFFINITY": ("nodeAffinity", "podAffinity"),
}
_IN_CONTAINER = {"ENV": "env", "RESOURCES": "resources"}
_WORKSPACE, _WORKSPACE_MOUNT = "kfp-workspace", "/kfp-workspace"


@dataclass(frozen=True, kw_only=True)
class Handover:
    """A step's own part, without what its component only hands on, and the inputs with what is handed on."""

    container: Mapping[str, Any]
    platform: Mapping[str, Any]
    inputs: Values


def hand_over(
    component: Component,
    container: Mapping[str, Any],
    platform: Mapping[str, Any],
    inputs: Values,
    *,
    fill: Callable[[str], str],
    resolve: Resolve,
    workspace: str,
) -> Handover:
    """Fill the component's TaskConfig.

    Args:
        component: What declares the passthroughs.
        container: As KFP's PipelineContainerSpec has it.
        platform: The executor's settings for Kubernetes.
        inputs: Of the step.
        fill: Fills placeholders in texts of the container.
        resolve: Gives the values of parameters of the platform document.
        workspace: The folder of the run's workspace, which is handed on where an input names it.
    """
    dropped = [field for field, applies in component.passthroughs.items() if not applies]
    names = {name for field in dropped for name in _IN_PLATFORM.get(field, ())}
    parts = {_IN_CONTAINER[field] for field in dropped if field in _IN_CONTAINER}
    texts = [value for value in inputs.parameters.values() if isinstance(value, str)]
    mounts_workspace = any(workspace in text or _WORKSPACE_MOUNT in text for text in texts)
    filler = _Filler(container=container, platform=platform, fill=fill, resolve=resolve)
    found = dict(filler.fields(component.passthroughs, mounts_workspace=mounts_workspace))
    slots = [name for name, slot in component.input_parameters.items() if slot.type == "TASK_CONFIG"]
    return Handover(
        container={name: value for name, value in container.items() if name not in parts},
        platform={name: value for name, value in platform.items() if name not in names},
        inputs=replace(inputs, parameters={**inputs.parameters, **dict.fromkeys(slots, found)}),
    )


@dataclass(frozen=True, kw_only=True)
class _Filler:
    container: Mapping[str, Any]
    platform: Mapping[str, Any]
    fill: Callable[[str], str]
    resolve: Resolve

    def fields(self, wanted: Mapping[str, bool], *, mounts_workspace: bool) -> Iterator[tuple[str, Any]]:
        """Those of Kubernetes' pod and container, by the names that TaskConfig has for them."""
        if "RESOURCES" in wanted:
            yield "resources", self._resources()
        if "ENV" in wanted:
            yield "env", [*self._own_env(), *self._env_of_keys(), *self._env_of_fields()]
        if "KUBERNETES_NODE_SELECTOR" in wanted and (selector := self._node_selector()):
            yield "nodeSelector", selector
        if "KUBERNETES_TOLERATIONS" in wanted and (tolerations := [*self._tolerations()]):
            yield "tolerations", tolerations
        if "KUBERNETES_AFFINITY" in wanted and (affinity := self._affinity()):
            yield "affinity", {"nodeAffinity": affinity}
        if "KUBERNETES_VOLUMES" in wanted:
            volumes = [*self._workspace(mounts_workspace), *self._claims(), *self._files()]
            if volumes:
                yield "volumes", [volume for volume, _ in volumes]
                yield "volumeMounts", [mount for _, mount in volumes]

    def _all(self, name: str) -> list[Mapping[str, Any]]:
        return self.platform.get(name) or []

    def _resources(self) -> dict[str, Any]:
        raw = self.container.get("resources") or {}
        asked: dict[str, dict[str, str]] = {"limits": {}, "requests": {}}
        for kind, title in (("limits", "Limit"), ("requests", "Request")):
            for resource, older_unit in (("cpu", ""), ("memory", "G")):
                newer = self.fill(str(raw.get(f"resource{resource.title()}{title}") or ""))
                older = raw.get(f"{resource}{title}")
                if text := newer or (f"{to_text(older)}{older_unit}" if older else ""):
                    asked[kind][resource] = text
        accelerator = raw.get("accelerator") or {}
        name = self.fill(str(accelerator.get("resourceType") or accelerator.get("type") or ""))
        count = self.fill(str(accelerator.get("resourceCount") or accelerator.get("count") or ""))
        if name and count:
            asked["limits"][name] = count
        return {kind: found for kind, found in asked.items() if found}

    def _own_env(self) -> Iterator[dict[str, Any]]:
        for each in self.container.get("env") or []:
            yield {"name": each["name"], "value": self.fill(str(each.get("value") or ""))}

    def _env_of_keys(self) -> Iterator[dict[str, Any]]:
        for source, kind in (("secretAsEnv", "secret"), ("configMapAsEnv", "configMap")):
            for each in self._all(source):
                name = self._name(each, kind)
                optional = {"optional": bool(each["optional"])} if each.get("optional") is not None else {}
                for pair in each.get("keyToEnv") or [] if name else []:
                    key = {"name": name, "key": pair[f"{kind}Key"], **optional}
                    yield {"name": pair["envVar"], "valueFrom": {f"{kind}KeyRef": key}}

    def _env_of_fields(self) -> Iterator[dict[str, Any]]:
        for each in self._all("fieldPathAsEnv"):
            yield {"name": each["name"], "valueFrom": {"fieldRef": {"fieldPath": each.get("fieldPath", "")}}}

    def _name(self, each: Mapping[str, Any], kind: str) -> str:
        parameter = each.get(f"{kind}NameParameter")
        return to_text(self.resolve(parameter)) if parameter else str(each.get(f"{kind}Name") or "")

    def _node_selector(self) -> Any:
        raw = self.platform.get("nodeSelector") or {}
        return self.resolve(raw["nodeSelectorJson"]) if "nodeSelectorJson" in raw else raw.get("labels")

    def _tolerations(self) -> Iterator[Any]:
        for each in self._all("tolerations"):
            if "tolerationJson" in each:
                found = self.resolve(each["tolerationJson"])
                yield from found if isinstance(found, list) else [found] if found else []
            else:
                seconds = each.get("tolerationSeconds")
                yield {**each, **({} if seconds is None else {"tolerationSeconds": int(seconds)})}

    def _affinity(self) -> dict[str, Any]:
        required: list[Any] = []
        preferred: list[Any] = []
        for each in self._all("nodeAffinity"):
            if "nodeAffinityJson" in each:
                found = self.resolve(each["nodeAffinityJson"]) or {}
                terms = found.get("requiredDuringSchedulingIgnoredDuringExecution") or {}
                required += terms.get("nodeSelectorTerms") or []
                preferred += found.get("preferredDuringSchedulingIgnoredDuringExecution") or []
                continue
            term = {name: each[name] for name in ("matchExpressions", "matchFields") if each.get(name)}
            if term and each.get("weight") is not None:
                preferred.append({"weight": int(each["weight"]), "preference": term})
            elif term:
                required.append(term)
        must = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": required}} if required else {}
        return must | ({"preferredDuringSchedulingIgnoredDuringExecution": preferred} if preferred else {})

    def _workspace(self, mounts_workspace: bool) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
        if mounts_workspace:
            yield _claim(_WORKSPACE, self.fill(f"{{{{$.pipeline_job_resource_name}}}}-{_WORKSPACE}"), _WORKSPACE_MOUNT)

    def _claims(self) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
        for each in self._all("pvcMount"):
            name = to_text(each.get("constant") or self.resolve(each.get("pvcNameParameter") or each))
            yield _claim(name, name, each["mountPath"], sub_path=str(each.get("subPath") or ""))

    def _files(self) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
        for source, kind in (("secretAsVolume", "secret"), ("configMapAsVolume", "configMap")):
            for each in self._all(source):
                name = self._name(each, kind)
                named = {"secretName": name} if kind == "secret" else {"name": name}
                volume = {"name": name, kind: {**named, "optional": bool(each.get("optional"))}}
                yield volume, {"name": name, "mountPath": each["mountPath"]}


def _claim(name: str, claim: str, mount: str, *, sub_path: str = "") -> tuple[dict[str, Any], dict[str, Any]]:
    volume = {"name": name, "persistentVolumeClaim": {"claimName": claim}}
    return volume, {"name": name, "mountPath": mount, **({"subPath": sub_path} if sub_path else {})}
