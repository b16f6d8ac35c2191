"""Intervals of an AUC: of one target over samples or subjects, and of one sample over models."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import ArrayLike

from seepage.array_types import BoolArray, Float64Array, Int64Array
from seepage.errors import InputError
from seepage.given_arrays import given_numbers
from seepage.metrics.intervals import Estimate, clopper_pearson
from seepage.metrics.unit import EACH, Unit, judged
from seepage.native.library import contiguous, kernel, over_blocks
from seepage.plan import Groups, group_codes
from seepage.short_repr import short_repr

__all__ = ["SampleAuc", "auc_interval", "sample_auc"]

# Trials times the smaller of AUC and 1 − AUC from which the normal approximation holds: with 3 it
# covers down to .93, with 5 at least .94 in every law that was tried, with 10 it is wider in vain.
_NORMAL_FROM = 5.0


def _limits(
    area: Float64Array,
    variance: Float64Array,
    freedom: Float64Array,
    trials: Float64Array,
    level: float,
) -> tuple[Float64Array, Float64Array]:
    """Limits of AUCs: logit-normal with Student's t where both sides are counted, else exact."""
    normal = (trials * np.minimum(area, 1 - area) >= _NORMAL_FROM) & (variance > 0)
    low, high = clopper_pearson(np.clip(area * trials, 0, trials), trials, level)
    a, v = area[normal], variance[normal]
    centre = scipy.special.logit(a)
    half = scipy.special.stdtrit(freedom[normal], (1 + level) / 2) * np.sqrt(v) / (a * (1 - a))
    low[normal], high[normal] = (
        scipy.special.expit(centre - half),
        scipy.special.expit(centre + half),
    )
    return low, high


def _freedom(
    a: Float64Array, b: Float64Array, n_a: Float64Array, n_b: Float64Array
) -> Float64Array:
    """Welch-Satterthwaite degrees of freedom of a + b, two variances of means of n values."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((a + b) ** 2 / (a**2 / (n_a - 1) + b**2 / (n_b - 1)))


def _side(placement: Float64Array, area: float, owner: Int64Array) -> tuple[float, float, int]:
    """Of one side: its part of the variance, its effective and its real number of subjects."""
    sizes = np.bincount(owner).astype(np.float64)
    away = np.bincount(owner, weights=placement - area)
    n, subjects = len(placement), len(sizes)
    part = float((away**2).sum()) * subjects / (subjects - 1) / n**2
    return part, n**2 / float((sizes**2).sum()), subjects


def auc_interval(
    scores: ArrayLike,
    member: ArrayLike,
    level: float = 0.95,
    *,
    groups: Groups | None = None,
    shared: bool = False,
) -> Estimate:
    """AUC of one target with an interval over its samples, or over subjects where groups are given.

    The placement of a member (non-member) is the fraction of the other side that it beats (that
    beats it), ties half; U is their mean. With z_i the sum over subject i of placement − U, and I
    member subjects with n₁ samples, J other subjects with n₀ samples,

        Var(U) = I/(I − 1) · Σ z_i²/n₁² + J/(J − 1) · Σ z_j²/n₀²

    which is DeLong's variance when every sample is its own subject. The interval is logit U ± t ·
    √Var/(U (1 − U)), t with Welch's degrees of freedom. Near 0 and 1 and for few samples, where
    m · min(U, 1 − U) < 5, it is Clopper and Pearson's of U·m successes in m trials instead: U is an
    average over matchings of members with non-members of means of m = min(n₁, n₀) trials and hence
    no more variable than one of these means. With subjects of unequal size m is min over the sides
    of n²/Σ sizes².

    scores (N,) float, higher = more likely a member; member (N,) bool. groups (N,): whose sample
    each is; a subject is wholly a member or not. `shared` doubles the variance and halves the
    trials, for scores of a classifier that was cross-fitted on the same samples (see
    `over_targets`). `Estimate.groups` counts samples or subjects.

    Coverage at 95 %, measured (`benchmarks/coverage.py`): .95 or more for AUCs from .5 to .999
    and from 10 samples a side, and more than that where it is exact. Samples (subjects) must be
    independent given the model; it says nothing of other models of the same recipe. Raises
    InputError on fewer than 2 of either side, NaN, and a subject on both sides. Sources: DeLong,
    DeLong and Clarke-Pearson, Biometrics 44 (1988); Obuchowski, Biometrics 53 (1997), without its
    covariance of the two sides, which are different subjects here; the fallback is ours.

    >>> e = auc_interval([1.0, 2.0, 3.0, 4.0], [False, True, False, True])
    >>> e.mean, round(e.low, 3), round(e.high, 3)
    (0.75, 0.061, 1.0)
    """
    s, y = judged(scores, given_numbers(member, "member").astype(np.bool_, copy=False), 1)
    owner = np.arange(len(s)) if groups is None else group_codes(groups)[0]
    if owner.shape != s.shape:
        raise InputError(f"groups: expected one per sample ({len(s)}), got {len(owner)}")
    inside = np.unique(owner[y], return_inverse=True)
    outside = np.unique(owner[~y], return_inverse=True)
    both = np.intersect1d(inside[0], outside[0])
    if both.size:
        raise InputError(
            f"groups: expected every subject whole on one side, got {both.size} on both; "
            "split the plan by groups"
        )
    if len(inside[0]) < 2 or len(outside[0]) < 2:
        raise InputError(
            f"member: expected at least 2 members and 2 non-members, got {len(inside[0])} and "
            f"{len(outside[0])}; use more samples"
        )
    x1, x0 = s[y], s[~y]
    ranked1, ranked0 = np.sort(x1), np.sort(x0)

    def beaten(own: Float64Array, others: Float64Array) -> Float64Array:
        twice = np.searchsorted(others, own, "left") + np.searchsorted(others, own, "right")
        return np.asarray(twice / (2 * len(others)))

    place1, place0 = beaten(x1, ranked0), 1 - beaten(x0, ranked1)
    mean = float(place1.mean())
    v1, m1, n1 = _side(place1, mean, inside[1])
    v0, m0, n0 = _side(place0, mean, outside[1])
    twice = 2.0 if shared else 1.0
    one = [np.array([float(v)]) for v in (mean, (v1 + v0) * twice, min(m1, m0) / twice)]
    freedom = _freedom(*(np.array([float(v)]) for v in (v1, v0, n1, n0)))
    low, high = _limits(one[0], one[1], freedom, one[2], level)
    return Estimate(mean, float(low[0]), float(high[0]), level, len(np.unique(owner)))


@short_repr
@dataclass(frozen=True, eq=False)
class SampleAuc:
    """AUC of every sample across models, and its limits; each (N,), NaN where it has one side."""

    auc: Float64Array
    low: Float64Array
    high: Float64Array


def _by_sample(values: Float64Array, member: BoolArray) -> tuple[Float64Array, Float64Array]:
    """AUC over models and both parts of DeLong's variance: (R, N), (R, N) -> (N,), (2, N)."""
    models, samples = values.shape
    area, spread = np.empty(samples), np.zeros((2, samples))
    compiled = kernel("pair_spread", "f8", "?", int, int, int, int, "f8", "f8")
    if compiled is not None:
        s, y = contiguous(values, "f8"), contiguous(member, "?")
        over_blocks(lambda a, b: compiled(s, y, models, samples, a, b, area, spread), samples, 4096)
        return area, spread
    place = np.empty((models, samples))
    for r, (x, inside) in enumerate(zip(values, member, strict=True)):
        # What a member beats, and what beats a non-member.
        won = np.where(inside, x > values, values > x).astype(np.int64)
        won += np.where(inside, x >= values, values >= x)
        place[r] = 0.5 * (won * (member != inside)).sum(axis=0)
    n = np.stack([member.sum(axis=0), (~member).sum(axis=0)]).astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        area[:] = np.where(member, place, 0.0).sum(axis=0) / (n[0] * n[1])
        away = (place / np.where(member, n[1], n[0]) - area) ** 2
    known = np.isfinite(area)
    for side, mask in enumerate((member, ~member)):
        part = np.where(mask, away, 0.0).sum(axis=0) / (
            np.maximum(n[side] - 1, 1) * n[side].clip(1)
        )
        spread[side, known] = part[known]
    return area, spread


