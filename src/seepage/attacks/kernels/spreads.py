"""Sums and counts over samples of what common variances and priors need, for every target."""

from __future__ import annotations

import math

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from seepage.array_types import BoolArray, Float64Array, FloatArray, Int64Array
from seepage.attacks.kernels.lanes import FLOOR, LANES, load, logs, without

__all__ = [
    "CHUNKS",
    "MEANS",
    "MOMENTS",
    "OFFSET",
    "SPREADS",
    "SQUARES",
    "STILL",
    "WIDTH",
    "extremes",
    "group_totals",
]

Signal = FloatArray
Index = Int64Array

CHUNKS = 64
# Columns of group_totals: groups, Σ SS, Σ (n−1), Σ mean, Σ mean², Σ s², Σ 1/n, Σ v, with v the
# variance of log s² under one true spread.
MOMENTS = 8
# Which of them are wanted: the first three; groups, v and the cells of log s²; all.
SQUARES, SPREADS, MEANS = 0, 1, 2
# log s², in units that scale with the signal, is counted in cells of this width; the offset keeps
# round values off their edges.
WIDTH, OFFSET = 0.0625, 0.01234567891
# A spread of so little beside the mean is the rounding of float32, not knowledge.
STILL = 4 * FLOOR


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
def extremes(signal: Signal, member: BoolArray, out: Float64Array) -> None:
    """Largest and smallest value of each model, OUT and IN: out (R, A, 2, 2), −∞ and ∞ of none."""
    models, samples, views = signal.shape
    for r in prange(models):
        high = np.empty((2, LANES), signal.dtype)
        low = np.empty((2, LANES), signal.dtype)
        x = np.empty(LANES, signal.dtype)
        for a in range(views):
            high[:] = -np.inf
            low[:] = np.inf
            for first in range(0, samples, LANES):
                width = min(LANES, samples - first)
                there = member[r, first : first + width]
                if views == 1:
                    here = signal[r].reshape(samples)[first : first + width]
                else:
                    here = x[:width]
                    for j in range(width):
                        here[j] = signal[r, first + j, a]
                for g in range(2):
                    up, down = high[g], low[g]
                    for j in range(width):
                        up[j] = here[j] if there[j] == g and here[j] > up[j] else up[j]
                    for j in range(width):
                        down[j] = here[j] if there[j] == g and here[j] < down[j] else down[j]
            for g in range(2):
                out[r, a, g, 0] = high[g].max()
                out[r, a, g, 1] = low[g].min()


@njit(cache=True, error_model="numpy")
def _at_cap(x: Float64Array, k: Float64Array, group: int, cap: float, hit: Float64Array) -> None:
    """Which values of the group equal the cap, 1 or 0, and in the last row how many."""
    models = x.shape[0] - 1
    count = hit[models]
    count[:] = 0.0
    for r in range(models):
        row, has, here = x[r], k[r], hit[r]
        for j in range(row.size):
            here[j] = 1.0 if row[j] == cap and has[j] == group else 0.0
        for j in range(row.size):
            count[j] += here[j]


@njit(cache=True, error_model="numpy")
def _leave_capped(
    hit: Float64Array, gone: Index, n: Float64Array, use: Float64Array, held: Float64Array
) -> None:
    """Take out of `use` the samples of which a quarter or more, two at least, stand at the cap."""
    held[:] = hit[hit.shape[0] - 1]
    for r in gone:
        if r >= 0:
            for j in range(held.size):
                held[j] -= hit[r, j]
    for j in range(held.size):
        if held[j] >= max(2.0, 0.25 * n[j]):
            use[j] = 0.0


