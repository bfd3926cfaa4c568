"""What a container asks of its machine, in cores, bytes and accelerators."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from trainwright_components.errors import InvalidPipeline

_QUANTITY = re.compile(r"(?P<number>[+-]?(?:\d+\.?\d*|\.\d+))(?P<suffix>[numkKMGTPE]|[KMGTPE]i|[eE][+-]?\d+)?")
_DECIMAL = {"n": -9, "u": -6, "m": -3, "k": 3, "K": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}


@dataclass(frozen=True, kw_only=True)
class Resources:
    """Requests and limits of one step; None where it asks for nothing."""

    cpu_request: float | None = None
    cpu_limit: float | None = None
    memory_request_bytes: int | None = None
    memory_limit_bytes: int | None = None
    accelerator: str = ""
    """`nvidia.com/gpu`, `NVIDIA_L4`, ..."""
    accelerator_count: int = 0

    @property
    def cpu(self) -> float:
        """The cores that it cannot do without, as Kubernetes counts them: a limit without a request is one."""
        return self.cpu_limit or 0.0 if self.cpu_request is None else self.cpu_request

    @property
    def memory_bytes(self) -> int:
        """The memory that it cannot do without."""
        return self.memory_limit_bytes or 0 if self.memory_request_bytes is None else self.memory_request_bytes

    @property
    def told(self) -> dict[str, dict[str, Any]]:
        """What it asks for, for the record."""
        cpu = {"request": self.cpu_request, "limit": self.cpu_limit}
        memory = {"request": self.memory_request_bytes, "limit": self.memory_limit_bytes}
        accelerator = {"type": self.accelerator, "limit": self.accelerator_count} if self.accelerator else {}
        asked: dict[str, dict[str, Any]] = {"cpu": cpu, "memory_bytes": memory, "accelerator": accelerator}
        return {
            name: each
            for name, values in asked.items()
            if (each := {key: value for key, value in values.items() if value is not None})
        }


def read_resources(container: Mapping[str, Any], fill: Callable[[str], str]) -> Resources:
    """The resources of a PipelineContainerSpec; `fill` fills its placeholders. What stays empty is not asked for.

    Of each pair of fields KFP reads the newer one, a quantity of Kubernetes, and else the older one, a number of cores
    or of 10^9 bytes (kubeflow/pipelines, backend/src/v2/driver/driver.go: initPodSpecPatch).

    Raises:
        InvalidPipeline: One is not a quantity.
    """
    raw = container.get("resources") or {}

    def quantity(newer: str, older: str, unit: str = "") -> Decimal | None:
        text = fill(str(raw.get(newer) or "")) or (f"{raw[older]}{unit}" if raw.get(older) else "")
        return _read_quantity(text, newer) if text else None

    cpu = {name: quantity(f"resourceCpu{name}", f"cpu{name}") for name in ("Request", "Limit")}
    memory = {name: quantity(f"resourceMemory{name}", f"memory{name}", "G") for name in ("Request", "Limit")}
    accelerator = raw.get("accelerator") or {}
    count = fill(str(accelerator.get("resourceCount") or "")) or str(accelerator.get("count") or "0")
    return Resources(
        cpu_request=_as_float(cpu["Request"]),
        cpu_limit=_as_float(cpu["Limit"]),
        memory_request_bytes=_as_int(memory["Request"]),
        memory_limit_bytes=_as_int(memory["Limit"]),
        accelerator=fill(str(accelerator.get("resourceType") or "")) or str(accelerator.get("type") or ""),
        accelerator_count=int(_read_quantity(count, "accelerator count")),
    )


def _read_quantity(text: str, name: str) -> Decimal:
    """A quantity as Kubernetes writes it: `500m`, `64Mi`, `1e9` (kubernetes/apimachinery, pkg/api/resource)."""
    found = _QUANTITY.fullmatch(text.strip())
    if found is None or found["number"].startswith("-"):
        raise InvalidPipeline(f"{name} is a quantity such as 2, 500m or 64Mi, got {text!r}")
    number, suffix = Decimal(found["number"]), found["suffix"] or ""
    if suffix in _BINARY:
        return number * Decimal(1024 ** _BINARY[suffix])
    return number.scaleb(_DECIMAL[suffix] if suffix in _DECIMAL else int(suffix[1:] or 0))


def _as_float(value: Decimal | None) -> float | None:
    return None if value is None else float(value)


def _as_int(value: Decimal | None) -> int | None:
    return None if value is None else int(value)


def format_bytes(count: int) -> str:
    """A number of bytes in the largest unit that it has at least one of: `64 MiB`."""
    value, units = float(count), ["bytes", "KiB", "MiB", "GiB", "TiB"]
    while value >= 1024 and len(units) > 1:
        value /= 1024
        units.pop(0)
    return f"{value:.4g} {units[0]}"
