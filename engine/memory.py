"""Memory: whether an error means that it ran out, and how much a process or its GPU has needed.

Importing it imports no torch.
"""

from __future__ import annotations

import contextlib
import ctypes
import sys
from typing import Final

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_MAX: Final = -4
"""Of mallopt(3)."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of torch, of Python or of the allocator below means that memory ran out."""
    names = {cls.__name__ for cls in type(error).__mro__}
    text = str(error)
    return bool(names & {"MemoryError", "OutOfMemoryError"}) or any(
        words in text for words in ("can't allocate memory", "not enough memory")
    )


def is_device_lost(error: BaseException) -> bool:
    """Whether a GPU has failed in a way after which every further call of the process fails too."""
    names = {cls.__name__ for cls in type(error).__mro__}
    lost = "AcceleratorError" in names or any(words in str(error) for words in ("CUDA error", "device-side assert"))
    return lost and not is_out_of_memory(error)


def free_cached() -> None:
    """Give back what torch keeps of a GPU's memory for later."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()


def peak_bytes(device: str) -> int | None:
    """The most memory that was held: of the GPU where there is one, else of this process; None where unknown."""
    torch = sys.modules.get("torch")
    if device.startswith("cuda") and torch is not None:
        return int(torch.cuda.max_memory_allocated(device))
    try:
        import resource
    except ImportError:  # not on every system
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def keep_freed_memory() -> None:
    """Let this process keep what it frees for its next pass, where the C library is glibc.

    Logits of one pass are some 100 MB; given back after every pass, the system hands them out again page by page and
    zeroed, which takes a tenth of a pass on GPT-2.
    """
    with contextlib.suppress(OSError, AttributeError):  # other systems and C libraries
        library = ctypes.CDLL("libc.so.6")
        library.mallopt(_M_MMAP_MAX, 0)
        library.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
