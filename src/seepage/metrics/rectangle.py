"""False- and true-positive rate of one target at low rates, jointly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from seepage.array_types import BoolArray, Float64Array, Int64Array
from seepage.errors import InputError
from seepage.given_arrays import given_floats
from seepage.metrics.intervals import clopper_pearson
from seepage.metrics.unit import judged
from seepage.plan import Groups, group_codes
from seepage.short_repr import short_repr

__all__ = ["JointRates", "joint_rates"]

# Far below a share of one sample; undoes rounding.
_SLACK = 1e-9


@short_repr
@dataclass(frozen=True, eq=False)
class JointRates:
    """Rates of one target at each nominal FPR, all (F,); NaN where `resolved` is False.

    fpr and tpr lie *together* in [fpr_low, fpr_high] × [tpr_low, tpr_high] with the level asked
    for. null: the FPR to expect of a further non-member, and what noise reads as TPR.
    """

    nominal: Float64Array
    fpr: Float64Array
    fpr_low: Float64Array
    fpr_high: Float64Array
    tpr: Float64Array
    tpr_low: Float64Array
    tpr_high: Float64Array
    null: Float64Array
    resolved: BoolArray


def _above(values: Float64Array, others: Float64Array, weight: Float64Array) -> Float64Array:
    """Summed weight of the `others` that lie at or above each value."""
    order = np.argsort(others)
    tail = np.append(np.cumsum(weight[order][::-1])[::-1], 0.0)
    return np.asarray(tail[np.searchsorted(others[order], values, "left")])


def _own(values: Float64Array, owner: Int64Array, weight: Float64Array) -> Float64Array:
    """Summed weight of a sample's own subject at or above it, itself included."""
    order = np.lexsort((-values, owner))
    v, o = values[order], owner[order]
    running = np.cumsum(weight[order])
    begins = np.append(True, o[1:] != o[:-1])
    before = (running - weight[order])[begins][np.cumsum(begins) - 1]
    # Equal scores of one subject count together: take the running sum at the last of them.
    last = np.flatnonzero(np.append((v[1:] != v[:-1]) | begins[1:], True))
    at = last[np.searchsorted(last, np.arange(len(v)))]
    out = np.empty(len(v))
    out[order] = running[at] - before
    return out


def joint_rates(
    scores: ArrayLike,
    member: ArrayLike,
    fprs: Sequence[float] | Float64Array = (0.01, 0.001),
    *,
    groups: Groups | None = None,
    level: float = 0.95,
) -> JointRates:
    """A joint (FPR, TPR) rectangle of one target at each nominal FPR, thresholds cross-fitted.

    Every non-member is judged by a threshold that the other non-members set, members by the one
    that all of them set: j = ⌊α (n + 1)⌋ as in `tpr_at_fpr`, so that a sample passes when fewer than
    j (other) non-members score as high as it does. The expected FPR, and what noise reads as TPR,
    is j/(n + 1) ≤ α (`null`). Each rate has Clopper and Pearson's interval at 1 − (1 − level)/2, so
    that both hold together at `level`.

    Why it holds: the FPR of "just above the j-th largest of n" follows the Beta law (j, n + 1 − j),
    whatever the law of the scores, and the interval contains its central part: the upper limit is
    that of the cross-fitted count, the lower one that of the j − 1 that pass with all others set
    (a score tied with the threshold passes only when left out). Given the threshold, members are
    independent trials. It holds for the threshold that was used:
    the TPR at *exactly* α lies elsewhere on the ROC, which is why the FPR has an interval too.
    Leaving out one at a time needs no random folds and resolves as low a rate as any: α ≥
    1/(n + 1), else NaN and `resolved` False. (An interval of the TPR alone, with the FPR given as
    α, missed the truth in up to 60 % of targets.)

    groups (N,): whose sample each is. Subjects then are the trials: one counts by the *share* of its
    samples that pass, so that the rates are means over subjects, n their number, and a rate of 1 %
    is resolved from 99 non-member subjects on. A share lies between 0 and 1 and is no more variable
    than a coin of the same mean: the interval is conservative, the more so the larger the subjects.
    (Whether *any* sample of a subject passes is another question and depends on its size; sum the
    scores with `Subjects` to judge subjects as one.) The threshold is the lowest at which the shares
    of the n non-members sum up to at most α (n + 1) − 1 (conformal risk control, arXiv 2208.02814),
    and `null` is α, an upper bound.

    scores (N,) float, higher = more likely a member; member (N,) bool. Assumes that samples
    (subjects) are independent given the model and that references were not fitted to the
    target's membership. Raises InputError on NaN, other shapes, one side missing, a subject on both
    sides.

    >>> s = np.concatenate([np.arange(199.0), np.arange(200.0, 400.0)])
    >>> found = joint_rates(s, np.arange(399) >= 199, (0.01, 0.001))
    >>> found.fpr.round(4).tolist(), found.tpr.tolist(), found.fpr_high.round(3).tolist()
    ([0.0101, nan], [1.0, nan], [0.04, nan])
    """
    s, y = judged(scores, member, 1)
    nominal = given_floats(fprs, "fprs")
    if nominal.ndim != 1 or not ((nominal >= 0) & (nominal <= 1)).all():
        raise InputError(f"fprs: expected rates between 0 and 1, got {fprs}; 0.001 is 0.1 %")
    owner = np.arange(len(s)) if groups is None else group_codes(groups)[0]
    if owner.shape != s.shape:
        raise InputError(f"groups: expected one per sample ({len(s)}), got {len(owner)}")
    subjects, sizes = np.unique(owner, return_counts=True)
    inside = np.isin(subjects, owner[y])
    if (inside & np.isin(subjects, owner[~y])).any():
        raise InputError(
            "groups: expected every subject whole on one side, got some on both; "
            "split the plan by groups"
        )
    n_in, n_out = int(inside.sum()), int((~inside).sum())
    if not n_in or not n_out:
        raise InputError(
            f"member: expected members and non-members, got {int(y.sum())} of {len(y)} True; "
            "a target needs both to be scored"
        )
    weight = 1.0 / sizes[np.searchsorted(subjects, owner)]
    s0, w0 = s[~y], weight[~y]
    all_above = _above(s0, s0, w0)
    others_above = all_above - _own(s0, owner[~y], w0)
    members_below = _above(s[y], s0, w0)
    budget = nominal * (n_out + 1) - 1 + _SLACK
    fp = np.array([w0[others_above <= b].sum() for b in budget])
    tp = np.array([weight[y][members_below <= b].sum() for b in budget])
    fp, tp = np.minimum(fp, n_out), np.minimum(tp, n_in)
    each = 1 - (1 - level) / 2
    # Who sets the threshold or ties with it passes only when left out: it counts upwards alone.
    passed = np.array([w0[all_above <= b].sum() for b in budget])
    fpr_low, _ = clopper_pearson(np.minimum(passed, fp), n_out, each)
    _, fpr_high = clopper_pearson(fp, n_out, each)
    tpr_low, tpr_high = clopper_pearson(tp, n_in, each)
    resolved = budget >= 0
    null = np.floor(budget + 1) / (n_out + 1) if sizes.max() == 1 else nominal

    def known(values: Float64Array) -> Float64Array:
        return np.where(resolved, values, np.nan)

    return JointRates(
        nominal,
        known(fp / n_out),
        known(fpr_low),
        known(fpr_high),
        known(tp / n_in),
        known(tpr_low),
        known(tpr_high),
        known(null),
        resolved,
    )
