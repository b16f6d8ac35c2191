"""Scores of every target under laws fitted to its references: normal, and Student-t."""

from __future__ import annotations

import math

import numpy as np
from numba import njit, prange

from seepage.array_types import BoolArray, Float64Array, FloatArray, Int64Array
from seepage.attacks.kernels.lanes import FLOOR, LANES, by_set, load, logs, without

__all__ = ["ONE_SIDED", "ONLINE", "TWO_SIDED", "normal_all", "student_all"]

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
def _median_centres(x: Float64Array, k: Float64Array, drop: Index, out: Float64Array) -> None:
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


Signal = FloatArray

ONLINE, ONE_SIDED, TWO_SIDED = 0, 1, 2


@njit(cache=True, error_model="numpy")
def _add(score: Float64Array, more: Float64Array, views: int, out: Float64Array) -> None:
    """out += (score + more) / views, lane by lane, as far as out goes."""
    for j in range(out.size):
        out[j] += (score[j] + more[j]) / views


@njit(cache=True, error_model="numpy")
def _variances(outside: Float64Array, inside: Float64Array, ddof: int, out: Float64Array) -> None:
    """Each sample's own variances, OUT and IN, at least what float32 resolves: out (2, L)."""
    for g in range(2):
        own = outside if g == 0 else inside
        n, squares, v = own[0], own[2], out[g]
        m0, m1 = outside[1], inside[1]
        for j in range(v.size):
            least = FLOOR * max(abs(m0[j]), abs(m1[j]))
            v[j] = max(squares[j] / max(n[j] - ddof, 1.0), least * least + 1e-60)


