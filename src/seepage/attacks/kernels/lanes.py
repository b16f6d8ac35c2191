"""A block of samples as lanes: every loop's inner index runs over samples, side by side in memory.

Each loop writes one array and reads few, which is what a compiler turns into vector instructions.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from seepage.array_types import BoolArray, Float64Array, FloatArray, Int64Array

__all__ = ["CANCELLED", "FLOOR", "LANES", "by_set", "direct", "load", "logs", "without"]

Signal = FloatArray
Index = Int64Array

LANES = 128
CANCELLED = 1e-6
# A spread below float32's resolution of the values is rounding, not knowledge.
FLOOR = 2.0**-22

# log by fdlibm's rule (Sun, e_log.c): m in [√½, √2), s = (m − 1)/(m + 1), an odd polynomial in s.
_ROOT_HALF = 0x3FE6A09E667F3BCD
_LN2_HIGH = 6.93147180369123816490e-01
_LN2_LOW = 1.90821492927058770002e-10
_ODD = (6.666666666666735130e-01, 2.857142874366239149e-01)
_ODD2 = (1.818357216161805012e-01, 1.479819860511658591e-01)
_EVEN = (3.999999999940941908e-01, 2.222219843214978396e-01, 1.531383769920937332e-01)
_LEAST_NORMAL = 0x0010000000000000
_INFINITE = 0x7FF0000000000000


@njit(cache=True, error_model="numpy")
def logs(x: Float64Array, out: Float64Array) -> None:
    """Natural logarithms of contiguous x (n,) into out, to one unit in the last place.

    The rule of the C library, in a form that does several at once; anything but positive normal
    numbers sends the whole array through the library's own.
    """
    bits = x.view(np.int64)
    low = np.int64(_INFINITE)
    high = np.int64(0)
    for i in range(x.size):
        low = min(low, bits[i])
        high = max(high, bits[i])
    if low < _LEAST_NORMAL or high >= _INFINITE:
        for i in range(x.size):
            out[i] = math.log(x[i])
        return
    mantissa = out.view(np.int64)
    for i in range(x.size):
        mantissa[i] = bits[i] - (((bits[i] - _ROOT_HALF) >> 52) << 52)
    for i in range(x.size):
        k = np.float64((bits[i] - _ROOT_HALF) >> 52)
        f = out[i] - 1.0
        s = f / (2.0 + f)
        z = s * s
        w = z * z
        r = z * (_ODD[0] + w * (_ODD[1] + w * (_ODD2[0] + w * _ODD2[1])))
        r += w * (_EVEN[0] + w * (_EVEN[1] + w * _EVEN[2]))
        half = 0.5 * f * f
        out[i] = k * _LN2_HIGH - ((half - (s * (half + r) + k * _LN2_LOW)) - f)


@njit(cache=True, error_model="numpy")
def by_set(which: Index, sets: int) -> tuple[Index, Index]:
    """Targets in the order of their sets, and where each set's begin: (R,), (E + 1,)."""
    begin = np.zeros(sets + 1, np.int64)
    for e in which:
        begin[e + 1] += 1
    for e in range(sets):
        begin[e + 1] += begin[e]
    at = begin.copy()
    order = np.empty(which.size, np.int64)
    for t in range(which.size):
        order[at[which[t]]] = t
        at[which[t]] += 1
    return order, begin


