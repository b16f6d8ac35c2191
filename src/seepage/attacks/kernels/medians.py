"""Medians of both groups as every target sees them."""

from __future__ import annotations

import numpy as np
from numba import njit

from seepage.array_types import Float64Array, Int64Array

__all__ = ["median_centres"]

Index = Int64Array


@njit(cache=True, error_model="numpy")
def _median_without(order: Float64Array, n: int, p: int, q: int) -> float:
    """Median of a sorted group without the ranks p and q (−1: none)."""
    if p > q:
        p, q = q, p
    left = n - (p >= 0) - (q >= 0)
    if left == 0:
        return 0.0
    total = 0.0
    for half in range(2):
        at = (left - 1 + half) // 2
        if p >= 0 and at >= p:
            at += 1
        if q >= 0 and at >= q:
            at += 1
        total += order[at]
    return total / 2


@njit(cache=True, error_model="numpy")
def median_centres(x: Float64Array, k: Float64Array, drop: Index, out: Float64Array) -> None:
    """Medians for every set left out, by `lanes.load`'s block: out (2, E, L), 1 = IN."""
    models, lanes = x.shape[0] - 1, x.shape[1]
    rank = np.empty((2, models), np.int64)
    sorted_ = np.empty((2, models))
    count = np.empty(2, np.int64)
    for j in range(lanes):
        rank[:] = -1
        count[:] = 0
        order = np.argsort(x[:models, j])
        for i in range(models):
            r = order[i]
            g = 1 if k[r, j] > 0 else 0
            sorted_[g, count[g]] = x[r, j]
            rank[g, r] = count[g]
            count[g] += 1
        for e in range(drop.shape[0]):
            p, q = drop[e, 0], drop[e, 1]
            for g in range(2):
                rp = rank[g, p] if p >= 0 else -1
                rq = rank[g, q] if q >= 0 else -1
                out[g, e, j] = _median_without(sorted_[g], count[g], rp, rq)
