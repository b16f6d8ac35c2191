"""What the high-loss tail of one model tells of how much stronger attacks would find."""

from __future__ import annotations

import numpy as np
import scipy
from numpy.typing import ArrayLike

from seepage.errors import InputError
from seepage.given_arrays import given_numbers
from seepage.metrics.intervals import Estimate, clopper_pearson
from seepage.metrics.roc import tpr_at_fpr

__all__ = ["tail_estimate"]


def tail_estimate(
    loss: ArrayLike, member: ArrayLike, rate: float = 0.01, *, level: float = 0.95
) -> Estimate:
    """The loss attack's true-negative rate where it misses a share `rate` of members.

        TNR = P(loss of a non-member > c),   c such that P(loss of a member > c) = rate

    Training takes members out of the high-loss tail, and those whom it moves furthest are those whom
    LiRA finds: the share of non-members in a tail that members have left is an *estimate* of LiRA's
    TPR at an FPR of `rate`, without any reference. Without a leak it is `rate` itself. It is no bound,
    neither upper nor lower, and how well it foretells differs between data sets, networks and lengths
    of training (`docs/tail-measured.md`): for a figure that decides something train references.

    loss (N,): of one model, or sizes of residuals, higher = harder; member (N,) bool, samples or
    subjects that are independent of each other given the model. -> the rate, NaN where fewer than
    1/rate − 1 members, or ties, do not resolve it. Its interval is free of any law: c lies between the
    j-th and k-th largest loss of members, j and k quantiles of a binomial law, and beyond each of these
    lies a share of non-members with Clopper and Pearson's limits; each of the four ends errs in a
    quarter of 1 − `level`. A *reconstruction* of the LOSS TNR of Dodd et al., arXiv 2510.19773, of
    which the abstract was read: the place of the threshold and the interval are ours.

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
    found = tpr_at_fpr(x, ~inside, rate)
    if not found.resolved:
        return Estimate(np.nan, np.nan, np.nan, level, len(x))
    own, others = np.sort(x[inside])[::-1], x[~inside]
    quarter = (1 - level) / 4
    # Of n members as many as these exceed the true c: no fewer, and no more.
    fewest, most = scipy.stats.binom.ppf([quarter, 1 - quarter], len(own), rate).astype(int)
    beyond = int((others >= own[fewest - 1]).sum()) if fewest else 0
    low = float(clopper_pearson(beyond, len(others), 1 - 2 * quarter)[0])
    beyond = int((others >= own[most]).sum()) if most < len(own) else len(others)
    high = float(clopper_pearson(beyond, len(others), 1 - 2 * quarter)[1])
    return Estimate(float(found.tpr), low, high, level, len(x))