@njit(cache=True, error_model="numpy")
def load(
    signal: Signal,
    member: BoolArray,
    view: int,
    first: int,
    width: int,
    x: Float64Array,
    k: Float64Array,
    d: Float64Array,
    m: Float64Array,
) -> None:
    """A block's values, membership, deviations and moments.

    x, k (1 where IN), d (R + 1, L): values, membership and the deviation from the own group's
    mean; row R is that of no model, all 0. m (6, L): count, mean and sum of squares about the mean
    of the OUT group, then of the IN group. Lanes beyond `width` repeat the last sample.
    """
    models, samples, views = signal.shape
    lanes = x.shape[1]
    x[models] = 0.0
    k[models] = 0.0
    d[models] = 0.0
    m[:] = 0.0
    n0, m0, v0, n1, m1, v1 = m[0], m[1], m[2], m[3], m[4], m[5]
    for r in range(models):
        row = x[r]
        has = k[r]
        # Contiguous where there is one view, which is what vector loads want.
        if views == 1:
            here = signal[r].reshape(samples)[first : first + width]
            for j in range(width):
                row[j] = here[j]
        else:
            for j in range(width):
                row[j] = signal[r, first + j, view]
        there = member[r, first : first + width]
        for j in range(width):
            has[j] = 1.0 if there[j] else 0.0
        for j in range(width, lanes):
            row[j] = row[width - 1]
            has[j] = has[width - 1]
        for j in range(lanes):
            n1[j] += has[j]
        # A product with 0 or 1 is exact: the sums are those of the group alone.
        for j in range(lanes):
            m1[j] += has[j] * row[j]
        for j in range(lanes):
            m0[j] += (1.0 - has[j]) * row[j]
    for j in range(lanes):
        n0[j] = models - n1[j]
    for j in range(lanes):
        m0[j] /= max(n0[j], 1.0)
    for j in range(lanes):
        m1[j] /= max(n1[j], 1.0)
    for r in range(models):
        row = x[r]
        has = k[r]
        off = d[r]
        for j in range(lanes):
            off[j] = row[j] - (m1[j] if has[j] > 0 else m0[j])
        for j in range(lanes):
            v1[j] += has[j] * (off[j] * off[j])
        for j in range(lanes):
            v0[j] += (1.0 - has[j]) * (off[j] * off[j])


@njit(cache=True, error_model="numpy")
def direct(
    x: Float64Array, k: Float64Array, lane: int, group: int, gone: Index
) -> tuple[float, float]:
    """Mean and sum of squares about it of one sample's group without the models `gone`."""
    n = 0
    s = 0.0
    models = x.shape[0] - 1
    for r in range(models):
        if k[r, lane] == group and not (gone == r).any():
            n += 1
            s += x[r, lane]
    mean = s / n
    v = 0.0
    for r in range(models):
        if k[r, lane] == group and not (gone == r).any():
            v += (x[r, lane] - mean) ** 2
    return mean, v


@njit(cache=True, error_model="numpy")
def without(
    x: Float64Array,
    k: Float64Array,
    d: Float64Array,
    m: Float64Array,
    group: int,
    gone: Index,
    out: Float64Array,
) -> None:
    """Count, mean and sum of squares of a group (1: IN) without the models `gone` (K,), −1: none.

    Arrays as `load` leaves them; out (3, L). Where no reference is left the mean and the squares
    mean nothing.
    """
    # A model counts with weight base + slope · k: k in the IN group, 1 − k in the OUT group.
    slope = 1.0 if group == 1 else -1.0
    base = 1.0 if group == 0 else 0.0
    count, mean, squares = m[3 * group], m[3 * group + 1], m[3 * group + 2]
    left, middle, v = out[0], out[1], out[2]
    for j in range(left.size):
        left[j] = count[j]
    for j in range(left.size):
        middle[j] = 0.0
    for j in range(left.size):
        v[j] = squares[j]
    for r in gone:
        if r < 0:
            continue
        off, has = d[r], k[r]
        for j in range(left.size):
            left[j] -= base + slope * has[j]
        for j in range(left.size):
            middle[j] += (base + slope * has[j]) * off[j]
        for j in range(left.size):
            u = (base + slope * has[j]) * off[j]
            v[j] -= u * u
    for j in range(left.size):
        v[j] -= middle[j] * middle[j] / max(left[j], 1.0)
    for j in range(left.size):
        middle[j] = mean[j] - middle[j] / max(left[j], 1.0)
    cancelled = 0
    for j in range(left.size):
        cancelled += v[j] < CANCELLED * squares[j]
    if cancelled:
        for j in range(left.size):
            if v[j] < CANCELLED * squares[j] and left[j] > 0:
                middle[j], v[j] = direct(x, k, j, group, gone)
