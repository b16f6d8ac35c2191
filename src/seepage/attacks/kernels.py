"""Leave-one-out in one pass: every model the target once, at memory speed.

All kernels take signals (R, N, A) in float32 or float64, membership (R, N) and `drop` (R, 2): the
references that target r does without, itself and its twin, −1 where there is none. They transpose
a block of samples into local float64 memory, compute the moments of both groups around their own
mean in two passes, and take the dropped models out of the sums. Where taking out would cancel
more than six digits (an outlier that carried nearly all the variance), the sum is done again
without it. No fastmath: NaN and the order of sums matter. Chunks are fixed, so that results do
not depend on the number of threads.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

__all__ = [
    "FLOOR",
    "MOMENTS",
    "empirical_all",
    "group_totals",
    "log_ratio_all",
    "median_centres",
    "normal_all",
    "rank_against",
    "student_all",
]

F = NDArray[np.float64]
Signal = NDArray[np.floating]
B = NDArray[np.bool_]
Index = NDArray[np.int64]

BLOCK = 32
CHUNKS = 64
# Columns of group_totals: groups, Σ SS, Σ (n−1), Σ mean, Σ mean², Σ s², Σ 1/n, Σ e, Σ e², Σ v,
# with e = log s² less its expectation and v its variance under one true spread.
MOMENTS = 10
CANCELLED = 1e-6
# A spread below float32's resolution of the values is rounding, not knowledge.
FLOOR = 2.0**-22

ONLINE, ONE_SIDED, TWO_SIDED = 0, 1, 2


@njit(cache=True)
def _load(
    signal: Signal, member: B, view: int, first: int, width: int, x: F, k: NDArray[np.uint8]
) -> None:
    for r in range(signal.shape[0]):
        for j in range(width):
            x[j, r] = signal[r, first + j, view]
            k[j, r] = member[r, first + j]


@njit(cache=True)
def _moments(x: F, k: NDArray[np.uint8]) -> tuple[int, float, float, int, float, float]:
    """Count, mean and sum of squares about the mean of the IN and of the OUT group."""
    n1 = 0
    n0 = 0
    s1 = 0.0
    s0 = 0.0
    for r in range(x.size):
        if k[r]:
            n1 += 1
            s1 += x[r]
        else:
            n0 += 1
            s0 += x[r]
    m1 = s1 / n1 if n1 else 0.0
    m0 = s0 / n0 if n0 else 0.0
    v1 = 0.0
    v0 = 0.0
    for r in range(x.size):
        if k[r]:
            d = x[r] - m1
            v1 += d * d
        else:
            d = x[r] - m0
            v0 += d * d
    return n1, m1, v1, n0, m0, v0


@njit(cache=True)
def _direct(x: F, k: NDArray[np.uint8], group: int, p: int, q: int) -> tuple[float, float]:
    n = 0
    s = 0.0
    for r in range(x.size):
        if k[r] == group and r != p and r != q:
            n += 1
            s += x[r]
    mean = s / n
    v = 0.0
    for r in range(x.size):
        if k[r] == group and r != p and r != q:
            v += (x[r] - mean) ** 2
    return mean, v


@njit(cache=True)
def _without(
    x: F,
    k: NDArray[np.uint8],
    group: int,
    p: int,
    q: int,
    n: int,
    mean: float,
    squares: float,
) -> tuple[int, float, float]:
    """Moments of one group without the models p and q (−1: none)."""
    gone = 0.0
    gone2 = 0.0
    left = n
    if p >= 0 and k[p] == group:
        d = x[p] - mean
        gone += d
        gone2 += d * d
        left -= 1
    if q >= 0 and k[q] == group:
        d = x[q] - mean
        gone += d
        gone2 += d * d
        left -= 1
    if left == n or left == 0:
        return left, mean, squares
    v = squares - gone2 - gone * gone / left
    if v < CANCELLED * squares:
        mean, v = _direct(x, k, group, p, q)
        return left, mean, v
    return left, mean - gone / left, v


@njit(parallel=True, cache=True)
def group_totals(signal: Signal, member: B, drop: Index, shift: F, chance: F, out: F) -> None:
    """Sums over samples of what pooled variances and priors need, for every target.

    out (CHUNKS, targets, A, 2, MOMENTS), group 1 = IN: see MOMENTS. `shift` (A,) is taken off
    the means before they are squared; chance (R + 1, 2) is the expectation and variance of log s²
    by n. Groups with fewer than 2 references count in none of the sums.
    """
    models, samples, views = signal.shape
    per = (samples + CHUNKS - 1) // CHUNKS
    for c in prange(CHUNKS):
        x = np.empty((BLOCK, models))
        k = np.empty((BLOCK, models), np.uint8)
        stop = min(samples, (c + 1) * per)
        for first in range(c * per, stop, BLOCK):
            width = min(BLOCK, stop - first)
            for a in range(views):
                _load(signal, member, a, first, width, x, k)
                for j in range(width):
                    n1, m1, v1, n0, m0, v0 = _moments(x[j], k[j])
                    for t in range(drop.shape[0]):
                        p, q = drop[t, 0], drop[t, 1]
                        for g in range(2):
                            if g == 1:
                                n, m, v = _without(x[j], k[j], 1, p, q, n1, m1, v1)
                            else:
                                n, m, v = _without(x[j], k[j], 0, p, q, n0, m0, v0)
                            if n < 2:
                                continue
                            s2 = v / (n - 1)
                            e = m - shift[a]
                            o = out[c, t, a, g]
                            o[0] += 1.0
                            o[1] += v
                            o[2] += n - 1
                            o[3] += e
                            o[4] += e * e
                            o[5] += s2
                            o[6] += 1.0 / n
                            e = math.log(max(s2, (FLOOR * m) ** 2 + 1e-60)) - chance[n, 0]
                            o[7] += e
                            o[8] += e * e
                            o[9] += chance[n, 1]


@njit(cache=True)
def _median_without(order: F, n: int, p: int, q: int) -> float:
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


@njit(cache=True)
def median_centres(x: F, k: NDArray[np.uint8], drop: Index, out: F) -> None:
    """Medians of both groups for every target: x, k (R,) -> out (R, 2), group 1 = IN."""
    models = x.size
    rank = np.full((2, models), -1, np.int64)
    order = np.argsort(x)
    sorted_ = np.empty((2, models))
    count = np.zeros(2, np.int64)
    for i in range(models):
        r = order[i]
        g = k[r]
        sorted_[g, count[g]] = x[r]
        rank[g, r] = count[g]
        count[g] += 1
    for t in range(drop.shape[0]):
        p, q = drop[t, 0], drop[t, 1]
        for g in range(2):
            rp = rank[g, p] if p >= 0 else -1
            rq = rank[g, q] if q >= 0 else -1
            out[t, g] = _median_without(sorted_[g], count[g], rp, rq)


@njit(parallel=True, cache=True)
def normal_all(
    signal: Signal, member: B, drop: Index, variance: F, ddof: int, median: bool, side: int, out: F
) -> None:
    """Gaussian scores of every target, mean over views: out (R, N).

    variance (R, A, 2) fixes the variances of the OUT and IN group, or, with size 0, each sample's
    own are used with `ddof`. side: 0 log-ratio, 1 standardised distance above OUT, 2 minus the
    log-density under OUT.
    """
    models, samples, views = signal.shape
    own = variance.size == 0
    blocks = (samples + BLOCK - 1) // BLOCK
    for b in prange(blocks):
        x = np.empty((BLOCK, models))
        k = np.empty((BLOCK, models), np.uint8)
        y = np.zeros((BLOCK, models))
        centre = np.empty((models, 2))
        first = b * BLOCK
        width = min(BLOCK, samples - first)
        for a in range(views):
            _load(signal, member, a, first, width, x, k)
            for j in range(width):
                n1, m1, v1, n0, m0, v0 = _moments(x[j], k[j])
                if median:
                    median_centres(x[j], k[j], drop, centre)
                for t in range(models):
                    p, q = drop[t, 0], drop[t, 1]
                    r0, c0, s0 = _without(x[j], k[j], 0, p, q, n0, m0, v0)
                    r1 = 0
                    c1 = 0.0
                    s1 = 0.0
                    if side == ONLINE:
                        r1, c1, s1 = _without(x[j], k[j], 1, p, q, n1, m1, v1)
                    if own:
                        w0 = s0 / max(r0 - ddof, 1)
                        w1 = s1 / max(r1 - ddof, 1)
                        least = (FLOOR * max(abs(c0), abs(c1))) ** 2 + 1e-60
                        w0 = max(w0, least)
                        w1 = max(w1, least)
                    else:
                        w0 = variance[t, a, 0]
                        w1 = variance[t, a, 1]
                    if median:
                        c0 = centre[t, 0]
                        c1 = centre[t, 1]
                    d0 = x[j, t] - c0
                    if side == ONLINE:
                        d1 = x[j, t] - c1
                        y[j, t] += 0.5 * (d0 * d0 / w0 - d1 * d1 / w1 + math.log(w0 / w1))
                    elif side == ONE_SIDED:
                        y[j, t] += d0 / math.sqrt(w0)
                    else:
                        y[j, t] += 0.5 * (d0 * d0 / w0 + math.log(2 * math.pi * w0))
        for t in range(models):
            for j in range(width):
                out[t, first + j] = y[j, t] / views


@njit(parallel=True, cache=True)
def student_all(
    signal: Signal, member: B, drop: Index, prior: F, constant: F, side: int, out: F
) -> None:
    """Scores with the posterior predictive Student-t of a normal-inverse-gamma prior.

    prior (R, A, 2, 4): m₀, κ₀, α₀, β₀ of the OUT and IN group; constant (R, A, 2, R + 1):
    log Γ(α + ½) − log Γ(α) with α = α₀ + n/2, by the number n of references.
    """
    models, samples, views = signal.shape
    blocks = (samples + BLOCK - 1) // BLOCK
    for b in prange(blocks):
        x = np.empty((BLOCK, models))
        k = np.empty((BLOCK, models), np.uint8)
        y = np.zeros((BLOCK, models))
        first = b * BLOCK
        width = min(BLOCK, samples - first)
        for a in range(views):
            _load(signal, member, a, first, width, x, k)
            for j in range(width):
                n1, m1, v1, n0, m0, v0 = _moments(x[j], k[j])
                for t in range(models):
                    p, q = drop[t, 0], drop[t, 1]
                    sign = 1.0
                    for g in range(2 if side == ONLINE else 1):
                        if g == 1:
                            n, m, v = _without(x[j], k[j], 1, p, q, n1, m1, v1)
                        else:
                            n, m, v = _without(x[j], k[j], 0, p, q, n0, m0, v0)
                        h = prior[t, a, g]
                        kappa = h[1] + n
                        alpha = h[2] + 0.5 * n
                        e = m - h[0]
                        beta = h[3] + 0.5 * v + 0.5 * h[1] * n / kappa * e * e
                        d = x[j, t] - (m - h[1] / kappa * e)
                        scale = 2 * beta * (kappa + 1) / kappa
                        if side == ONE_SIDED:
                            y[j, t] += d * math.sqrt(2 * alpha / scale)
                            continue
                        density = constant[t, a, g, n] - 0.5 * math.log(math.pi * scale)
                        density -= (alpha + 0.5) * math.log1p(d * d / scale)
                        sign = 1.0 if g == 1 else -1.0
                        y[j, t] += sign * density
        for t in range(models):
            for j in range(width):
                out[t, first + j] = y[j, t] / views


@njit(cache=True)
def _log_mean(x: F, k: NDArray[np.uint8], group: int, p: int, q: int) -> float:
    """log of the mean of exp(−x) over one group (2: both) without p and q, done directly."""
    top = np.inf
    n = 0
    for r in range(x.size):
        if (group == 2 or k[r] == group) and r != p and r != q:
            n += 1
            top = min(top, x[r])
    s = 0.0
    for r in range(x.size):
        if (group == 2 or k[r] == group) and r != p and r != q:
            s += math.exp(top - x[r])
    return math.log(s / n) - top


@njit(parallel=True, cache=True)
def log_ratio_all(loss: Signal, member: B, drop: Index, mode: int, a: float, out: F) -> None:
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
            _load(loss, member, v, first, width, x, k)
            for j in range(width):
                # Losses are shifted so that the surest reference has p = 1: nothing underflows.
                top = x[j].min()
                total[:] = 0.0
                count[:] = 0
                for r in range(models):
                    e[r] = math.exp(top - x[j, r])
                    total[k[j, r]] += e[r]
                    count[k[j, r]] += 1
                for t in range(models):
                    p, q = drop[t, 0], drop[t, 1]
                    if mode == 2:
                        s = total[0] + total[1]
                        n = models
                        whole = s
                        if p >= 0:
                            s -= e[p]
                            n -= 1
                        if q >= 0:
                            s -= e[q]
                            n -= 1
                        if s < 1e-4 * whole:
                            denominator = _log_mean(x[j], k[j], 2, p, q)
                        else:
                            denominator = math.log(s / n) - top
                        y[j, t] -= x[j, t] + denominator
                        continue
                    sure = True
                    mean = 0.0
                    for g in range(2 if mode == 0 else 1):
                        s = total[g]
                        n = count[g]
                        if p >= 0 and k[j, p] == g:
                            s -= e[p]
                            n -= 1
                        if q >= 0 and k[j, q] == g:
                            s -= e[q]
                            n -= 1
                        sure = sure and s > 1e-4 * total[g] and total[g] > 1e-200
                        mean += s / n
                    if sure:
                        denominator = math.log(mean) - top
                    else:
                        logs[0] = _log_mean(x[j], k[j], 0, p, q)
                        denominator = logs[0]
                        if mode == 0:
                            logs[1] = _log_mean(x[j], k[j], 1, p, q)
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


@njit(cache=True)
def rank_against(sorted_: F, order: Index, values: F, slack: float, out: F) -> None:
    """Fraction of `sorted_` at or below values + slack, with values[order] ascending; a merge."""
    at = 0
    for i in range(order.size):
        x = values[order[i]] + slack
        while at < sorted_.size and sorted_[at] <= x:
            at += 1
        out[order[i]] = at / sorted_.size


@njit(parallel=True, cache=True)
def empirical_all(loss: Signal, member: B, drop: Index, low: float, high: float, out: F) -> None:
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
        gone = np.empty(2)
        first = b * BLOCK
        width = min(BLOCK, samples - first)
        _load(loss, member, 0, first, width, x, k)
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
                for d in range(2):
                    p = drop[t, d]
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
