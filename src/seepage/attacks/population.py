"""The positions that an attack may compare with."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from seepage.array_types import Int64Array
from seepage.errors import InputError

__all__ = ["chosen"]


def chosen(population: ArrayLike | None, samples: int) -> Int64Array:
    """Positions of the population in a pool of `samples`; None is the whole pool.

    >>> chosen(None, 3).tolist(), chosen([2, 0], 3).tolist()
    ([0, 1, 2], [2, 0])
    """
    if population is None:
        return np.arange(samples)
    index = np.asarray(population)
    if index.ndim != 1 or index.dtype.kind not in "iu" or len(index) < 2:
        raise InputError(
            f"population: expected at least 2 whole positions in one list, got {index.dtype} of "
            f"shape {index.shape}; pass positions, not a mask"
        )
    if index.min() < 0 or index.max() >= samples:
        raise InputError(
            f"population: expected positions from 0 to {samples - 1}, got {index.min()} to "
            f"{index.max()}; they count samples of the pool"
        )
    return index.astype(np.int64)
