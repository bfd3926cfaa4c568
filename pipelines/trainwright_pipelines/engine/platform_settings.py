"""What the platform document asks of Kubernetes: honoured where a process here can, else named in a warning."""

import re
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import yaml

from trainwright_components.errors import InvalidSetting
from trainwright_pipelines.engine.masking import Mask
from trainwright_pipelines.engine.pod_fields import read_pod_fields
from trainwright_pipelines.engine.volumes import Volumes
from trainwright_pipelines.ir.parsing import parse_source
from trainwright_pipelines.ir.spec import Pipeline
from trainwright_pipelines.ir.values import to_text

_VOLUME_FIELDS = {"pvcMount", "emptyDirMounts", "genericEphemeralVolume", "secretAsVolume", "configMapAsVolume"}
_HONOURED = {"secretAsEnv", "configMapAsEnv", "activeDeadlineSeconds", "fieldPathAsEnv"} | _VOLUME_FIELDS
_MEANINGLESS_HERE = {"imagePullPolicy", "imagePullSecret", "podMetadata", "enabledSharedMemory"}

SECRETS_NAME = "secrets.yaml"
SECRET_PREFIX = "TRAINWRIGHT_SECRET_"  # noqa: S105  the beginning of a name
Kind = Literal["secrets", "config_maps"]
Resolve = Callable[[Mapping[str, Any]], Any]
"""From an input parameter spec of the platform document to its value."""


@dataclass(frozen=True, kw_only=True)
class PlatformSettings:
    """What one step gets from the platform document."""

    given: Mapping[str, str] = field(default_factory=dict)
    """Variables from secrets and config maps."""
    fields: Mapping[str, str] = field(default_factory=dict)
    """Variables that say what the step is called, another thing in each run."""
    volumes: Volumes = field(default_factory=Volumes)
    timeout_s: float | None = None
    pull_policy: str = ""
    """`Always`, `Never` or `IfNotPresent`, which is what happens where the document does not say."""
    warnings: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    """Values that are told to nobody else."""
    secret_variables: tuple[str, ...] = ()
    secret_mounts: tuple[str, ...] = ()
    withheld: tuple[str, ...] = ()
    """Variables of this process that hold secrets of others."""

    @property
    def env(self) -> dict[str, str]:
        """All variables."""
        return {**dict.fromkeys(self.withheld, ""), **self.given, **self.fields}

    @cached_property
    def mask(self) -> Mask:
        """What hides the secrets."""
        return Mask(self.secrets)


@dataclass(frozen=True, kw_only=True)
class LocalSecrets:
    """Stand-ins for a cluster's Secrets and ConfigMaps: a file of the user's, then variables; never stored."""

    path: Path
    variables: Mapping[str, str] = field(default_factory=dict)
    """Secrets in the environment, see `secret_variable`."""
    secrets: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    config_maps: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @classmethod
    def load(cls, home: Path, environ: Mapping[str, str]) -> "LocalSecrets":
        """Read `secrets:` and `config_maps:` in a home's file, each a mapping of names to keys and values.

        Raises:
            InvalidSetting: It is no such file.
        """
        path = home / SECRETS_NAME
        variables = {name: value for name, value in environ.items() if name.startswith(SECRET_PREFIX) and value}
        if not path.exists():
            return cls(path=path, variables=variables)
        try:
            content = yaml.safe_load(path.read_text()) or {}
            found = {
                kind: {name: {key: to_text(value) for key, value in keys.items()} for name, keys in each.items()}
                for kind, each in content.items()
            }
        except (yaml.YAMLError, AttributeError) as error:
            message = f"{path} should hold `secrets:` and `config_maps:`, each name: {{key: value}}"
            raise InvalidSetting(message) from error
        return cls(
            path=path,
            variables=variables,
            secrets=found.get("secrets", {}),
            config_maps=found.get("config_maps", {}),
        )

    @property
    def values(self) -> list[str]:
        """All secrets, wherever they are."""
        return [*self.variables.values(), *(value for keys in self.secrets.values() for value in keys.values())]

    @property
    def exposure(self) -> str:
        """How others can read the file; empty when only its owner can."""
        try:
            mode = stat.S_IMODE(self.path.stat().st_mode)
        except OSError:
            return ""
        if not mode & (stat.S_IRGRP | stat.S_IROTH):
            return ""
        return f"{self.path} holds secrets and can be read by others (mode {mode:o}): chmod 600 {self.path}"

    def lookup(self, kind: Kind, name: str, *, step: str, key: str = "...") -> Mapping[str, str]:
        """The keys and values of one secret or config map.

        Raises:
            InvalidSetting: It is not there, or `key` is not in it.
        """
        found = (self.secrets if kind == "secrets" else self.config_maps).get(name)
        variable = secret_variable(name, key) if kind == "secrets" and key != "..." else ""
        if variable in self.variables and key not in (found or {}):
            return {**(found or {}), key: self.variables[variable]}
        if found is None or (key != "..." and key not in found):
            title = "secret" if kind == "secrets" else "config map"
            or_there = f", or from the variable {variable}" if variable else ""
            raise InvalidSetting(
                f"{step} needs the {title} {name!r} with the key {key!r}; on this machine it is read from {self.path}, "
                f"which should hold: {kind}: {{{name}: {{{key}: ...}}}}{or_there}"
            )
        return found


