"""A block of samples as rows: what goes sample by sample reads its models side by side."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from seepage.array_types import BoolArray, Float64Array, FloatArray, Int64Array

__all__ = ["BLOCK", "gather"]

Signal = FloatArray
Index = Int64Array

BLOCK = 32


@njit(cache=True, error_model="numpy")
def gather(
    signal: Signal,
    member: BoolArray,
    view: int,
    first: int,
    width: int,
    x: Float64Array,
    k: NDArray[np.uint8],
) -> None:
    for r in range(signal.shape[0]):
        for j in range(width):
            x[j, r] = signal[r, first + j, view]
            k[j, r] = member[r, first + j]
