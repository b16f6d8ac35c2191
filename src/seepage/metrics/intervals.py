"""Intervals: for a binomial rate, and over targets that share their data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import ArrayLike

from seepage.array_types import BoolArray, Float64Array, Int64Array
from seepage.errors import InputError
from seepage.given_arrays import given_array, given_floats, of_one_shape
from seepage.plan import partitions

__all__ = ["Estimate", "around", "clopper_pearson", "over_partitions", "over_targets", "reach"]


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
    k, n = of_one_shape(given_floats(k, "k"), given_floats(n, "n"), what="k, n")
    if (k < 0).any() or (k > n).any():
        raise InputError(
            "k: expected counts between 0 and n, got others; pass successes and trials"
        )
    tail = (1 - level) / 2
    low = np.zeros(k.shape)
    high = np.ones(k.shape)
    some, rest = k > 0, k < n
    low[some] = scipy.special.betaincinv(k[some], n[some] - k[some] + 1, tail)
    high[rest] = scipy.special.betaincinv(k[rest] + 1, n[rest] - k[rest], 1 - tail)
    return low, high


def reach(groups: int, level: float, *, shared: bool) -> float:
    """Half the width of an interval over G independent tuples, in units of s/√G; NaN if undefined.

    Student's t with G − 1 degrees of freedom; if `shared`, t with G − 2, times √(2 (G − 1)/(G − 2)):
    see `over_targets`.

    >>> round(reach(8, 0.95, shared=False), 3), round(reach(8, 0.95, shared=True), 3)
    (2.365, 3.738)
    """
    lost = 2 if shared else 1
    if groups <= lost:
        return float("nan")
    wider = np.sqrt(2 * (groups - 1) / (groups - 2)) if shared else 1.0
    return float(scipy.special.stdtrit(groups - lost, (1 + level) / 2) * wider)


def around(mean: float, half: float) -> tuple[float, float]:
    """Limits of a rate: mean ± half and the same on the logit scale, whichever reaches further.

    A rate near 0 or 1 spreads further towards the middle. The reach on the logit scale is at most
    1, a factor of e in a small rate, where the linear approximation has nothing more to say.

    >>> [round(v, 3) for v in around(0.5, 0.1) + around(0.01, 0.005)]
    [0.4, 0.6, 0.005, 0.016]
    """
    low, high = max(0.0, mean - half), min(1.0, mean + half)
    if 0 < mean < 1:
        centre, away = scipy.special.logit(mean), min(half / (mean * (1 - mean)), 1.0)
        low = min(low, float(scipy.special.expit(centre - away)))
        high = max(high, float(scipy.special.expit(centre + away)))
    return low, high


# Up to so many expected successes of the half that counts, an interval also contains the exact one.
_FEW = 10.0


# Values of `pooled_by_target` may be negative, and sum to a rate of 0 but for rounding.
_ROUNDING = 1e-12


def _rounded(mean: float) -> float:
    """A rate that rounding alone moved below 0 or above 1, at that end."""
    near = min(max(mean, 0.0), 1.0)
    return near if abs(mean - near) < _ROUNDING else mean


def over_targets(
    values: ArrayLike, member: BoolArray, level: float = 0.95, *, shared: bool = True
) -> Estimate:
    """Mean over targets of a rate, with an interval over *tuples of runs*.

    values (R,), one per target (an AUC, a TPR, what `pooled_by_target` gives); member (R, N) bool
    tells which runs are complementary. The values of a tuple are averaged first: its runs are
    trained on the parts of one permutation, so they are one draw. With G tuples
    (`seepage.plan.partitions`: a run in none counts as one) of which s is the standard deviation
    the interval is, clipped to [0, 1] and never narrower on either side than on the logit scale,

        mean ± t_{G−2} · √(2 (G − 1)/(G − 2)) · s/√G   if `shared`,   mean ± t_{G−1} · s/√G   else.

    In leave-one-out the targets are each other's references: a pair (r, s) of them enters the value
    of r and that of s alike. Without leakage the mean is then a degenerate U-statistic, Σ h_rs over
    pairs; its variance is 2 V/G for values of variance V, of which s² sees V (1 − 1/(G − 1)) only,
    the rest being common to all. That is the factor; one degree of freedom is given up because s²
    is itself made of terms that are counted twice. Where values are few counts (mean · n₁ · R/2 < 10
    with n₁ members a target) the interval is widened to contain Clopper and Pearson's of that
    many successes in n₁ R/2 trials, because the spread of small counts is small by chance.

    Measured coverage at 95 % (`benchmarks/coverage.py`): .95 or more for LiRA, RMIA and the loss
    from 8 to 64 models with pairs, with model effects and heavy tails, for AUC and for TPR at 1 %
    and 0.1 %. For attacks that use references less it is conservative. (√2 with t_{G−1} covered
    .89 to .93 for the AUC of LiRA at 8 models.) `shared=False` is for values that are independent
    between tuples.

    All tuples share one pool: the interval is about further runs on *this* pool and recipe and
    says nothing of other data. low, high are NaN where there is no spread to measure it by: with
    one tuple, with two if `shared`; all figures are where a value is NaN (a rate that could not be
    resolved). Source of the variance: Hoeffding, Ann. Math. Statist. 19 (1948).

    >>> member = np.array([[1, 0], [0, 1], [0, 1], [1, 0]], dtype=bool)
    >>> e = over_targets([0.6, 0.8, 0.7, 0.9], member)
    >>> round(e.mean, 6), e.groups, e.low
    (0.75, 2, nan)
    """
    v = given_floats(values, "values")
    if v.shape != (len(member),):
        raise InputError(
            f"values: expected one per model ({len(member)}), got shape {v.shape}; pass a row each"
        )
    inside = int(np.count_nonzero(given_array(member, "member")))
    return over_partitions(v, partitions(member), inside, level, shared=shared)


def over_partitions(
    v: Float64Array, number: Int64Array, inside: int, level: float = 0.95, *, shared: bool = True
) -> Estimate:
    """`over_targets` of runs whose partitions (R,) are known, and how many entries are IN."""
    weight = np.bincount(number).astype(np.float64)
    per_tuple = np.bincount(number, weights=v) / weight
    mean, groups = _rounded(float(v.mean())), len(weight)
    half = reach(groups, level, shared=shared)
    if np.isnan(half) or np.isnan(mean):
        return Estimate(mean, float("nan"), float("nan"), level, groups)
    # Each tuple weighs as many runs as it has, so that mean and interval have one centre.
    weight /= weight.sum()
    half *= float(np.sqrt((weight**2 * (per_tuple - mean) ** 2).sum() * groups / (groups - 1)))
    low, high = around(mean, half)
    trials = inside / (2 if shared else 1)
    if 0 <= mean * trials < _FEW:
        exact_low, exact_high = clopper_pearson(mean * trials, trials, level)
        low, high = min(low, float(exact_low)), max(high, float(exact_high))
    return Estimate(mean, low, high, level, groups)
