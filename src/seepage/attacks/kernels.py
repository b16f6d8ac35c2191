"""Leave-one-out in one pass: every model the target once, at memory speed.

All kernels take signals (R, N, A) in float32 or float64, membership (R, N) and what targets do
without, themselves and their twins: `drop` (E, 2) with −1 for none and `which` (R,), the row of
`drop` of each target (a target and its twin share one), or `drop` (R, 2) target by target. They transpose
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
    "merged_cdf",
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


@njit(cache=True, error_model="numpy")
def _load(
    signal: Signal, member: B, view: int, first: int, width: int, x: F, k: NDArray[np.uint8]
) -> None:
    for r in range(signal.shape[0]):
        for j in range(width):
            x[j, r] = signal[r, first + j, view]
            k[j, r] = member[r, first + j]


@njit(cache=True, error_model="numpy")
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


@njit(cache=True, error_model="numpy")
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


@njit(cache=True, error_model="numpy")
def _pairs(drop: Index, models: int) -> Index:
    """(R, 2) -> (2, R), with −1 turned to the index of an empty slot behind the models."""
    out = np.empty((2, drop.shape[0]), np.int64)
    for t in range(drop.shape[0]):
        for side in range(2):
            out[side, t] = drop[t, side] if drop[t, side] >= 0 else models
    return out


@njit(cache=True, error_model="numpy")
def _leave_out(
    x: F,
    k: NDArray[np.uint8],
    group: int,
    n: int,
    mean: float,
    squares: float,
    pairs: Index,
    d: F,
    out: F,
) -> None:
    """Count, mean and sum of squares of one group for every target: out (3, R).

    d (2, R + 1) is scratch: deviations and counts, 0 outside the group and in the empty slot.
    """
    models = x.size
    for r in range(models):
        inside = k[r] == group
        d[0, r] = x[r] - mean if inside else 0.0
        d[1, r] = 1.0 if inside else 0.0
    d[0, models] = 0.0
    d[1, models] = 0.0
    least = np.inf
    for t in range(pairs.shape[1]):
        p = pairs[0, t]
        q = pairs[1, t]
        u = d[0, p]
        w = d[0, q]
        left = n - d[1, p] - d[1, q]
        some = max(left, 1.0)
        gone = u + w
        v = squares - u * u - w * w - gone * gone / some
        out[0, t] = left
        out[1, t] = mean - gone / some
        out[2, t] = v
        least = min(least, v)
    if least < CANCELLED * squares:
        for t in range(pairs.shape[1]):
            if out[2, t] < CANCELLED * squares and out[0, t] > 0:
                out[1, t], out[2, t] = _direct(x, k, group, pairs[0, t], pairs[1, t])


@njit(parallel=True, cache=True, error_model="numpy")
def group_totals(signal: Signal, member: B, drop: Index, shift: F, chance: F, out: F) -> None:
    """Sums over samples of what pooled variances and priors need, for every target.

    out (CHUNKS, A, 2, MOMENTS, targets), group 1 = IN: see MOMENTS. `shift` (A,) is taken off
    the means before they are squared; chance (R + 1, 2) is the expectation and variance of log s²
    by n. Groups with fewer than 2 references count in none of the sums.
    """
    models, samples, views = signal.shape
    targets = drop.shape[0]
    per = (samples + CHUNKS - 1) // CHUNKS
    for c in prange(CHUNKS):
        x = np.empty((BLOCK, models))
        k = np.empty((BLOCK, models), np.uint8)
        d = np.empty((2, models + 1))
        left = np.empty((3, targets))
        pairs = _pairs(drop, models)
        stop = min(samples, (c + 1) * per)
        for first in range(c * per, stop, BLOCK):
            width = min(BLOCK, stop - first)
            for a in range(views):
                _load(signal, member, a, first, width, x, k)
                for j in range(width):
                    row = x[j]
                    has = k[j]
                    n1, m1, v1, n0, m0, v0 = _moments(row, has)
                    for g in range(2):
                        if g == 1:
                            _leave_out(row, has, 1, n1, m1, v1, pairs, d, left)
                        else:
                            _leave_out(row, has, 0, n0, m0, v0, pairs, d, left)
                        total = out[c, a, g]
                        for t in range(targets):
                            n = left[0, t]
                            if n < 2:
                                continue
                            v = left[2, t]
                            s2 = v / (n - 1)
                            m = left[1, t]
                            e = m - shift[a]
                            at = int(n)
                            log_s2 = math.log(max(s2, (FLOOR * m) ** 2 + 1e-60)) - chance[at, 0]
                            total[0, t] += 1.0
                            total[1, t] += v
                            total[2, t] += n - 1
                            total[3, t] += e
                            total[4, t] += e * e
                            total[5, t] += s2
                            total[6, t] += 1.0 / n
                            total[7, t] += log_s2
                            total[8, t] += log_s2 * log_s2
                            total[9, t] += chance[at, 1]


@njit(cache=True, error_model="numpy")
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


@njit(cache=True, error_model="numpy")
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


@njit(parallel=True, cache=True, error_model="numpy")
def normal_all(
    signal: Signal,
    member: B,
    drop: Index,
    which: Index,
    variance: F,
    ddof: int,
    median: bool,
    side: int,
    out: F,
) -> None:
    """Gaussian scores of every target, mean over views: out (R, N).

    variance (E, A, 2) fixes the variances of the OUT and IN group, or, with size 0, each sample's
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
        d = np.empty((2, models + 1))
        sets = drop.shape[0]
        outside = np.zeros((3, sets))
        inside = np.zeros((3, sets))
        centre = np.empty((sets, 2))
        term = np.zeros(sets)
        pairs = _pairs(drop, models)
        first = b * BLOCK
        width = min(BLOCK, samples - first)
        for a in range(views):
            _load(signal, member, a, first, width, x, k)
            for j in range(width):
                row = x[j]
                has = k[j]
                score = y[j]
                n1, m1, v1, n0, m0, v0 = _moments(row, has)
                _leave_out(row, has, 0, n0, m0, v0, pairs, d, outside)
                if side == ONLINE:
                    _leave_out(row, has, 1, n1, m1, v1, pairs, d, inside)
                for e in range(sets):
                    if own:
                        least = (FLOOR * max(abs(outside[1, e]), abs(inside[1, e]))) ** 2 + 1e-60
                        w0 = max(outside[2, e] / max(outside[0, e] - ddof, 1.0), least)
                        w1 = max(inside[2, e] / max(inside[0, e] - ddof, 1.0), least)
                    else:
                        w0 = variance[e, a, 0]
                        w1 = variance[e, a, 1]
                    if side == ONLINE:
                        term[e] = 0.5 * math.log(w0 / w1)
                        inside[2, e] = 1 / w1
                    elif side == TWO_SIDED:
                        term[e] = 0.5 * math.log(2 * math.pi * w0)
                    outside[2, e] = 1 / w0
                if median:
                    median_centres(row, has, drop, centre)
                    for e in range(sets):
                        outside[1, e] = centre[e, 0]
                        inside[1, e] = centre[e, 1]
                for t in range(models):
                    e = which[t]
                    d0 = row[t] - outside[1, e]
                    if side == ONE_SIDED:
                        score[t] += d0 * math.sqrt(outside[2, e])
                    elif side == ONLINE:
                        d1 = row[t] - inside[1, e]
                        score[t] += (
                            0.5 * (d0 * d0 * outside[2, e] - d1 * d1 * inside[2, e]) + term[e]
                        )
                    else:
                        score[t] += 0.5 * d0 * d0 * outside[2, e] + term[e]
        for t in range(models):
            for j in range(width):
                out[t, first + j] = y[j, t] / views