def sample_auc(
    signal: ArrayLike, member: ArrayLike, level: float = 0.95, *, unit: Unit = EACH
) -> SampleAuc:
    """Per-sample AUC of a signal across models, with intervals: (R, N), (R, N) -> (N,) each.

    The probability that a model trained on the sample gives it a higher signal than one that was
    not, ties half: `row_auc` of the *signal itself*, of which higher must mean more likely a member
    (φ; −loss). Models are independent draws, so without leakage its mean is .5 and its standard
    deviation √((R + 1)/(3 R²)): .153 at R = 16, .073 at R = 64. Do not pass scores of a
    leave-one-out, see `row_auc`.

    The interval is that of `auc_interval` with models for samples: exact with m = min(IN, OUT)
    trials while m · min(U, 1 − U) < 5, that is always up to 16 models, logit-normal beyond. It
    holds for each sample by itself at `level`, not for all at once. Coverage at 95 %, measured
    (`benchmarks/coverage.py`): .95 or more from 8 to 64 models. An attack that knows the signal's
    law can do better than one threshold on it, so this is no bound on what LiRA tells.

    unit: `Subjects(groups)` judges the sum of a subject's signals. NaN where a sample is IN all or
    no models. Raises InputError on NaN and other shapes.

    >>> found = sample_auc([[3.0], [1.0], [4.0], [2.0]], np.array([[1], [0], [1], [0]], bool))
    >>> found.auc.tolist(), found.low.round(3).tolist()
    ([1.0], [0.158])
    """
    s, y = judged(signal, member, 2, unit)
    samples = s.shape[1]
    area, spread = _by_sample(s, y)
    n_in = y.sum(axis=0).astype(np.float64)
    n_out = len(y) - n_in
    known = np.isfinite(area)
    low, high = np.full(samples, np.nan), np.full(samples, np.nan)
    a, b = spread[:, known]
    freedom = _freedom(a, b, n_in[known], n_out[known])
    trials = np.minimum(n_in, n_out)[known]
    low[known], high[known] = _limits(area[known], a + b, freedom, trials, level)
    return SampleAuc(area, low, high)
