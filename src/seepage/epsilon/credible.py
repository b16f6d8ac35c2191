"""Credible lower ends of ε from one confusion matrix: *credible, not confidence*.

They hold on average over a prior on the error rates, not for every mechanism; `multi_run` gives
what does. Offered for comparison with published figures.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy

from seepage.epsilon.multi_run import check_level
from seepage.epsilon.trade_off import dp_region
from seepage.errors import InputError

__all__ = ["Credible", "jeffreys", "joint_beta"]


@dataclass(frozen=True)
class Credible:
    """Given the prior, ε at `delta` is below `epsilon` with probability 1 − level: credible, not confidence.

    method: "Jeffreys" or "joint beta".
    """

    epsilon: float
    level: float
    delta: float
    method: str

    def __str__(self) -> str:
        return (
            f"ε at least {self.epsilon:.2f}, credible, not confidence ({self.method}, "
            f"{100 * self.level:g} %)"
        )


def _checked(right: int, members: int, wrong: int, others: int) -> None:
    if not (0 <= right <= members and 0 <= wrong <= others and members > 0 and others > 0):
        raise InputError(
            f"right, members, wrong, others: expected 0 <= right <= members and 0 <= wrong <= "
            f"others, got {right}, {members}, {wrong}, {others}; count both sides at one threshold"
        )


def jeffreys(
    right: int, members: int, wrong: int, others: int, *, delta: float = 0.0, level: float = 0.95
) -> Credible:
    """ε from Jeffreys intervals of both rates: credible, not confidence.

    As `multi_run` at one threshold, with the quantiles at (1 − level)/2 of Beta(k + ½, n − k + ½) in
    place of Clopper-Pearson ends. right of members members, wrong of others non-members were
    called members. Covers on average over the prior Beta(½, ½) and falls below the level for some
    rates. Source: the method "jeffreys" of the package privacy-estimates 0.1.0.

    >>> print(jeffreys(100, 500, 0, 500))
    ε at least 3.51, credible, not confidence (Jeffreys, 95 %)
    """
    check_level(level, delta)
    _checked(right, members, wrong, others)
    size = (1 - level) / 2
    tpr = scipy.special.betaincinv(right + 0.5, members - right + 0.5, size) if right else 0.0
    fpr = scipy.special.betaincinv(wrong + 0.5, others - wrong + 0.5, 1 - size)
    fpr = fpr if wrong < others else 1.0
    return Credible(_ratio(float(tpr), float(fpr), delta), level, delta, "Jeffreys")


def _ratio(tpr: float, fpr: float, delta: float) -> float:
    pairs = (tpr - delta, fpr), (1 - fpr - delta, 1 - tpr)
    return max(0.0, *(float(np.log(a / b)) if a > 0 else 0.0 for a, b in pairs))


_NODES = 2000


def joint_beta(
    right: int, members: int, wrong: int, others: int, *, delta: float = 0.0, level: float = 0.95
) -> Credible:
    """ε from the joint posterior of both rates: credible, not confidence.

    The ε for which the posterior probability that the rates lie in the (ε, δ) region is 1 − level, with
    independent posteriors Beta(k + ½, n − k + ½). Arguments as in `jeffreys`. Larger than bounds that
    hold for every pair of rates, because it spends its error on both at once. Source:
    Zanella-Béguelin et al., arXiv 2206.05199 (read from the package privacy-estimates 0.1.0).

    >>> print(joint_beta(100, 500, 0, 500))
    ε at least 3.95, credible, not confidence (joint beta, 95 %)
    """
    check_level(level, delta)
    _checked(right, members, wrong, others)
    # Quantiles of FPR at the centres of equal shares: an integral over its posterior.
    rates = scipy.stats.beta.ppf(
        (np.arange(_NODES) + 0.5) / _NODES, wrong + 0.5, others - wrong + 0.5
    )
    a, b = right + 0.5, members - right + 0.5

    def inside(epsilon: float) -> float:
        low, high = dp_region(epsilon, delta, rates)
        return float(np.mean(scipy.special.betainc(a, b, high) - scipy.special.betainc(a, b, low)))

    goal = 1 - level
    if inside(0.0) >= goal:
        return Credible(0.0, level, delta, "joint beta")
    top = 1.0
    while inside(top) < goal and top < 700:
        top *= 2
    epsilon = scipy.optimize.brentq(lambda e: inside(e) - goal, 0.0, top, xtol=1e-9)
    return Credible(float(epsilon), level, delta, "joint beta")