@njit(parallel=True, cache=True, error_model="numpy")
def student_all(
    signal: Signal, member: B, drop: Index, which: Index, prior: F, constant: F, side: int, out: F
) -> None:
    """Scores with the posterior predictive Student-t of a normal-inverse-gamma prior.

    prior (E, A, 2, 4): m₀, κ₀, α₀, β₀ of the OUT and IN group; constant (E, A, 2, R + 1):
    log Γ(α + ½) − log Γ(α) with α = α₀ + n/2, by the number n of references.
    """
    models, samples, views = signal.shape
    blocks = (samples + BLOCK - 1) // BLOCK
    for b in prange(blocks):
        x = np.empty((BLOCK, models))
        k = np.empty((BLOCK, models), np.uint8)
        y = np.zeros((BLOCK, models))
        d = np.empty((2, models + 1))
        sets = drop.shape[0]
        left = np.empty((3, sets))
        law = np.empty((4, sets))
        pairs = _pairs(drop, models)
        first = b * BLOCK
        width = min(BLOCK, samples - first)
        for a in range(views):
            _load(signal, member, a, first, width, x, k)
            for j in range(width):
                row = x[j]
                has = k[j]
                score = y[j]
                n1, m1, v1, n0, m0, v0 = _moments(row, has)
                for g in range(2 if side == ONLINE else 1):
                    if g == 1:
                        _leave_out(row, has, 1, n1, m1, v1, pairs, d, left)
                    else:
                        _leave_out(row, has, 0, n0, m0, v0, pairs, d, left)
                    sign = 1.0 if g == 1 else -1.0
                    for e in range(sets):
                        n = left[0, e]
                        k0 = prior[e, a, g, 1]
                        kappa = k0 + n
                        alpha = prior[e, a, g, 2] + 0.5 * n
                        off = left[1, e] - prior[e, a, g, 0]
                        shrunk = 0.5 * k0 * n / kappa * off * off
                        beta = prior[e, a, g, 3] + 0.5 * left[2, e] + shrunk
                        scale = 2 * beta * (kappa + 1) / kappa
                        law[0, e] = left[1, e] - k0 / kappa * off
                        law[1, e] = 1 / scale
                        if side == ONE_SIDED:
                            law[2, e] = math.sqrt(2 * alpha / scale)
                        else:
                            law[2, e] = alpha + 0.5
                            law[3, e] = constant[e, a, g, int(n)] - 0.5 * math.log(math.pi * scale)
                    for t in range(models):
                        e = which[t]
                        z = row[t] - law[0, e]
                        if side == ONE_SIDED:
                            score[t] += z * law[2, e]
                        else:
                            tail = law[2, e] * math.log(1 + z * z * law[1, e])
                            score[t] += sign * (law[3, e] - tail)
        for t in range(models):
            for j in range(width):
                out[t, first + j] = y[j, t] / views


@njit(cache=True, error_model="numpy")
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


@njit(parallel=True, cache=True, error_model="numpy")
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
                            denominator = _log_mean(row, has, 2, p, q)
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
                        logs[0] = _log_mean(row, has, 0, p, q)
                        denominator = logs[0]
                        if mode == 0:
                            logs[1] = _log_mean(row, has, 1, p, q)
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


@njit(cache=True, error_model="numpy")
def rank_against(sorted_: F, order: Index, values: F, slack: float, out: F) -> None:
    """Fraction of `sorted_` at or below values + slack, with values[order] ascending; a merge."""
    at = 0
    for i in range(order.size):
        x = values[order[i]] + slack
        while at < sorted_.size and sorted_[at] <= x:
            at += 1
        out[order[i]] = at / sorted_.size


@njit(cache=True, error_model="numpy")
def merged_cdf(sorted_: F, order: Index, x: F, low: float, high: float, out: F) -> None:
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
