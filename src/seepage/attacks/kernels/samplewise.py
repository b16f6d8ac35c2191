"""Scores that go sample by sample: ranks among others, and ratios to what references give."""

from __future__ import annotations

import math

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from seepage.array_types import BoolArray, Float64Array, FloatArray, Int64Array

__all__ = ["BLOCK", "empirical_all", "gather", "log_ratio_all", "merged_cdf", "rank_against"]

Signal = FloatArray


Index = Int64Array

BLOCK = 32


@njit(cache=True, error_model="numpy")
def gather(
    signal: Signal,
    member: BoolArray,
    view: int,
    first: int,
    width: int,
    x: Float64Array,
    k: NDArray[np.uint8],
) -> None:
    for r in range(signal.shape[0]):
        for j in range(width):
            x[j, r] = signal[r, first + j, view]
            k[j, r] = member[r, first + j]


@njit(cache=True, error_model="numpy", nogil=True)
def rank_against(
    sorted_: Float64Array, order: Index, values: Float64Array, slack: float, out: Float64Array
) -> None:
    """Fraction of `sorted_` at or below values + slack, with values[order] ascending; a merge."""
    at = 0
    for i in range(order.size):
        x = values[order[i]] + slack
        while at < sorted_.size and sorted_[at] <= x:
            at += 1
        out[order[i]] = at / sorted_.size


@njit(cache=True, error_model="numpy", nogil=True)
def merged_cdf(
    sorted_: Float64Array, order: Index, x: Float64Array, low: float, high: float, out: Float64Array
) -> None:
    """Interpolated CDF of a sorted sample at x, with x[order] ascending: one merge, out (N,)."""
    n = sorted_.size
    at = 0  # how many of the sample lie below the value
    lower = low
    lower_rank = 0.0
    end = 0  # where the ties of sorted_[at] end
    while end < n and sorted_[end] == sorted_[0]:
        end += 1
    for i in range(order.size):
        value = x[order[i]]
        while at < n and sorted_[at] < value:
            lower = sorted_[at]
            lower_rank = 0.5 * (at + 1 + end)
            at = end
            while end < n and sorted_[end] == sorted_[at]:
                end += 1
        upper = sorted_[at] if at < n else high
        upper_rank = 0.5 * (at + 1 + end) if at < n else n + 1.0
        if value == upper and at < n:
            rank = upper_rank
        elif value <= lower:
            rank = lower_rank
        elif value >= upper:
            rank = upper_rank
        else:
            rank = lower_rank + (value - lower) / (upper - lower) * (upper_rank - lower_rank)
        out[order[i]] = rank / (n + 1)


@njit(parallel=True, cache=True, error_model="numpy")
def empirical_all(
    loss: Signal, member: BoolArray, drop: Index, low: float, high: float, out: Float64Array
) -> None:
    """Interpolated empirical CDF of each sample's OUT losses at the target's loss: out (R, N).

    Tied references share their mean rank; the anchors `low` and `high` stand for rank 0 and n + 1.
    View 0 only.
    """
    models, samples = member.shape
    blocks = (samples + BLOCK - 1) // BLOCK
    for b in prange(blocks):
        x = np.empty((BLOCK, models))
        k = np.empty((BLOCK, models), np.uint8)
        y = np.empty((BLOCK, models))
        v = np.empty(models)
        start = np.empty(models, np.int64)
        stop = np.empty(models, np.int64)
        gone = np.empty(drop.shape[1])
        first = b * BLOCK
        width = min(BLOCK, samples - first)
        gather(loss, member, 0, first, width, x, k)
        for j in range(width):
            n = 0
            for r in range(models):
                if not k[j, r]:
                    v[n] = x[j, r]
                    n += 1
            outs = np.sort(v[:n])
            for i in range(n):
                start[i] = start[i - 1] if i > 0 and outs[i] == outs[i - 1] else i
            for i in range(n - 1, -1, -1):
                stop[i] = stop[i + 1] if i < n - 1 and outs[i] == outs[i + 1] else i + 1
            for t in range(models):
                removed = 0
                for p in drop[t]:
                    if p >= 0 and not k[j, p]:
                        gone[removed] = x[j, p]
                        removed += 1
                value = x[j, t]
                lb = np.searchsorted(outs, value, side="left")
                ub = lb if lb == n or outs[lb] != value else stop[lb]
                below = lb
                equal = ub - lb
                for d in range(removed):
                    if gone[d] < value:
                        below -= 1
                    elif gone[d] == value:
                        equal -= 1
                left = n - removed
                if equal > 0:
                    y[j, t] = (below + 0.5 * (equal + 1)) / (left + 1)
                    continue
                # The nearest reference that is left on either side, with how many tie there.
                lower = low
                lower_rank = 0.0
                i = lb
                while i > 0:
                    s = start[i - 1]
                    many = i - s
                    for d in range(removed):
                        if gone[d] == outs[s]:
                            many -= 1
                    if many > 0:
                        lower = outs[s]
                        lower_rank = below - 0.5 * (many - 1)
                        break
                    i = s
                upper = high
                upper_rank = left + 1.0
                i = ub
                while i < n:
                    s = stop[i]
                    many = s - i
                    for d in range(removed):
                        if gone[d] == outs[i]:
                            many -= 1
                    if many > 0:
                        upper = outs[i]
                        upper_rank = below + 1 + 0.5 * (many - 1)
                        break
                    i = s
                if value <= lower:
                    rank = lower_rank
                elif value >= upper:
                    rank = upper_rank
                else:
                    part = (value - lower) / (upper - lower)
                    rank = lower_rank + part * (upper_rank - lower_rank)
                y[j, t] = rank / (left + 1)
        for t in range(models):
            for j in range(width):
                out[t, first + j] = y[j, t]


