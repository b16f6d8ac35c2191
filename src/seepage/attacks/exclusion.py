"""Which references each target does without, in the form the kernels read."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["dropped", "kernel_ready"]


def dropped(use: NDArray[np.bool_]) -> NDArray[np.int64] | None:
    """The at most two models that each target leaves out: (R, R) bool -> (R, 2), −1 for none.

    None when some target leaves out more: the kernels take out one pair, not a set.

    >>> dropped(~np.eye(2, dtype=bool)).tolist()
    [[0, -1], [1, -1]]
    """
    out = np.full((len(use), 2), -1, dtype=np.int64)
    for r, row in enumerate(use):
        gone = np.flatnonzero(~row)
        if gone.size > 2:
            return None
        out[r, : gone.size] = gone
    return out


def kernel_ready(signal: NDArray[np.floating]) -> NDArray[np.floating]:
    """The signal as contiguous float32 or float64, copied only when it is neither."""
    if signal.dtype not in (np.float32, np.float64):
        signal = signal.astype(np.float64)
    return np.ascontiguousarray(signal)