def secret_variable(name: str, key: str) -> str:
    """The environment variable that stands for a key of a secret that the file does not have."""
    return SECRET_PREFIX + re.sub(r"[^A-Z0-9]", "_", f"{name}_{key}".upper())


def read_settings(
    config: Mapping[str, Any],
    *,
    step: str,
    run: str,
    local: LocalSecrets,
    resolve: Resolve,
    run_id: str = "",
    task_id: str = "",
) -> PlatformSettings:
    """The settings of one executor.

    Raises:
        InvalidSetting: A secret or a config map that the step cannot do without is not in the local file, or a variable
            takes a field that no pod has.
    """
    reader = _Reader(config=config, step=step, local=local, resolve=resolve)
    ignored = sorted(name for name in set(config) - _HONOURED - _MEANINGLESS_HERE if reader.asks(name))
    fields = read_pod_fields(config, step=step, run=run, run_id=run_id, task_id=task_id)
    secrets, mounted = reader.env("secretAsEnv", "secrets"), reader.files("secretAsVolume", "secrets")
    return PlatformSettings(
        given={**fields.fixed, **secrets, **reader.env("configMapAsEnv", "config_maps")},
        secrets=(*secrets.values(), *(value for files in mounted.values() for value in files.values())),
        secret_variables=tuple(secrets),
        secret_mounts=tuple(mounted),
        withheld=tuple(local.variables),
        fields=fields.varying,
        volumes=reader.volumes(),
        timeout_s=float(config.get("activeDeadlineSeconds") or 0) or None,
        pull_policy=str(config.get("imagePullPolicy") or ""),
        warnings=(*_unheeded(ignored), *fields.warnings),
    )


def _unheeded(names: Sequence[str]) -> Iterator[str]:
    if names:
        yield f"{', '.join(names)} {'have' if names[1:] else 'has'} no effect on this machine"


def missing_secrets(pipeline: Pipeline, local: LocalSecrets) -> Iterator[str]:
    """What steps cannot do without and the local file lacks, where the pipeline itself names it.

    A step in a group that is never reached does not need it.
    """
    for executor, config in pipeline.platform_settings.items():
        reader = _Reader(config=config, step=executor.removeprefix("exec-"), local=local, resolve=_constant)
        for field_name, kind in _CONTENTS.items():
            for each in reader.all(field_name):
                parameter = each.get(f"{_NAME_FIELDS[kind]}Parameter")
                if parameter is not None and _constant(parameter) is None:
                    continue
                try:
                    for pair in each.get("keyToEnv") or [{}]:
                        reader.content(each, kind, key=pair.get(_KEY_FIELDS[kind], "..."))
                except InvalidSetting as error:
                    yield str(error)


