"""What the platform document asks of Kubernetes: honoured where a process here can, else named in a warning."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from trainwright_components.errors import InvalidSetting
from trainwright_pipelines.engine.values import to_text

_HONOURED = {"secretAsEnv", "configMapAsEnv", "activeDeadlineSeconds", "fieldPathAsEnv"}
_WITHOUT_EFFECT_HERE = {"imagePullPolicy", "imagePullSecret", "podMetadata", "enabledSharedMemory"}

Resolve = Callable[[Mapping[str, Any]], Any]
"""From an input parameter spec of the platform document to its value."""


@dataclass(frozen=True, kw_only=True)
class PlatformSettings:
    """What one step gets from the platform document."""

    env: Mapping[str, str] = field(default_factory=dict)
    timeout_s: float | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class LocalSecrets:
    """Stand-ins for a cluster's Secrets and ConfigMaps, read from a file of the user's and never stored."""

    path: Path
    secrets: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    config_maps: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path) -> "LocalSecrets":
        """Read `secrets:` and `config_maps:`, each a mapping of names to keys and values; a missing file holds none.

        Raises:
            InvalidSetting: It is no such file.
        """
        if not path.exists():
            return cls(path=path)
        try:
            content = yaml.safe_load(path.read_text()) or {}
            found = {
                kind: {name: {key: to_text(value) for key, value in keys.items()} for name, keys in each.items()}
                for kind, each in content.items()
            }
        except (yaml.YAMLError, AttributeError) as error:
            raise InvalidSetting(
                f"{path} should hold `secrets:` and `config_maps:`, each name: {{key: value}}"
            ) from error
        return cls(path=path, secrets=found.get("secrets", {}), config_maps=found.get("config_maps", {}))


def read_settings(
    config: Mapping[str, Any], *, step: str, run: str, local: LocalSecrets, resolve: Resolve
) -> PlatformSettings:
    """The settings of one executor.

    Raises:
        InvalidSetting: A secret or a config map that the step cannot do without is not in the local file.
    """
    env: dict[str, str] = {}
    for each in config.get("secretAsEnv") or []:
        name = _name(each, "secretName", resolve)
        env |= _from_map(each, name, "secretKey", local.secrets, what="secret", step=step, path=local.path)
    for each in config.get("configMapAsEnv") or []:
        name = _name(each, "configMapName", resolve)
        env |= _from_map(each, name, "configMapKey", local.config_maps, what="config map", step=step, path=local.path)
    for each in config.get("fieldPathAsEnv") or []:
        env[each["name"]] = _field(each.get("fieldPath", ""), step=step, run=run)
    ignored = sorted(set(config) - _HONOURED - _WITHOUT_EFFECT_HERE)
    deadline = float(config.get("activeDeadlineSeconds") or 0)
    return PlatformSettings(
        env=env,
        timeout_s=deadline or None,
        warnings=(f"{step}: {', '.join(ignored)} has no effect on this machine",) if ignored else (),
    )


def _name(each: Mapping[str, Any], key: str, resolve: Resolve) -> str:
    parameter = each.get(f"{key}Parameter")
    return to_text(resolve(parameter)) if parameter else str(each.get(key) or "")


def _from_map(
    each: Mapping[str, Any],
    name: str,
    key_field: str,
    known: Mapping[str, Mapping[str, str]],
    *,
    what: str,
    step: str,
    path: Path,
) -> dict[str, str]:
    found = known.get(name, {})
    env = {}
    for pair in each.get("keyToEnv") or []:
        key = pair[key_field]
        if key in found:
            env[pair["envVar"]] = found[key]
        elif not each.get("optional"):
            section = "secrets" if what == "secret" else "config_maps"
            raise InvalidSetting(
                f"{step} needs the {what} {name!r} with the key {key!r}; on this machine it is read from {path}: "
                f"{section}: {{{name}: {{{key}: ...}}}}"
            )
    return env


def _field(path: str, *, step: str, run: str) -> str:
    known = {"metadata.name": f"{run}-{step}", "metadata.namespace": "default", "spec.nodeName": "localhost"}
    return known.get(path, "")
