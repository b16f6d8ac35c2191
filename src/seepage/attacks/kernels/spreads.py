"""Sums over samples of what common variances and priors need, for every target."""

from __future__ import annotations

import numpy as np
from numba import njit, prange

from seepage.array_types import BoolArray, Float64Array, FloatArray, Int64Array
from seepage.attacks.kernels.lanes import FLOOR, LANES, load, logs, without

__all__ = ["CHUNKS", "MEANS", "MOMENTS", "SPREADS", "SQUARES", "group_totals"]

Signal = FloatArray
Index = Int64Array

CHUNKS = 64
# Columns of group_totals: groups, Σ SS, Σ (n−1), Σ mean, Σ mean², Σ s², Σ 1/n, Σ e, Σ e², Σ v,
# with e = log s² less its expectation and v its variance under one true spread.
MOMENTS = 10
# Which of them are wanted: the first three; the first and those of log s²; all.
SQUARES, SPREADS, MEANS = 0, 1, 2


@njit(cache=True, error_model="numpy")
def _sum(x: Float64Array, use: Float64Array) -> float:
    """Sum of x where `use` is 1, in four interleaved parts: an order that is fixed, and quick."""
    a = b = c = d = 0.0
    for j in range(0, x.size, 4):
        a += x[j] * use[j]
        b += x[j + 1] * use[j + 1]
        c += x[j + 2] * use[j + 2]
        d += x[j + 3] * use[j + 3]
    return (a + b) + (c + d)


@njit(parallel=True, cache=True, error_model="numpy")
def group_totals(
    signal: Signal,
    member: BoolArray,
    drop: Index,
    shift: Float64Array,
    chance: Float64Array,
    level: int,
    out: Float64Array,
) -> None:
    """Sums for every set left out: out (CHUNKS, A, 2, MOMENTS, E), group 1 = IN: see MOMENTS.

    `shift` (A,) is taken off the means before they are squared; chance (R + 1, 2) is the
    expectation and variance of log s² by n. Groups with fewer than 2 references count in none of
    the sums. Sums that `level` does not ask for stay 0.
    """
    models, samples, views = signal.shape
    per = ((samples + CHUNKS - 1) // CHUNKS + LANES - 1) // LANES * LANES
    for c in prange(CHUNKS):
        x = np.empty((models + 1, LANES))
        k = np.empty((models + 1, LANES))
        d = np.empty((models + 1, LANES))
        m = np.empty((6, LANES))
        left = np.empty((3, LANES))
        use = np.empty(LANES)
        one = np.ones(LANES)
        value = np.empty(LANES)
        s2 = np.empty(LANES)
        log_s2 = np.empty(LANES)
        n, mean, squares = left[0], left[1], left[2]
        stop = min(samples, (c + 1) * per)
        for first in range(c * per, stop, LANES):
            width = min(LANES, stop - first)
            for a in range(views):
                load(signal, member, a, first, width, x, k, d, m)
                for g in range(2):
                    for e in range(drop.shape[0]):
                        without(x, k, d, m, g, drop[e], left)
                        for j in range(LANES):
                            use[j] = 1.0 if n[j] >= 2 else 0.0
                        use[width:] = 0.0
                        total = out[c, a, g]
                        total[0, e] += _sum(one, use)
                        if level != SPREADS:
                            total[1, e] += _sum(squares, use)
                            for j in range(LANES):
                                value[j] = n[j] - 1
                            total[2, e] += _sum(value, use)
                        if level == SQUARES:
                            continue
                        for j in range(LANES):
                            s2[j] = squares[j] / max(n[j] - 1, 1.0)
                        for j in range(LANES):
                            least = FLOOR * mean[j]
                            value[j] = max(s2[j], least * least + 1e-60)
                        logs(value, log_s2)
                        for j in range(LANES):
                            log_s2[j] -= chance[int(n[j]), 0]
                        total[7, e] += _sum(log_s2, use)
                        for j in range(LANES):
                            value[j] = log_s2[j] * log_s2[j]
                        total[8, e] += _sum(value, use)
                        for j in range(LANES):
                            value[j] = chance[int(n[j]), 1]
                        total[9, e] += _sum(value, use)
                        if level == SPREADS:
                            continue
                        for j in range(LANES):
                            value[j] = mean[j] - shift[a]
                        total[3, e] += _sum(value, use)
                        for j in range(LANES):
                            value[j] *= value[j]
                        total[4, e] += _sum(value, use)
                        total[5, e] += _sum(s2, use)
                        for j in range(LANES):
                            value[j] = 1.0 / max(n[j], 1.0)
                        total[6, e] += _sum(value, use)
