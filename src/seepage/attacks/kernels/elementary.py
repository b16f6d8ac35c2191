"""Logarithms of arrays."""

from __future__ import annotations

import numpy as np

from seepage.array_types import Float64Array
from seepage.native.library import contiguous, kernel, over_blocks

__all__ = ["log"]


def log(x: Float64Array) -> Float64Array:
    """Natural logarithm, to one unit in the last place, of any shape; −∞ of 0, NaN below."""
    call = kernel("logarithms", "f8", int, int, "f8")
    if call is None:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(np.log(x))
    given = contiguous(x, "f8")
    out = np.empty(given.shape)
    over_blocks(lambda a, b: call(given, a, b, out), given.size, 1 << 17)
    return out
