"""What the high-loss tail of one model tells of how much stronger attacks would find."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from seepage.errors import InputError
from seepage.given_arrays import given_numbers
from seepage.metrics.intervals import Estimate
from seepage.metrics.rectangle import joint_rates
from seepage.plan import Groups

__all__ = ["tail_estimate"]


def tail_estimate(
    loss: ArrayLike,
    member: ArrayLike,
    rate: float = 0.01,
    *,
    groups: Groups | None = None,
    level: float = 0.95,
) -> Estimate:
    """The loss attack's true-negative rate where it misses a share `rate` of members.

        TNR = P(loss of a non-member > c),   c such that P(loss of a member > c) = rate

    Training takes members out of the high-loss tail, and those whom it moves furthest are those whom
    LiRA finds: the share of non-members in a tail that members have left is an *estimate* of LiRA's
    TPR at an FPR of `rate`, without any reference. Without a leak it is `rate` itself. It is no bound,
    neither upper nor lower, and how well it foretells differs between data sets, networks and lengths
    of training (`docs/tail-measured.md`): for a figure that decides something train references.

    loss (N,): of one model, or residuals, higher = harder; member (N,) bool. groups: whose each sample
    is. -> the rate with its interval over samples, jointly with the share of members that the threshold
    really misses (`joint_rates` with sides exchanged); NaN where fewer than 1/rate − 1 members, or ties, do not resolve it. A *reconstruction*
    of the LOSS TNR of Dodd et al., arXiv 2510.19773, of which the abstract was read: the place of the
    threshold is ours.

    >>> loss = np.concatenate([np.linspace(0, 1, 200), np.linspace(0, 4, 200)])
    >>> e = tail_estimate(loss, np.arange(400) < 200)
    >>> round(e.mean, 2), e.low < 0.75 < e.high
    (0.75, True)
    """
    x = given_numbers(loss, "loss").astype(np.float64, copy=False)
    inside = given_numbers(member, "member")
    if x.ndim != 1 or inside.shape != x.shape or inside.dtype != np.bool_:
        raise InputError(
            f"loss, member: expected floats and bools of one shape (samples,), got {x.shape} and "
            f"{inside.dtype} of shape {inside.shape}"
        )
    found = joint_rates(x, ~inside, [rate], groups=groups, level=level)
    if not found.resolved[0]:
        return Estimate(np.nan, np.nan, np.nan, level, len(x))
    mean, low, high = (float(v[0]) for v in (found.tpr, found.tpr_low, found.tpr_high))
    return Estimate(mean, low, high, level, len(x))
