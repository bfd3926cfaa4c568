"""What this machine has for steps, and whether that is enough for what one of them asks."""

import functools
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from trainwright_pipelines.ir.resources import Resources, format_bytes

_NVIDIA_TIMEOUT_S = 10
_LISTED_GPUS = Path("/proc/driver/nvidia/gpus")
_CGROUPS = Path("/sys/fs/cgroup")
_CONTROLLERS = {"memory": ("memory.max", "memory.limit_in_bytes"), "cpu": ("cpu.max", "cpu.cfs_quota_us")}


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What steps can have of a machine."""

    cores: float
    memory_bytes: int
    gpus: tuple[str, ...] = ()
    """Their names, as CUDA_VISIBLE_DEVICES takes them."""

    def lacks(self, asked: Resources) -> str:
        """What `asked` is beyond it, for a message; empty where it has as much.

        Accelerators count by their number: which kind of GPU this is, it does not tell in Kubernetes' words.
        """
        gpus = len(self.gpus) if is_gpu(asked) else 0
        over = {
            f"{asked.cpu:g} cores": asked.cpu > self.cores,
            f"{format_bytes(asked.memory_bytes)} of memory": asked.memory_bytes > self.memory_bytes,
            f"{asked.accelerator_count} {asked.accelerator}": has_accelerator(asked) and asked.accelerator_count > gpus,
        }
        has = [f"{self.cores:g} cores", f"{format_bytes(self.memory_bytes)}", f"{gpus or 'no'} {asked.accelerator}"]
        beyond = [(wanted, here) for (wanted, is_over), here in zip(over.items(), has, strict=True) if is_over]
        if not beyond:
            return ""
        wanted, here = (_listed(words) for words in zip(*beyond, strict=True))
        return f"asks for {wanted}, and this machine has {here}"


def _listed(words: Sequence[str]) -> str:
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last


def has_accelerator(asked: Resources) -> bool:
    """Whether it asks for any; KFP ignores a number without a type, and a type without a number.

    See kubeflow/pipelines, backend/src/v2/driver/driver.go: initPodSpecPatch.
    """
    return bool(asked.accelerator) and asked.accelerator_count > 0


def is_gpu(asked: Resources) -> bool:
    """Whether the accelerators that it asks for are GPUs of NVIDIA, the only ones that are counted."""
    name = asked.accelerator.lower()
    return has_accelerator(asked) and (name.startswith(("nvidia", "gpu")) or "nvidia" in name)


@functools.cache
def this_machine() -> Machine:
    """The cores and the memory that this process may use, and the GPUs; asked once a process."""
    status = Path("/proc/self/cgroup")
    groups = status.read_text() if status.exists() else ""
    quota, limit = cgroup_limit(groups, "cpu"), cgroup_limit(groups, "memory")
    memory = psutil.virtual_memory().total
    return Machine(
        cores=min(usable_cores(), quota or usable_cores()),
        memory_bytes=int(min(memory, limit or memory)),
        gpus=visible_gpus(),
    )


def usable_cores() -> int:
    """Cores that this process may use; fewer than the machine's under taskset."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cgroup_limit(groups: str, controller: str, root: Path = _CGROUPS) -> float | None:
    """The least limit of the groups of a process, in cores or bytes; None without one.

    `groups` is what /proc/self/cgroup says. Both versions are read (docs.kernel.org/admin-guide/cgroup-v2.html:
    `cpu.max`, `memory.max`; cgroup-v1/memory.html: `memory.limit_in_bytes`; scheduler/sched-bwc.html:
    `cpu.cfs_quota_us`).
    """
    newer, older = _CONTROLLERS[controller]
    found = []
    for line in groups.splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        top = root if not controllers else root / controller
        for folder in _up_to(top / path.lstrip("/"), top):
            limit = _read_limit(folder, newer if not controllers else older)
            found += [limit] if limit is not None else []
    return min(found, default=None)


def _up_to(folder: Path, top: Path) -> Iterator[Path]:
    yield top  # in a container its own group is mounted there, whatever it is called outside
    while folder != top:
        yield folder
        folder = folder.parent


def _read_limit(folder: Path, name: str) -> float | None:
    try:
        words = (folder / name).read_text().split()
        if name == "cpu.cfs_quota_us":
            words += (folder / "cpu.cfs_period_us").read_text().split()
        limit = float(words[0])
    except (OSError, ValueError, IndexError):  # no such group here, or `max`
        return None
    if limit <= 0:
        return None
    return limit / float(words[1]) if len(words) > 1 else limit


def visible_gpus(listed: Path = _LISTED_GPUS) -> tuple[str, ...]:
    """The GPUs of NVIDIA that this process may use. The driver's list is there at once, nvidia-smi takes seconds."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is None:
        count = len(list(listed.iterdir())) if listed.is_dir() else len(nvidia_gpus())
        return tuple(map(str, range(count)))
    names = [each.strip() for each in given.split(",")]
    return tuple(names[: names.index("-1")] if "-1" in names else filter(None, names))


def nvidia_gpus() -> list[str]:
    """What nvidia-smi lists; nothing without a driver."""
    if shutil.which("nvidia-smi") is None:
        return []
    try:
        done = subprocess.run(
            ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=_NVIDIA_TIMEOUT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in done.stdout.splitlines() if line.strip()]
