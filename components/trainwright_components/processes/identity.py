"""Which process an id meant when it was recorded: ids are used again, and the clock is set while processes live."""

import zlib
from pathlib import Path

import psutil

_TICKS_BITS = 35  # ten years of 100 ticks a second; with the boot's number a float still holds all of it
_BOOT_BITS = 18
_CLOCK_TOLERANCE_S = 1.0


def start_of(pid: int) -> float:
    """What tells a process, together with its id, from all others: when it started.

    On Linux ticks since the boot, which stay as they are when the clock is set (`starttime` in proc_pid_stat(5)),
    behind a number of the boot. `psutil.Process.create_time` adds the time of the boot by the clock as it is now.
    Elsewhere the kernel keeps that time.

    Raises:
        psutil.NoSuchProcess: There is none.
    """
    try:
        ticks = int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[19])
        boot = zlib.crc32(Path("/proc/sys/kernel/random/boot_id").read_bytes()) % ((1 << _BOOT_BITS) - 1)
    except OSError:
        return psutil.Process(pid).create_time()
    return float(((boot + 1) << _TICKS_BITS) + ticks)


def is_same_process(pid: int, start: float) -> bool:
    """Whether the process with this id, and this `start_of`, still lives."""
    try:
        is_dead = psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
        if start < 1 << _TICKS_BITS:  # seconds since 1970: not from Linux, or from an older release
            return not is_dead and abs(psutil.Process(pid).create_time() - start) < _CLOCK_TOLERANCE_S
        return not is_dead and start_of(pid) == start
    except psutil.NoSuchProcess:
        return False
