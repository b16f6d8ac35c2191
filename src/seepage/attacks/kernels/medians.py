"""Medians of both groups as every target sees them."""

from __future__ import annotations

import numpy as np
from numba import njit

from seepage.array_types import Float64Array, Int64Array

__all__ = ["median_centres"]

Index = Int64Array


@njit(cache=True, error_model="numpy")
def _median_without(order: Float64Array, n: int, ranks: Index, many: int) -> float:
    """Median of a sorted group without the first `many` of the ascending ranks."""
    left = n - many
    if left == 0:
        return 0.0
    total = 0.0
    for half in range(2):
        at = (left - 1 + half) // 2
        for i in range(many):
            if at >= ranks[i]:
                at += 1
        total += order[at]
    return total / 2


@njit(cache=True, error_model="numpy")
def median_centres(x: Float64Array, k: Float64Array, drop: Index, out: Float64Array) -> None:
    """Medians for every set left out, by `lanes.load`'s block: out (2, E, L), 1 = IN."""
    models, lanes = x.shape[0] - 1, x.shape[1]
    rank = np.empty(models, np.int64)
    group = np.empty(models, np.int64)
    sorted_ = np.empty((2, models))
    count = np.empty(2, np.int64)
    gone = np.empty((2, drop.shape[1]), np.int64)
    many = np.empty(2, np.int64)
    for j in range(lanes):
        count[:] = 0
        order = np.argsort(x[:models, j])
        for i in range(models):
            r = order[i]
            g = 1 if k[r, j] > 0 else 0
            sorted_[g, count[g]] = x[r, j]
            rank[r] = count[g]
            group[r] = g
            count[g] += 1
        for e in range(drop.shape[0]):
            many[0] = many[1] = 0
            for i in range(drop.shape[1]):
                r = drop[e, i]
                if r < 0:
                    continue
                g = group[r]
                at = many[g]
                while at > 0 and gone[g, at - 1] > rank[r]:
                    gone[g, at] = gone[g, at - 1]
                    at -= 1
                gone[g, at] = rank[r]
                many[g] += 1
            for g in range(2):
                out[g, e, j] = _median_without(sorted_[g], count[g], gone[g], many[g])
