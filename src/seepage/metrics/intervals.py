"""Intervals: for a binomial rate, for an AUC, and over targets that share their data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import special, stats

from seepage.array_types import BoolArray, Float64Array
from seepage.errors import InputError
from seepage.plan import partitions

__all__ = ["Estimate", "auc_interval", "clopper_pearson", "over_targets"]


@dataclass(frozen=True)
class Estimate:
    """A mean with its interval; `low` and `high` are NaN where there is too little to say.

    groups: how many independent draws the interval counts on (tuples of runs).
    """

    mean: float
    low: float
    high: float
    level: float
    groups: int

    def covers(self, value: float) -> bool:
        """Whether `value` lies in the interval; False when there is none."""
        return bool(self.low <= value <= self.high)


def clopper_pearson(
    k: ArrayLike, n: ArrayLike, level: float = 0.95
) -> tuple[Float64Array, Float64Array]:
    """Exact two-sided interval of a binomial rate: k successes of n -> (low, high).

    low = B⁻¹(a/2; k, n−k+1), high = B⁻¹(1−a/2; k+1, n−k), with a = 1 − level and B⁻¹ the inverse
    of the regularised incomplete beta function; 0 and 1 at the ends. k, n: any shapes that
    broadcast; n = 0 gives (0, 1). It never covers less than `level`, and more for small n.
    Assumes independent trials. Source: Clopper and Pearson, Biometrika 26 (1934).

    >>> low, high = clopper_pearson([0, 5], 10)
    >>> low.round(4).tolist(), high.round(4).tolist()
    ([0.0, 0.1871], [0.3085, 0.8129])
    """
    if not 0 < level < 1:
        raise InputError(f"level: expected a number between 0 and 1, got {level}; use 0.95")
    k, n = np.broadcast_arrays(np.asarray(k, np.float64), np.asarray(n, np.float64))
    if (k < 0).any() or (k > n).any():
        raise InputError(
            "k: expected counts between 0 and n, got others; pass successes and trials"
        )
    tail = (1 - level) / 2
    low = np.zeros(k.shape)
    high = np.ones(k.shape)
    some, rest = k > 0, k < n
    low[some] = special.betaincinv(k[some], n[some] - k[some] + 1, tail)
    high[rest] = special.betaincinv(k[rest] + 1, n[rest] - k[rest], 1 - tail)
    return low, high


def auc_interval(
    scores: ArrayLike, member: ArrayLike, level: float = 0.95, *, shared: bool = False
) -> Estimate:
    """AUC of one target with DeLong's interval.

    Var(AUC) = S₁/n₁ + S₀/n₀, where S₁ (S₀) is the sample variance over members (non-members) of
    their placement: the fraction of the other side that they beat, ties half. scores, member
    (N,). Assumes independent samples and at least 2 of each side; the normal approximation is
    poor when the AUC is at 0 or 1 (the interval then shrinks to a point). `shared` widens it by √2,
    for scores of a classifier cross-fitted on the same samples (see `over_targets`). Source:
    DeLong, DeLong and Clarke-Pearson, Biometrics 44 (1988).

    >>> auc_interval([1.0, 2.0, 3.0, 4.0], [False, True, False, True]).mean
    0.75
    """
    s = np.asarray(scores, np.float64)
    y = np.asarray(member, np.bool_)
    x1, x0 = np.sort(s[y]), np.sort(s[~y])
    if len(x1) < 2 or len(x0) < 2:
        raise InputError(
            f"member: expected at least 2 members and 2 non-members, got {len(x1)} and {len(x0)}; "
            "use more samples"
        )
    place1 = (np.searchsorted(x0, x1, "left") + np.searchsorted(x0, x1, "right")) / (2 * len(x0))
    place0 = (np.searchsorted(x1, x0, "left") + np.searchsorted(x1, x0, "right")) / (2 * len(x1))
    mean = float(place1.mean())
    spread = np.sqrt(place1.var(ddof=1) / len(x1) + place0.var(ddof=1) / len(x0))
    half = float(stats.norm.ppf((1 + level) / 2) * spread) * (2**0.5 if shared else 1.0)
    return Estimate(mean, max(0.0, mean - half), min(1.0, mean + half), level, len(s))


def over_targets(
    values: ArrayLike, member: BoolArray, level: float = 0.95, *, shared: bool = True
) -> Estimate:
    """Mean over targets of a rate, with an interval over *tuples of runs*.

    values (R,), one per target (an AUC, a TPR); member (R, N) bool tells which runs are
    complementary. The values of a tuple are averaged first: its runs are trained on the parts of
    one permutation, so they are one draw. With G tuples (`seepage.plan.partitions`: a run in none
    counts as one) the interval is mean ± t_{G−1} · c · s/√G, clipped to [0, 1].

    c = √2 if `shared`, else 1. In leave-one-out the targets are each other's references: a pair
    (r, s) of them enters the AUC of r and that of s alike. Without leakage the mean is then a
    degenerate U-statistic, each of whose terms is counted twice, and its variance is twice what
    the spread of its values says. Measured coverage at 95 % for LiRA with pairs is 0.80 to 0.87
    with c = 1 and 0.91 to 0.98 with √2; for attacks that use references less it is conservative.
    With fewer than 8 pairs and runs that differ much in quality it still falls short (0.81 to 0.95
    at 4).

    All tuples share one pool: the interval is about further runs on *this* pool and recipe and
    says nothing of other data. With one tuple there is no spread to measure: low, high are NaN.

    >>> member = np.array([[1, 0], [0, 1], [0, 1], [1, 0]], dtype=bool)
    >>> e = over_targets([0.6, 0.8, 0.7, 0.9], member)
    >>> round(e.mean, 6), e.groups
    (0.75, 2)
    """
    v = np.asarray(values, np.float64)
    if v.shape != (len(member),):
        raise InputError(
            f"values: expected one per model ({len(member)}), got shape {v.shape}; pass a row each"
        )
    number = partitions(member)
    weight = np.bincount(number).astype(np.float64)
    per_tuple = np.bincount(number, weights=v) / weight
    mean, groups = float(v.mean()), len(weight)
    if groups < 2 or np.isnan(mean):
        return Estimate(mean, float("nan"), float("nan"), level, groups)
    # Each tuple weighs as many runs as it has, so that mean and interval have one centre.
    weight /= weight.sum()
    spread = np.sqrt((weight**2 * (per_tuple - mean) ** 2).sum() * groups / (groups - 1))
    half = float(stats.t.ppf((1 + level) / 2, groups - 1) * spread) * (2**0.5 if shared else 1.0)
    return Estimate(mean, max(0.0, mean - half), min(1.0, mean + half), level, groups)
