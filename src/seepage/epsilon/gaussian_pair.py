"""ε *estimated* from two Gaussians fitted to the scores: an estimate, never a bound."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import ArrayLike

from seepage.array_types import BoolArray, Float64Array
from seepage.epsilon.multi_run import scored
from seepage.errors import InputError
from seepage.metrics import EACH, Unit

__all__ = ["PairEstimate", "gaussian_pair", "pair_delta", "pair_epsilon"]


@dataclass(frozen=True)
class PairEstimate:
    """An estimate of ε at `delta`; it has no level and may lie above the truth.

    noise: the median of the same estimate under permuted membership, which is what it reads when
    nothing leaks. inside, outside: mean and standard deviation of members' and of others' scores.
    normal_p: the smaller p-value of a test of either side for normality (D'Agostino and Pearson);
    where it is small the estimate has no ground.
    """

    epsilon: float
    delta: float
    noise: float
    inside: tuple[float, float]
    outside: tuple[float, float]
    normal_p: float

    def __str__(self) -> str:
        return (
            f"ε about {self.epsilon:.2f}, an estimate and no bound (noise reads {self.noise:.2f})"
        )


def pair_delta(epsilon: float, one: tuple[float, float], other: tuple[float, float]) -> float:
    """max over both orders of H(P, Q) = P[L > ε] − e^ε Q[L > ε], L = log P/Q, of two Gaussians.

    one, other: mean and standard deviation, the latter above 0. Where they differ, L is a parabola:
    {L > ε} is an interval or the outside of one. With equal ones it is `gdp_delta` of their distance.

    >>> round(pair_delta(1.0, (1.0, 1.0), (0.0, 1.0)), 6), round(pair_delta(1.0, (0.0, 2.0), (0.0, 1.0)), 6)
    (0.126937, 0.196711)
    """
    return max(_divergence(epsilon, one, other), _divergence(epsilon, other, one))


def _divergence(epsilon: float, p: tuple[float, float], q: tuple[float, float]) -> float:
    (m, s), (n, t) = p, q
    # L(x) − ε = a x² + b x + c, positive where P is e^ε times as dense as Q.
    a = (1 / t**2 - 1 / s**2) / 2
    b = m / s**2 - n / t**2
    c = (n / t) ** 2 / 2 - (m / s) ** 2 / 2 + np.log(t / s) - epsilon
    if abs(a) < 1e-12 * (1 / s**2 + 1 / t**2):
        if b == 0:
            return 0.0
        at = -c / b
        mass = [scipy.special.ndtr(np.sign(b) * (mean - at) / sd) for mean, sd in (p, q)]
        return float(max(0.0, mass[0] - np.exp(epsilon) * mass[1]))
    square = b * b - 4 * a * c
    if square <= 0:
        inside = [1.0, 1.0] if a > 0 else [0.0, 0.0]
    else:
        root = np.sqrt(square)
        low, high = sorted(((-b - root) / (2 * a), (-b + root) / (2 * a)))
        inside = []
        for mean, sd in (p, q):
            below, above = (
                scipy.special.ndtr((low - mean) / sd),
                scipy.special.ndtr((mean - high) / sd),
            )
            inside.append(float(below + above if a > 0 else 1 - below - above))
    return float(max(0.0, inside[0] - np.exp(min(epsilon, 700.0)) * inside[1]))


def pair_epsilon(delta: float, one: tuple[float, float], other: tuple[float, float]) -> float:
    """The ε at which `pair_delta` is δ; 0 if it is below δ at once.

    >>> round(pair_epsilon(1e-5, (1.0, 1.0), (0.0, 1.0)), 3)
    4.377
    """
    if not 0 < delta < 1:
        raise InputError(
            f"delta: expected a number between 0 and 1, got {delta}; two Gaussians have no finite "
            "epsilon at 0, use 1e-5"
        )
    if pair_delta(0.0, one, other) <= delta:
        return 0.0
    top = 1.0
    while pair_delta(top, one, other) > delta:
        top *= 2
        if top > 600:
            return float("inf")
    return float(
        scipy.optimize.brentq(lambda e: pair_delta(e, one, other) - delta, 0.0, top, xtol=1e-9)
    )


def _fitted(scores: Float64Array, member: BoolArray) -> list[tuple[float, float]]:
    sides = (scores[member], scores[~member])
    return [(float(side.mean()), float(side.std(ddof=1))) for side in sides]


def gaussian_pair(
    scores: ArrayLike,
    member: ArrayLike,
    generator: np.random.Generator,
    *,
    delta: float = 1e-5,
    draws: int = 50,
    unit: Unit = EACH,
) -> PairEstimate:
    """An *estimate* of ε: the hockey-stick divergence of two Gaussians fitted to the scores.

    ε with max{H(P, Q), H(Q, P)} = δ, P and Q normal with the means and standard deviations of members
    and of others. scores (n,), member (n,) as in `multi_run`; generator and draws: of the permuted
    membership behind `noise`. At least 8 scores of either side that are not all equal.

    Published for the sums of canary-aligned gradient dot products that a white-box auditor of DP-SGD
    sees, which are nearly Gaussian; other scores need not be, and then the tail that decides ε at small δ is
    that of the fit, not of the data. It is **no bound**: it often exceeds the truth
    and reads more than 0 on noise. Print it beside a bound, never in place of one. A
    *reconstruction* of Agrawal et al., arXiv 2606.12733, of which the abstract and a summary were read.

    >>> rng = np.random.default_rng(0)
    >>> member = np.arange(4000) % 2 == 0
    >>> print(gaussian_pair(rng.normal(size=4000) + member, member, rng))
    ε about 4.47, an estimate and no bound (noise reads 0.26)
    """
    s, y = scored(scores, member, unit)
    sides = (s[y], s[~y])
    if min(map(len, sides)) < 8 or min(float(np.ptp(side)) for side in sides) == 0:
        raise InputError(
            f"scores: expected at least 8 unlike scores of members and of others, got {len(sides[0])} "
            f"and {len(sides[1])}; two Gaussians are fitted to them"
        )
    inside, outside = _fitted(s, y)
    noise = [pair_epsilon(delta, *_fitted(s, generator.permutation(y))) for _ in range(draws)]
    return PairEstimate(
        pair_epsilon(delta, inside, outside),
        delta,
        float(np.median(noise)) if noise else float("nan"),
        inside,
        outside,
        float(min(scipy.stats.normaltest(side).pvalue for side in sides)),
    )
