"""Which references each target does without, in the form the kernels read."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from seepage.array_types import BoolArray, FloatArray, Int64Array

__all__ = ["Dropped", "dropped", "kernel_ready"]


@dataclass(frozen=True, eq=False)
class Dropped:
    """Which references every target leaves out.

    sets (E, 2): the distinct ones, model positions with −1 for none; which (R,): the set of each
    target. A target and its twin leave out the same two models, so under complementary pairs all
    moments are needed only once for both.
    """

    sets: Int64Array
    which: Int64Array

    @property
    def rows(self) -> Int64Array:
        """Target by target: (R, 2)."""
        return np.ascontiguousarray(self.sets[self.which])


def dropped(use: BoolArray) -> Dropped | None:
    """The at most two models that each target leaves out; use (R, R) bool.

    None when some target leaves out more: the kernels take out one pair, not a set.

    >>> dropped(~np.eye(2, dtype=bool)).rows.tolist()
    [[0, -1], [1, -1]]
    """
    rows = np.full((len(use), 2), -1, dtype=np.int64)
    for r, row in enumerate(use):
        gone = np.flatnonzero(~row)
        if gone.size > 2:
            return None
        rows[r, : gone.size] = gone
    sets, which = np.unique(rows, axis=0, return_inverse=True)
    return Dropped(np.ascontiguousarray(sets), which.reshape(-1).astype(np.int64))


def kernel_ready(signal: FloatArray) -> FloatArray:
    """The signal as contiguous float32 or float64, copied only when it is neither."""
    if signal.dtype not in (np.float32, np.float64):
        signal = signal.astype(np.float64)
    return np.ascontiguousarray(signal)
