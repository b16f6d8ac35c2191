"""Ranks with ties, without the whole of a statistics library, whose import takes longer."""

from __future__ import annotations

import numpy as np

from seepage.array_types import Float64Array

__all__ = ["mean_ranks"]


def mean_ranks(values: Float64Array) -> Float64Array:
    """Ranks from 1 within each row of values (R, N) without NaN -> (R, N); equal ones share the mean.

    >>> mean_ranks(np.array([[0.5, 0.1, 0.5]])).tolist()
    [[2.5, 1.0, 2.5]]
    """
    found = np.empty(values.shape)
    for ranks, row in zip(found, values, strict=True):
        order = row.argsort()
        ascending = row[order]
        first = np.flatnonzero(np.append(True, ascending[1:] != ascending[:-1]))
        past = np.append(first[1:], len(row))
        ranks[order] = np.repeat((first + 1 + past) / 2, past - first)
    return found