@njit(cache=True, error_model="numpy")
def _log_mean(x: Float64Array, k: NDArray[np.uint8], group: int, gone: Index) -> float:
    """log of the mean of exp(−x) over one group (2: both) without `gone`, done directly."""
    top = np.inf
    n = 0
    for r in range(x.size):
        if (group == 2 or k[r] == group) and not (gone == r).any():
            n += 1
            top = min(top, x[r])
    s = 0.0
    for r in range(x.size):
        if (group == 2 or k[r] == group) and not (gone == r).any():
            s += math.exp(top - x[r])
    return math.log(s / n) - top


@njit(parallel=True, cache=True, error_model="numpy")
def log_ratio_all(
    loss: Signal, member: BoolArray, drop: Index, mode: int, a: float, out: Float64Array
) -> None:
    """log p_target − log p_references of every target, mean over views: out (R, N).

    p = exp(−loss). mode 0: references are ½ (mean IN + mean OUT); 1: ½ ((1 + a) mean OUT + 1 − a);
    2: the mean of all; 3: a times the log-mean OUT. Where one kind has no references mode 0 takes
    the other's mean alone; where none has any, the logarithm is 0.
    """
    models, samples, views = loss.shape
    blocks = (samples + BLOCK - 1) // BLOCK
    for b in prange(blocks):
        x = np.empty((BLOCK, models))
        k = np.empty((BLOCK, models), np.uint8)
        y = np.zeros((BLOCK, models))
        e = np.empty(models)
        logs = np.empty(2)
        total = np.empty(2)
        count = np.empty(2, np.int64)
        first = b * BLOCK
        width = min(BLOCK, samples - first)
        for v in range(views):
            gather(loss, member, v, first, width, x, k)
            for j in range(width):
                # Losses are shifted so that the surest reference has p = 1: nothing underflows.
                row = x[j]
                has = k[j]
                top = row.min()
                total[:] = 0.0
                count[:] = 0
                for r in range(models):
                    e[r] = math.exp(top - x[j, r])
                    total[k[j, r]] += e[r]
                    count[k[j, r]] += 1
                for t in range(models):
                    gone = drop[t]
                    if mode == 2:
                        s = total[0] + total[1]
                        n = models
                        whole = s
                        for p in gone:
                            if p >= 0:
                                s -= e[p]
                                n -= 1
                        if s < 1e-4 * whole:
                            denominator = _log_mean(row, has, 2, gone)
                        else:
                            denominator = math.log(s / n) - top
                        y[j, t] -= x[j, t] + denominator
                        continue
                    sure = True
                    mean = 0.0
                    kinds = 0
                    for g in range(2 if mode == 0 else 1):
                        s = total[g]
                        n = count[g]
                        for p in gone:
                            if p >= 0 and k[j, p] == g:
                                s -= e[p]
                                n -= 1
                        logs[g] = -np.inf
                        if n == 0:
                            continue
                        kinds += 1
                        logs[g] = 0.0
                        sure = sure and s > 1e-4 * total[g] and total[g] > 1e-200
                        mean += s / n
                    if kinds == 0:
                        continue
                    if sure:
                        denominator = math.log(mean) - top
                    else:
                        for g in range(2 if mode == 0 else 1):
                            if logs[g] == 0.0:
                                logs[g] = _log_mean(row, has, g, gone)
                        denominator = logs[0]
                        if mode == 0:
                            denominator = np.logaddexp(logs[0], logs[1])
                    if mode == 0:
                        if kinds == 2:
                            denominator -= math.log(2.0)
                    elif mode == 1:
                        denominator = math.log(0.5 * ((1 + a) * math.exp(denominator) + 1 - a))
                    else:
                        denominator *= a
                    y[j, t] -= x[j, t] + denominator
        for t in range(models):
            for j in range(width):
                out[t, first + j] = y[j, t] / views
