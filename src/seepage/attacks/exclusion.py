"""Which references each target does without, in the form the kernels read."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from seepage.array_types import BoolArray, FloatArray, Int64Array

__all__ = ["Dropped", "dropped", "kernel_ready"]


@dataclass(frozen=True, eq=False)
class Dropped:
    """Which references every target leaves out.

    sets (E, K): the distinct ones, model positions in ascending order with −1 for none, K the
    largest number, at least 2; which (R,): the set of each target. The targets of a tuple leave
    out the same models, so under complementary tuples all moments are needed once for all of them.
    """

    sets: Int64Array
    which: Int64Array

    @property
    def rows(self) -> Int64Array:
        """Target by target: (R, K)."""
        return np.ascontiguousarray(self.sets[self.which])


def dropped(use: BoolArray) -> Dropped:
    """The models that each target leaves out; use (R, R) bool.

    >>> dropped(~np.eye(2, dtype=bool)).rows.tolist()
    [[0, -1], [1, -1]]
    """
    targets, gone = np.nonzero(~use)
    count = np.bincount(targets, minlength=len(use))
    rows = np.full((len(use), max(2, int(count.max(initial=0)))), -1, dtype=np.int64)
    place = np.arange(len(gone)) - np.repeat(np.cumsum(count) - count, count)
    rows[targets, place] = gone
    sets, which = np.unique(rows, axis=0, return_inverse=True)
    return Dropped(np.ascontiguousarray(sets), which.reshape(-1).astype(np.int64))


def kernel_ready(signal: FloatArray) -> FloatArray:
    """The signal as contiguous float32 or float64, copied only when it is neither."""
    if signal.dtype not in (np.float32, np.float64):
        signal = signal.astype(np.float64)
    return np.ascontiguousarray(signal)
