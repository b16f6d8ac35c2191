"""A block of samples as rows: what goes sample by sample reads its models side by side."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["BLOCK", "gather"]

F = NDArray[np.float64]
Signal = NDArray[np.floating]
B = NDArray[np.bool_]
Index = NDArray[np.int64]

BLOCK = 32


@njit(cache=True, error_model="numpy")
def gather(
    signal: Signal, member: B, view: int, first: int, width: int, x: F, k: NDArray[np.uint8]
) -> None:
    for r in range(signal.shape[0]):
        for j in range(width):
            x[j, r] = signal[r, first + j, view]
            k[j, r] = member[r, first + j]