@njit(parallel=True, cache=True, error_model="numpy")
def group_totals(
    signal: Signal,
    member: BoolArray,
    drop: Index,
    shift: Float64Array,
    chance: Float64Array,
    level: int,
    caps: Float64Array,
    capped: BoolArray,
    unit: Float64Array,
    lowest: Index,
    out: Float64Array,
    cells: NDArray[np.int32],
) -> None:
    """Sums for every set left out: out (CHUNKS, A, 2, MOMENTS, E), group 1 = IN: see MOMENTS.

    `shift` (A,) is taken off the means before they are squared; chance (R + 1, 2) is the
    expectation and variance of log s² by n. Groups with fewer than 2 references count in none of
    the sums; beyond `SQUARES`, nor do those without a spread (`STILL`) or that stand at a cap:
    caps (E, A, 2, 2) are the largest and smallest values, capped (E, A, 2, 2) whether to look.
    Sums that `level` does not ask for stay 0.

    cells (CHUNKS, A, 2, E, B), int32: how many samples have log s², less its expectation and the
    unit (E, A, 2), in the cell lowest (E, A, 2) + b; the first and the last also hold what lies
    beyond.
    """
    models, samples, views = signal.shape
    last = cells.shape[4] - 1.0
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
        cell = np.empty(LANES, np.int32)
        hit = np.empty((2, models + 1, LANES))
        seen = np.empty(2)
        n, mean, squares = left[0], left[1], left[2]
        stop = min(samples, (c + 1) * per)
        for first in range(c * per, stop, LANES):
            width = min(LANES, stop - first)
            for a in range(views):
                load(signal, member, a, first, width, x, k, d, m)
                for g in range(2):
                    seen[:] = np.nan
                    for e in range(drop.shape[0]):
                        without(x, k, d, m, g, drop[e], left)
                        for j in range(LANES):
                            use[j] = 1.0 if n[j] >= 2 else 0.0
                        use[width:] = 0.0
                        total = out[c, a, g]
                        if level == SQUARES:
                            total[0, e] += _sum(one, use)
                            total[1, e] += _sum(squares, use)
                            for j in range(LANES):
                                value[j] = n[j] - 1
                            total[2, e] += _sum(value, use)
                            continue
                        for j in range(LANES):
                            s2[j] = squares[j] / max(n[j] - 1, 1.0)
                        for j in range(LANES):
                            least = STILL * mean[j]
                            least = least * least + 1e-60
                            use[j] = use[j] if s2[j] > least else 0.0
                            value[j] = max(s2[j], least)
                        for side in range(2):
                            if capped[e, a, g, side]:
                                cap = caps[e, a, g, side]
                                if cap != seen[side]:
                                    seen[side] = cap
                                    _at_cap(x, k, g, cap, hit[side])
                                _leave_capped(hit[side], drop[e], n, use, log_s2)
                        logs(value, log_s2)
                        alike = 0.0
                        for j in range(LANES):
                            alike += 1.0 if n[j] == n[0] else 0.0
                        many = _sum(one, use)
                        origin = unit[e, a, g] + OFFSET
                        total[0, e] += many
                        if alike == LANES:
                            expected = chance[int(n[0]), 0] + origin
                            total[7, e] += many * chance[int(n[0]), 1]
                            for j in range(LANES):
                                log_s2[j] = (log_s2[j] - expected) * (1 / WIDTH)
                        else:
                            for j in range(LANES):
                                value[j] = chance[int(n[j]), 1]
                                log_s2[j] -= chance[int(n[j]), 0] + origin
                                log_s2[j] *= 1 / WIDTH
                            total[7, e] += _sum(value, use)
                        base = float(lowest[e, a, g])
                        for j in range(LANES):
                            cell[j] = np.int32(min(max(math.floor(log_s2[j]) - base, 0.0), last))
                        count = cells[c, a, g, e]
                        for j in range(width):
                            count[cell[j]] += 1 if use[j] > 0 else 0
                        if level == SPREADS:
                            continue
                        total[1, e] += _sum(squares, use)
                        for j in range(LANES):
                            value[j] = n[j] - 1
                        total[2, e] += _sum(value, use)
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
