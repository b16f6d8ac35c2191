"""The ratio of the target's probability to what its references give."""

from __future__ import annotations

import math

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from seepage.array_types import BoolArray, Float64Array, FloatArray, Int64Array
from seepage.attacks.kernels.blocks import BLOCK, gather

__all__ = ["log_ratio_all"]

Signal = FloatArray
Index = Int64Array


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
    2: the mean of all; 3: a times the log-mean OUT.
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
                    for g in range(2 if mode == 0 else 1):
                        s = total[g]
                        n = count[g]
                        for p in gone:
                            if p >= 0 and k[j, p] == g:
                                s -= e[p]
                                n -= 1
                        sure = sure and s > 1e-4 * total[g] and total[g] > 1e-200
                        mean += s / n
                    if sure:
                        denominator = math.log(mean) - top
                    else:
                        logs[0] = _log_mean(row, has, 0, gone)
                        denominator = logs[0]
                        if mode == 0:
                            logs[1] = _log_mean(row, has, 1, gone)
                            denominator = np.logaddexp(logs[0], logs[1])
                    if mode == 0:
                        denominator -= math.log(2.0)
                    elif mode == 1:
                        denominator = math.log(0.5 * ((1 + a) * math.exp(denominator) + 1 - a))
                    else:
                        denominator *= a
                    y[j, t] -= x[j, t] + denominator
        for t in range(models):
            for j in range(width):
                out[t, first + j] = y[j, t] / views
