"""What a process that serves for days asks of its interpreter and its allocator."""

import ctypes
import gc

__all__ = ["tune_process"]

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h of glibc
_KEPT_BYTES = 256 << 20
_MAPPED_FROM = 32 << 20  # the most that glibc takes


def tune_process() -> None:
    """Search for cycles rarely, and keep freed memory for the next request; once, before models are loaded.

    An answer makes hundreds of objects and no cycles. By default every other one would begin a search, and
    some of them one through all modules. Of tensors that are freed, glibc gives the pages back to the
    kernel, which has to clear others for the next request.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # other C libraries have none
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
        mallopt(_M_MMAP_THRESHOLD, _MAPPED_FROM)