def _constant(parameter: Mapping[str, Any]) -> Any:
    return (parameter.get("runtimeValue") or {}).get("constant")


_CONTENTS: dict[str, Kind] = {
    "secretAsEnv": "secrets",
    "secretAsVolume": "secrets",
    "configMapAsEnv": "config_maps",
    "configMapAsVolume": "config_maps",
}
_NAME_FIELDS: dict[Kind, str] = {"secrets": "secretName", "config_maps": "configMapName"}
_KEY_FIELDS: dict[Kind, str] = {"secrets": "secretKey", "config_maps": "configMapKey"}
_TITLES: dict[Kind, str] = {"secrets": "secret", "config_maps": "config map"}


@dataclass(frozen=True, kw_only=True)
class _Reader:
    config: Mapping[str, Any]
    step: str
    local: LocalSecrets
    resolve: Resolve

    def all(self, name: str) -> list[Mapping[str, Any]]:
        return self.config.get(name) or []

    def asks(self, name: str) -> bool:
        """Whether a field holds more than parameters that have no value, which KFP leaves out.

        See kubeflow/pipelines, backend/src/v2/driver/k8s.go: extendPodSpecPatch.
        """
        value = self.config[name]
        entries = value if isinstance(value, list) else [value]
        return any(map(self._asks, entries))

    def _asks(self, entry: Any) -> bool:
        given = [value for key, value in entry.items() if key.endswith("Json")] if isinstance(entry, Mapping) else ()
        return not given or any(self.resolve(each) is not None for each in given)

    def env(self, field_name: str, kind: Kind) -> dict[str, str]:
        env: dict[str, str] = {}
        for each in self.all(field_name):
            for pair in each.get("keyToEnv") or []:
                key = pair[_KEY_FIELDS[kind]]
                found = self.content(each, kind, key=key)
                env |= {pair["envVar"]: found[key]} if key in found else {}
        return env

    def files(self, field_name: str, kind: Kind) -> dict[str, Mapping[str, str]]:
        return {each["mountPath"]: self.content(each, kind) for each in self.all(field_name)}

    def volumes(self) -> Volumes:
        files = self.files("secretAsVolume", "secrets") | self.files("configMapAsVolume", "config_maps")
        passing = [*self.all("emptyDirMounts"), *self.all("genericEphemeralVolume")]
        return Volumes(
            lasting={each["mountPath"]: self._claim(each) for each in self.all("pvcMount")},
            passing=tuple(each["mountPath"] for each in passing),
            files=files,
        )

    def _given(self, parameter: Mapping[str, Any], title: str) -> str:
        """The name that a parameter gives.

        The 2.17.0 compiler hands a pipeline's parameter to a condition in a loop only where a step's own input takes
        it, and leaves it out where nothing but the platform document does.
        """
        if name := to_text(self.resolve(parameter)):
            return name
        source = parse_source(parameter)
        place = source.input or f"the output {source.key!r} of {source.task}"
        raise InvalidSetting(
            f"{self.step} takes the name of a {title} from {place}, which has no value in the group of the "
            "step; if it has one outside of the group, give it to the step as a parameter as well"
        )

    def _claim(self, each: Mapping[str, Any]) -> str:
        name = to_text(each.get("constant") or self._given(each.get("pvcNameParameter") or each, "volume"))
        path = Path(name, str(each.get("subPath") or ""))
        if not name or path.is_absolute() or ".." in path.parts:
            raise InvalidSetting(f"{self.step} mounts a volume with the name {str(path)!r}, which is none")
        return str(path)

    def content(self, each: Mapping[str, Any], kind: Kind, *, key: str = "...") -> Mapping[str, str]:
        """Keys and values of what a step asks for."""
        parameter = each.get(f"{_NAME_FIELDS[kind]}Parameter")
        try:
            name = self._given(parameter, _TITLES[kind]) if parameter else str(each.get(_NAME_FIELDS[kind]) or "")
            return self.local.lookup(kind, name, step=self.step, key=key)
        except InvalidSetting:
            if each.get("optional"):
                return {}
            raise