@njit(parallel=True, cache=True, error_model="numpy")
def normal_all(
    signal: Signal,
    member: BoolArray,
    drop: Index,
    which: Index,
    variance: Float64Array,
    ddof: int,
    median: bool,
    side: int,
    out: Float64Array,
) -> None:
    """Gaussian scores of every target, mean over views: out (R, N).

    variance (E, A, 2) fixes the variances of the OUT and IN group, or, with size 0, each sample's
    own are used with `ddof`. side: 0 log-ratio, 1 standardised distance above OUT, 2 minus the
    log-density under OUT.
    """
    models, samples, views = signal.shape
    sets = drop.shape[0]
    own = variance.size == 0
    order, begin = by_set(which, sets)
    for b in prange((samples + LANES - 1) // LANES):
        x = np.empty((models + 1, LANES))
        k = np.empty((models + 1, LANES))
        d = np.empty((models + 1, LANES))
        m = np.empty((6, LANES))
        outside = np.zeros((3, LANES))
        inside = np.zeros((3, LANES))
        w = np.empty((2, LANES))
        term = np.zeros(LANES)
        score = np.empty(LANES)
        centre = np.empty((2, sets, LANES)) if median else np.empty((2, 0, 0))
        first = b * LANES
        width = min(LANES, samples - first)
        out[:, first : first + width] = 0.0
        for a in range(views):
            load(signal, member, a, first, width, x, k, d, m)
            if median:
                _median_centres(x, k, drop, centre)
            for e in range(sets):
                without(x, k, d, m, 0, drop[e], outside)
                if side == ONLINE:
                    without(x, k, d, m, 1, drop[e], inside)
                if own:
                    _variances(outside, inside, ddof, w)
                else:
                    w[0] = variance[e, a, 0]
                    w[1] = variance[e, a, 1]
                w0, w1 = w[0], w[1]
                if side == ONLINE:
                    for j in range(LANES):
                        score[j] = w0[j] / w1[j]
                    logs(score, term)
                    for j in range(LANES):
                        term[j] *= 0.5
                elif side == TWO_SIDED:
                    for j in range(LANES):
                        score[j] = 2 * math.pi * w0[j]
                    logs(score, term)
                    for j in range(LANES):
                        term[j] *= 0.5
                else:
                    for j in range(LANES):
                        w1[j] = math.sqrt(1 / w0[j])
                m0 = centre[0, e] if median else outside[1]
                m1 = centre[1, e] if median else inside[1]
                for t in order[begin[e] : begin[e + 1]]:
                    row = x[t]
                    if side == ONE_SIDED:
                        for j in range(LANES):
                            score[j] = (row[j] - m0[j]) * w1[j]
                    elif side == TWO_SIDED:
                        for j in range(LANES):
                            z = row[j] - m0[j]
                            score[j] = 0.5 * (z * z / w0[j])
                    else:
                        for j in range(LANES):
                            z0 = row[j] - m0[j]
                            z1 = row[j] - m1[j]
                            score[j] = 0.5 * (z0 * z0 / w0[j] - z1 * z1 / w1[j])
                    _add(score, term, views, out[t, first : first + width])


@njit(cache=True, error_model="numpy")
def _predictive(
    left: Float64Array, prior: Float64Array, constant: Float64Array, law: Float64Array
) -> None:
    """The Student-t of the next value: law (4, L) holds centre, 1/(2β′), α + ½, log constant.

    left (3, L): count, mean, squares. With β′ = β (κ + 1)/κ, log p(x) = constant − ½ log(2πβ′)
    − (α + ½) log(1 + z²/(2β′)); the logarithm of 2πβ′ is left to the caller.
    """
    m0, k0, a0, b0 = prior
    n, mean, squares = left[0], left[1], left[2]
    centre, inverse, power, log_c = law[0], law[1], law[2], law[3]
    for j in range(n.size):
        centre[j] = mean[j] - k0 / (k0 + n[j]) * (mean[j] - m0)
    for j in range(n.size):
        kappa = k0 + n[j]
        off = mean[j] - m0
        beta = b0 + 0.5 * squares[j] + 0.5 * k0 * n[j] / kappa * off * off
        inverse[j] = kappa / (2 * beta * (kappa + 1))
    for j in range(n.size):
        power[j] = a0 + 0.5 * n[j] + 0.5
    for j in range(n.size):
        log_c[j] = constant[int(n[j])]


@njit(parallel=True, cache=True, error_model="numpy")
def student_all(
    signal: Signal,
    member: BoolArray,
    drop: Index,
    which: Index,
    prior: Float64Array,
    constant: Float64Array,
    side: int,
    out: Float64Array,
) -> None:
    """Scores with the posterior predictive Student-t of a normal-inverse-gamma prior.

    prior (E, A, 2, 4): m₀, κ₀, α₀, β₀ of the OUT and IN group; constant (E, A, 2, R + 1):
    log Γ(α + ½) − log Γ(α) with α = α₀ + n/2, by the number n of references.
    """
    models, samples, views = signal.shape
    sets = drop.shape[0]
    order, begin = by_set(which, sets)
    for b in prange((samples + LANES - 1) // LANES):
        x = np.empty((models + 1, LANES))
        k = np.empty((models + 1, LANES))
        d = np.empty((models + 1, LANES))
        m = np.empty((6, LANES))
        left = np.empty((3, LANES))
        laws = np.empty((2, 4, LANES))
        argument = np.empty(2 * LANES)
        logged = np.empty(2 * LANES)
        term = np.empty(LANES)
        score = np.empty(LANES)
        first = b * LANES
        width = min(LANES, samples - first)
        out[:, first : first + width] = 0.0
        outside, inside = laws[0], laws[1]
        c0, i0, a0, g0 = outside[0], outside[1], outside[2], outside[3]
        c1, i1, a1, g1 = inside[0], inside[1], inside[2], inside[3]
        q0, q1 = argument[:LANES], argument[LANES:]
        l0, l1 = logged[:LANES], logged[LANES:]
        for a in range(views):
            load(signal, member, a, first, width, x, k, d, m)
            for e in range(sets):
                for g in range(2 if side == ONLINE else 1):
                    without(x, k, d, m, g, drop[e], left)
                    _predictive(left, prior[e, a, g], constant[e, a, g], laws[g])
                if side == ONLINE:
                    for j in range(LANES):
                        q0[j] = i1[j] / i0[j]
                    logs(q0, l0)
                    for j in range(LANES):
                        term[j] = g1[j] - g0[j] + 0.5 * l0[j]
                elif side == TWO_SIDED:
                    for j in range(LANES):
                        q0[j] = i0[j] / math.pi
                    logs(q0, l0)
                    for j in range(LANES):
                        term[j] = -(g0[j] + 0.5 * l0[j])
                else:
                    for j in range(LANES):
                        term[j] = 0.0
                    for j in range(LANES):
                        a0[j] = math.sqrt((2 * a0[j] - 1) * i0[j])
                for t in order[begin[e] : begin[e + 1]]:
                    row = x[t]
                    if side == ONE_SIDED:
                        for j in range(LANES):
                            score[j] = (row[j] - c0[j]) * a0[j]
                    else:
                        for j in range(LANES):
                            z = row[j] - c0[j]
                            q0[j] = 1.0 + z * z * i0[j]
                        if side == ONLINE:
                            for j in range(LANES):
                                z = row[j] - c1[j]
                                q1[j] = 1.0 + z * z * i1[j]
                            logs(argument, logged)
                            for j in range(LANES):
                                score[j] = a0[j] * l0[j] - a1[j] * l1[j]
                        else:
                            logs(q0, l0)
                            for j in range(LANES):
                                score[j] = a0[j] * l0[j]
                    _add(score, term, views, out[t, first : first + width])
