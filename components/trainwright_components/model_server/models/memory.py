"""Memory of a serving process: kept at hand while models compute, given back to the system when one is unloaded.

TensorFlow's build for x86 takes large tensors from a pool of its own, which never shrinks. Here they come from the C
library, which is told to keep what it has (else a large tensor costs a third more time) until `give_back_memory`.
"""

import ctypes
import gc
import os

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -2, -4, -8
_LARGEST_INT = (1 << 31) - 1
_HEAP_STEP_BYTES = 64 << 20


def prepare_memory() -> None:
    """Choose the allocator; call it before TensorFlow is imported. What the environment says goes first."""
    os.environ.setdefault("TF_ONEDNN_USE_SYSTEM_ALLOCATOR", "1")
    libc = _glibc()
    if libc is None or any(name.startswith("MALLOC_") for name in os.environ):
        return
    libc.mallopt(_M_ARENA_MAX, 1)  # with more, each swap of versions leaves other gaps behind
    libc.mallopt(_M_MMAP_MAX, 0)
    libc.mallopt(_M_TRIM_THRESHOLD, _LARGEST_INT)
    libc.mallopt(_M_TOP_PAD, _HEAP_STEP_BYTES)


def give_back_memory() -> None:
    """Return what is free to the system."""
    gc.collect()
    libc = _glibc()
    if libc is not None:
        libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    """The C library if it is GNU's; others have no such settings."""
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "malloc_trim") else None
