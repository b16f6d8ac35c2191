"""Memory that tensors of one batch leave and those of the next take stays with the process."""

from __future__ import annotations

import ctypes
import sys
from functools import cache

__all__ = ["keep_freed"]

# Of <malloc.h>: what lies free at the end of the heap before it is returned, and from what size on a
# block is a mapping of its own, which is returned at once; the largest that the library takes.
_TRIM, _MAPPED = -1, -3
_KEPT, _LARGEST = 2**28, 2**25


@cache
def keep_freed() -> bool:
    """From now on up to 256 MiB of freed memory are not returned to the system; whether that took hold.

    A loop over batches frees in each what it takes again in the next. By default the C library returns
    it, and the system clears every page that it gives again: a fifth to two fifths of the time of
    directional slopes of a small CNN. Changes no value. Of glibc alone; elsewhere nothing is done.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        set_option = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return False
    return bool(set_option(_TRIM, _KEPT)) and bool(set_option(_MAPPED, _LARGEST))
