"""Whether several attacks find the same members, and whether one finds them again in other models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from seepage.array_types import BoolArray, Float64Array
from seepage.errors import InputError
from seepage.given_arrays import given_array
from seepage.metrics.intervals import Estimate, over_targets
from seepage.metrics.roc import pooled_points
from seepage.short_repr import short_repr

__all__ = ["Agreement", "Stability", "agreement", "called_members", "decision_stability"]

# With fewer models that trained on a sample, no count of right decisions refutes a fair coin at 5 %.
_FEWEST = 6


def called_members(scores: ArrayLike, member: BoolArray, fpr: float) -> BoolArray | None:
    """Who is called a member at one threshold for all targets: scores, member (R, N) -> (R, N) bool.

    The threshold is that of `seepage.metrics.pooled_points`; None where the rate cannot be resolved.

    >>> s = np.array([[0.1, 0.9, 0.4, 0.8], [0.7, 0.2, 0.6, 0.3]])
    >>> m = np.array([[False, True, False, True], [True, False, True, False]])
    >>> called_members(s, m, 0.25).tolist()
    [[False, True, False, True], [True, False, True, False]]
    """
    points = pooled_points(scores, member, [fpr])
    if not points.resolved[0, 0]:
        return None
    return np.asarray(given_array(scores, "scores") >= points.threshold[0, 0])


@short_repr
@dataclass(frozen=True, eq=False)
class Agreement:
    """Which members A attacks find, alone and together; a finding is a member called so in one target.

    jaccard, low, high (A, A): |a ∩ b| / |a ∪ b| of what two attacks find, and its interval; chance
    (A, A): what two would share that find as many, independently of each other. coverage: share of
    members that at least one attack finds; false_coverage: share of non-members that at least one
    calls a member, which is the false-positive rate to read `coverage` at. by_all: share that every
    attack finds. patterns: (P, A) bool, each set of attacks that some finding, or false call, is of
    exactly; inside, outside (P,): how many members and non-members these are; most members first.
    """

    attacks: tuple[str, ...]
    found: tuple[Estimate, ...]
    jaccard: Float64Array
    low: Float64Array
    high: Float64Array
    chance: Float64Array
    coverage: Estimate
    false_coverage: float
    by_all: Estimate
    patterns: BoolArray
    inside: NDArray[np.int64]
    outside: NDArray[np.int64]


def agreement(decisions: Mapping[str, BoolArray], member: BoolArray) -> Agreement:
    """How far attacks agree on whom they find: attack -> (R, N) bool, member (R, N) bool.

    decisions: at one low FPR each (`called_members`). Two attacks of one AUC may find different
    people: what one finds and the other does not is missed by whoever runs one. Their union finds
    more and errs more: `coverage` stands beside `false_coverage`.

    Intervals are those of `seepage.metrics.over_targets`, of a ratio of sums linearised: with a
    target's counts ∩ and ∪, J + (∩ − J ∪)/mean ∪. NaN with too few tuples, and where neither attack
    finds anybody. Raises InputError for fewer than two attacks and other shapes.

    Source of the questions: Wang, Zhang, Chen et al. (arXiv 2506.13972), whose text was not at hand in
    full: a *reconstruction*; Jaccard's index and unions are standard.

    >>> member = np.array([[1, 1, 0, 0], [0, 0, 1, 1]], dtype=bool)
    >>> a = np.array([[1, 1, 0, 0], [0, 0, 1, 0]], dtype=bool)
    >>> b = np.array([[1, 0, 1, 0], [0, 0, 1, 0]], dtype=bool)
    >>> both = agreement({"a": a, "b": b}, member)
    >>> round(float(both.jaccard[0, 1]), 3), both.coverage.mean, both.false_coverage
    (0.667, 0.75, 0.25)
    """
    y = given_array(member, "member")
    names = tuple(decisions)
    if len(names) < 2:
        raise InputError(f"decisions: expected at least two attacks, got {len(names)}")
    if y.ndim != 2 or y.dtype != np.bool_:
        raise InputError(f"member: expected bools (models, samples), got {y.dtype} of {y.shape}")
    said = [given_array(d, f"decisions[{n!r}]") for n, d in decisions.items()]
    for name, d in zip(names, said, strict=True):
        if d.shape != y.shape or d.dtype != np.bool_:
            raise InputError(
                f"decisions: expected bools of shape {y.shape}, got {d.dtype} of {d.shape} of {name!r}"
            )
    both = np.empty((len(y), len(names), len(names)))
    for r in range(len(y)):
        # float64 so that the product is a fast one; counts are exact in it.
        own = np.stack([d[r, y[r]] for d in said]).astype(np.float64)
        both[r] = own @ own.T
    alone = np.einsum("raa->ra", both)
    either = alone[:, :, None] + alone[:, None, :] - both
    members = y.sum(axis=1)
    size = len(names)
    shape = (size, size)
    jaccard, low, high = np.full(shape, np.nan), np.full(shape, np.nan), np.full(shape, np.nan)
    for a in range(size):
        for b in range(a, size):
            total = either[:, a, b].sum()
            if total == 0:
                continue
            j = both[:, a, b].sum() / total
            values = j + (both[:, a, b] - j * either[:, a, b]) / either[:, a, b].mean()
            e = over_targets(values, y)
            jaccard[a, b] = jaccard[b, a] = j
            if a != b:
                low[a, b] = low[b, a] = e.low
                high[a, b] = high[b, a] = e.high
    rate = alone.sum(axis=0) / max(int(members.sum()), 1)
    together = rate[:, None] * rate[None]
    union = rate[:, None] + rate[None] - together
    chance = np.divide(together, union, out=np.full(shape, np.nan), where=union > 0)
    np.fill_diagonal(chance, np.nan)
    patterns, inside, outside = _patterns(said, y)
    some, every = np.logical_or.reduce(said), np.logical_and.reduce(said)
    return Agreement(
        attacks=names,
        found=tuple(_share(d, y) for d in said),
        jaccard=jaccard,
        low=low,
        high=high,
        chance=chance,
        coverage=_share(some, y),
        false_coverage=float(some[~y].mean()) if (~y).any() else float("nan"),
        by_all=_share(every, y),
        patterns=patterns,
        inside=inside,
        outside=outside,
    )


def _share(said: BoolArray, member: BoolArray) -> Estimate:
    """Share of members that are called so, mean over targets."""
    each = (said & member).sum(axis=1) / np.maximum(member.sum(axis=1), 1)
    return over_targets(each, member)


def _patterns(
    said: list[BoolArray], member: BoolArray
) -> tuple[BoolArray, NDArray[np.int64], NDArray[np.int64]]:
    """Every set of attacks that calls somebody a member, with the members and non-members it is of."""
    code = np.zeros(member.shape, dtype=np.int64)
    for k, d in enumerate(said):
        code |= d.astype(np.int64) << k
    kinds = np.unique(code[code > 0])
    inside = np.array([(code[member] == c).sum() for c in kinds], dtype=np.int64)
    outside = np.array([(code[~member] == c).sum() for c in kinds], dtype=np.int64)
    order = np.lexsort((kinds, outside, -inside))
    patterns = (kinds[order, None] >> np.arange(len(said))) & 1
    return patterns.astype(np.bool_), inside[order], outside[order]


@dataclass(frozen=True)
class Stability:
    """Whether an attack decides alike on one sample in models trained with it by other seeds.

    again: of two such models, how often both find the sample where one does, |∩|/|∪| over all pairs;
    again_by_chance: the same if as many were found at random. flips: how often the two decide
    differently, mean over samples; flips_by_chance: 2p(1 − p), p the share that is found; a fair
    coin's is ½. coins: of the samples that are found in some model, the share whose decisions no
    exact test tells from a fair coin's at 5 %; of samples that fewer than 6 models trained on none
    is tested, NaN where there is no other. models: how many trained on a sample, median.
    """

    again: float
    again_by_chance: float
    flips: float
    flips_by_chance: float
    coins: float
    models: int


def decision_stability(decisions: BoolArray, member: BoolArray) -> Stability:
    """How stable one attack's decisions on members are over models: (R, N) bool, (R, N) bool.

    Of a sample that n models trained on and k of them give away: two of these decide differently
    with probability 2k(n − k)/(n(n − 1)), both find it in k(k − 1)/2 pairs, and at least one in all but
    (n − k)(n − k − 1)/2. A decision that flips with the seed says little of the sample's record, how
    ever good the AUC. Models of one fleet differ in seed *and* in the other members. Decisions share
    references, so the share of coins is no test of a single sample's.

    *Reconstruction* of the questions of arXiv 2505.18773 (per-sample decisions compared with coin
    flips), whose text was not at hand in full.

    >>> member = np.ones((8, 3), dtype=bool)
    >>> decisions = np.arange(8)[:, None] < np.array([8, 4, 0])
    >>> found = decision_stability(decisions, member)
    >>> round(found.flips, 3), found.coins, round(found.again, 3)
    (0.19, 0.5, 0.68)
    """
    d, y = given_array(decisions, "decisions"), given_array(member, "member")
    if y.ndim != 2 or d.shape != y.shape or d.dtype != np.bool_ or y.dtype != np.bool_:
        raise InputError(
            f"decisions, member: expected bools of one shape (models, samples), got {d.dtype} of "
            f"{d.shape} and {y.dtype} of {y.shape}; pass a truth value each"
        )
    n = y.sum(axis=0).astype(np.float64)
    k = (d & y).sum(axis=0).astype(np.float64)
    p = float(k.sum() / max(n.sum(), 1.0))
    pairs = n * (n - 1) / 2
    some = pairs - (n - k) * (n - k - 1) / 2
    twice = pairs > 0
    nan = float("nan")
    again = float((k * (k - 1) / 2).sum() / some.sum()) if some.sum() else nan
    flips = float((k * (n - k) / np.where(twice, pairs, 1.0))[twice].mean()) if twice.any() else nan
    tested = (k > 0) & (n >= _FEWEST)
    coins = nan
    if tested.any():
        fewer = np.minimum(k, n - k)[tested]
        two_sided = np.minimum(1.0, 2 * scipy.stats.binom.cdf(fewer, n[tested], 0.5))
        coins = float((two_sided > 0.05).mean())
    return Stability(again, p / (2 - p), flips, 2 * p * (1 - p), coins, int(np.median(n)))
