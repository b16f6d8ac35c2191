"""What all kernels share: their blocks of samples, and which of them reads a type of signal."""

from __future__ import annotations

from collections.abc import Callable

from seepage.array_types import FloatArray
from seepage.native.library import kernel

__all__ = ["FLOOR", "LANES", "PART", "chunks", "compiled"]

LANES = 128  # as in the kernels: samples of a block, side by side
PART = 32 * LANES  # samples that a thread takes at once
# A spread below float32's resolution of the values is rounding, not knowledge.
FLOOR = 2.0**-22


def compiled(name: str, signal: FloatArray, *kinds: type | str) -> Callable[..., None]:
    """The kernel for this signal's type, which is its first argument; callers know there is one."""
    found = kernel(f"{name}_{signal.dtype.str[1:]}", signal.dtype.str[1:], *kinds)
    assert found is not None
    return found


# Sums over samples are made by chunks, as many whatever the number of threads, and then added.
_CHUNKS, _LEAST = 16, 8 * LANES


def chunks(samples: int) -> tuple[int, int]:
    """How many chunks, and how many samples each of them has, the last one fewer.

    >>> chunks(100), chunks(50_000)
    ((1, 128), (16, 3200))
    """
    many = max(1, min(_CHUNKS, samples // _LEAST))
    return many, -(-samples // (many * LANES)) * LANES
