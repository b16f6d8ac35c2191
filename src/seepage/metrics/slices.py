"""How well an attack does within parts of a pool: AUC and both rates, with intervals that pay for the number of parts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from seepage.array_types import BoolArray, Float64Array, Int64Array
from seepage.errors import InputError
from seepage.given_arrays import given_numbers
from seepage.metrics.agreement import called_members
from seepage.metrics.auc_intervals import auc_interval
from seepage.metrics.intervals import Estimate, clopper_pearson, over_targets
from seepage.metrics.rectangle import joint_rates
from seepage.metrics.roc import auc
from seepage.metrics.unit import judged

__all__ = ["Slice", "slice_sizes", "slices"]


@dataclass(frozen=True)
class Slice:
    """One part of the samples.

    samples: how many, mean over targets where parts differ between them. auc: mean over targets. tpr,
    fpr: the shares of its members, and of its others, that pass the *one* threshold of all samples,
    whose FPR over all is the one demanded. own: the TPR at a threshold of this part's own, at which
    its others pass with the rate demanded. Rates are NaN where they cannot be resolved.
    """

    samples: float
    auc: Estimate
    tpr: Estimate
    fpr: Estimate
    own: Estimate


def slice_sizes(codes: ArrayLike, member: BoolArray) -> tuple[Float64Array, Int64Array]:
    """Samples of each part, mean over targets, and the fewest on one side of a target.

    codes (N,) or (R, N): parts 0 … K − 1, −1 for none; member (R, N) bool -> (K,), (K,).

    >>> slice_sizes([0, 0, 1, 1], np.array([[True, False, True, True]]))
    (array([2., 2.]), array([1, 0]))
    """
    parts = _parts(codes, member)
    of = [parts == k for k in range(int(parts.max(initial=-1)) + 1)]
    sizes = np.array([at.sum(axis=1).mean() for at in of], dtype=np.float64)
    fewest = [min((at & member).sum(axis=1).min(), (at & ~member).sum(axis=1).min()) for at in of]
    return sizes, np.array(fewest, dtype=np.int64)


def slices(
    scores: ArrayLike,
    member: BoolArray,
    codes: ArrayLike,
    *,
    fpr: float = 0.01,
    level: float = 0.95,
    plan: BoolArray | None = None,
) -> tuple[Slice, ...]:
    """Every part's AUC, TPR and FPR, with intervals that hold for all K parts at once.

    scores, member (R, N), one row per target, R = 1 of a single one; codes (N,) or (R, N): the part
    of every sample, 0 … K − 1, −1 for none. Each interval has level 1 − (1 − `level`)/K (Bonferroni),
    so that all of them cover with `level`, and the part that was looked for is paid for. Of several
    targets it is `over_targets`, of a single one over samples. A rate is the ratio of counts summed
    over targets, its interval that of the counts' residuals h_r − p n_r, divided by their mean n:

        v_r = p + (h_r − p n_r) / mean(n),    p = Σ h_r / Σ n_r

    Which threshold: an attacker who does not know a sample's part has one threshold for all, at
    which parts have different false-positive rates: `tpr` is to be read beside `fpr`, never alone.
    One who knows it sets one for each part: `own`. plan (R, N'): membership by which tuples of runs
    are told, `member` unless given.

    A part must not be chosen by the answers that are judged: the samples of which a target's own
    loss is high are its non-members. With codes (R, N) each target has parts of its own, made of its
    references (`seepage.findings.slices`). Raises InputError where a target has no member or no
    other in a part, and on other shapes.

    >>> s = np.array([[3.0, 1.0, 2.0, 0.0], [1.0, 3.0, 0.0, 2.0]])
    >>> y = np.array([[True, False, True, False], [False, True, False, True]])
    >>> [p.auc.mean for p in slices(s, y, [0, 0, 1, 1], fpr=0.5)]
    [1.0, 1.0]
    """
    s, y = judged(scores, member, 2)
    parts = _parts(codes, y)
    sizes, fewest = slice_sizes(parts, y)
    if not len(sizes) or fewest.min() < 1:
        raise InputError(
            "codes: expected a member and a non-member of every target in each part, got none in "
            f"some; the fewest are {fewest.tolist()}, join small parts"
        )
    wide = 1 - (1 - level) / len(sizes)
    tuples = y if plan is None else plan
    called = called_members(s, y, fpr)
    out = []
    for k, size in enumerate(sizes):
        at = parts == k
        out.append(
            Slice(
                samples=float(size),
                auc=_auc(s, y, at, wide, tuples),
                tpr=_rate(called, at & y, wide, tuples),
                fpr=_rate(called, at & ~y, wide, tuples),
                own=_own(s, y, at, fpr, wide, tuples),
            )
        )
    return tuple(out)


def _parts(codes: ArrayLike, member: BoolArray) -> Int64Array:
    parts = given_numbers(codes, "codes")
    if parts.dtype.kind not in "iu" or parts.shape not in (member.shape, member.shape[1:]):
        raise InputError(
            f"codes: expected whole numbers of shape {member.shape[1:]} or {member.shape}, got "
            f"{parts.dtype} of shape {parts.shape}"
        )
    return np.broadcast_to(parts, member.shape).astype(np.int64)


def _auc(s: Float64Array, y: BoolArray, at: BoolArray, level: float, plan: BoolArray) -> Estimate:
    if len(s) == 1:
        one, truth = s[at], y[at]
        if min(truth.sum(), (~truth).sum()) < 2:
            return Estimate(auc(one, truth), np.nan, np.nan, level, len(one))
        return auc_interval(one, truth, level)
    each = [auc(row[here], truth[here]) for row, truth, here in zip(s, y, at, strict=True)]
    return over_targets(each, plan, level)


def _own(
    s: Float64Array, y: BoolArray, at: BoolArray, fpr: float, level: float, plan: BoolArray
) -> Estimate:
    """The TPR of a part at a threshold of its own, one for all targets."""
    if len(s) == 1:
        found = joint_rates(s[at], y[at], [fpr], level=level)
        mean, low, high = (float(v[0]) for v in (found.tpr, found.tpr_low, found.tpr_high))
        return Estimate(mean, low, high, level, int(at.sum()))
    called = called_members(s[at][None], y[at][None], fpr)
    if called is None:
        return _rate(None, at & y, level, plan)
    passed = np.zeros(s.shape, dtype=np.bool_)
    passed[at] = called[0]
    return _rate(passed, at & y, level, plan)


def _rate(called: BoolArray | None, of: BoolArray, level: float, plan: BoolArray) -> Estimate:
    """The share of `of` (R, N) that is called a member."""
    if called is None:
        return Estimate(np.nan, np.nan, np.nan, level, len(of))
    hits, n = (called & of).sum(axis=1).astype(np.float64), of.sum(axis=1).astype(np.float64)
    share = float(hits.sum() / n.sum())
    if len(of) == 1:
        low, high = clopper_pearson(hits[0], n[0], level)
        return Estimate(share, float(low), float(high), level, int(n[0]))
    found = over_targets(share + (hits - share * n) / n.mean(), plan, level)
    if not np.isfinite(found.low) or share * n.sum() / 2 >= _FEW:
        return Estimate(share, found.low, found.high, level, found.groups)
    # Few counts spread little by chance; half of them count, as in `over_targets`.
    low, high = clopper_pearson(share * n.sum() / 2, n.sum() / 2, level)
    return Estimate(
        share, min(found.low, float(low)), max(found.high, float(high)), level, found.groups
    )


# Counts below which the exact interval is contained.
_FEW = 10.0
