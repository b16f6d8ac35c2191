"""The samples that an attack compares with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from seepage.array_types import BoolArray, Int64Array
from seepage.errors import InputError

__all__ = ["Population", "Untrained", "chosen"]


@dataclass(frozen=True)
class Untrained:
    """The samples that no run of the plan trained on, as `population=` of an attack.

    The non-members that RMIA and attack P assume: under positions of the whole pool members stand
    among them. They are known only with a run: `seepage.score` and `seepage.attacks.bind` put the
    positions in its place.

    >>> Untrained().positions(np.array([[True, False, False], [True, True, False]])).tolist()
    [2]
    """

    def positions(self, member: BoolArray) -> Int64Array:
        """Membership of every run (R, N) -> the samples that are IN nowhere."""
        return np.flatnonzero(~np.asarray(member, dtype=np.bool_).any(axis=0)).astype(np.int64)


Population = ArrayLike | Untrained | None


def chosen(population: Population, samples: int) -> Int64Array:
    """Positions of the population in a pool of `samples`; None is the whole pool.

    >>> chosen(None, 3).tolist(), chosen([2, 0], 3).tolist()
    ([0, 1, 2], [2, 0])
    """
    if population is None:
        return np.arange(samples)
    if isinstance(population, Untrained):
        raise InputError(
            "population: expected positions, got Untrained(), which is known only with a run; "
            "score with seepage.score, or bind the attack to the run first"
        )
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
