"""Privacy as a curve: what (ε, δ) and μ-GDP allow an attack, in closed form."""

from __future__ import annotations

import numpy as np
import scipy
from numpy.typing import ArrayLike

from seepage.array_types import Float64Array
from seepage.errors import InputError
from seepage.given_arrays import given_floats

__all__ = ["dp_region", "gdp_delta", "gdp_epsilon"]


def _log_delta(mu: float, epsilon: float) -> float:
    a, b = -epsilon / mu + mu / 2, -epsilon / mu - mu / 2
    upper, lower = scipy.special.log_ndtr(a), epsilon + scipy.special.log_ndtr(b)
    # expm1 keeps the digits of 1 - e^x where the two terms nearly cancel.
    gap = -np.expm1(min(lower - upper, 0.0))
    return float(upper + np.log(gap)) if gap > 0 else float("-inf")


def gdp_delta(mu: float, epsilon: float) -> float:
    """δ(ε) of a μ-GDP mechanism: Φ(−ε/μ + μ/2) − e^ε Φ(−ε/μ − μ/2).

    mu, epsilon at least 0. Computed from logarithms, so that small δ keep their digits. Source:
    Dong, Roth and Su, arXiv 1905.02383.

    >>> round(gdp_delta(1.0, 0.0), 6), round(gdp_delta(1.0, 4.3775), 7)
    (0.382925, 1e-05)
    """
    if not (0 <= mu < np.inf and 0 <= epsilon < np.inf):
        raise InputError(
            f"mu, epsilon: expected finite numbers at least 0, got {mu}, {epsilon}; "
            "both count from perfect privacy"
        )
    return float(np.exp(_log_delta(mu, epsilon))) if mu > 0 else 0.0


def gdp_epsilon(mu: float, delta: float) -> float:
    """The ε at which a μ-GDP mechanism spends δ: the root of `gdp_delta`, 0 if δ(0) ≤ δ.

    mu at least 0; delta strictly between 0 and 1 (at δ = 0 no finite ε holds). The root lies
    below μ²/2 − μ Φ⁻¹(δ), where the first term alone is δ.

    >>> [round(gdp_epsilon(mu, 1e-5), 3) for mu in (0.5, 1.0, 2.0)]
    [1.993, 4.377, 9.997]
    """
    if not 0 <= mu < np.inf:
        raise InputError(f"mu: expected a finite number at least 0, got {mu}; clip it at 0")
    if not 0 < delta < 1:
        raise InputError(
            f"delta: expected a number between 0 and 1, got {delta}; "
            "a Gaussian mechanism has no finite epsilon at 0, use 1e-5"
        )
    if gdp_delta(mu, 0.0) <= delta:
        return 0.0
    # A hair above, or rounding may put the root outside where the second term vanishes.
    top = mu * (mu / 2 - float(scipy.special.ndtri(delta))) * (1 + 1e-9) + 1e-9
    goal = float(np.log(delta))

    def excess(epsilon: float) -> float:
        return max(_log_delta(mu, epsilon), -1e300) - goal

    return float(scipy.optimize.brentq(excess, 0.0, top, xtol=1e-12))


def dp_region(epsilon: float, delta: float, fpr: ArrayLike) -> tuple[Float64Array, Float64Array]:
    """What (ε, δ) allows: (low, high) of the TPR at every FPR, each of the shape of `fpr`.

    high = min{e^ε FPR + δ, 1 − e^−ε (1 − δ − FPR), 1} and low is its mirror,
    1 − high(1 − FPR): the same attack with its answers exchanged. An operating point outside
    refutes (ε, δ) up to the error of its rates. fpr: any shape, in [0, 1].

    >>> low, high = dp_region(1.0, 0.0, [0.0, 0.1, 0.5, 1.0])
    >>> low.round(3).tolist(), high.round(3).tolist()
    ([0.0, 0.037, 0.184, 1.0], [0.0, 0.272, 0.816, 1.0])
    """
    if not 0 <= epsilon < np.inf or not 0 <= delta <= 1:
        raise InputError(
            f"epsilon, delta: expected a finite number at least 0 and one in [0, 1], "
            f"got {epsilon}, {delta}; a region needs both"
        )
    f = given_floats(fpr, "fpr")
    if not ((f >= 0) & (f <= 1)).all():
        raise InputError("fpr: expected rates in [0, 1], got others; pass np.linspace(0, 1, 201)")

    def high(rate: Float64Array) -> Float64Array:
        mirror = 1 - np.exp(-epsilon) * (1 - delta - rate)
        # Beyond e^709 the first line lies above 1 wherever the rate is not 0.
        first = np.exp(min(epsilon, 700.0)) * rate + delta
        return np.asarray(np.minimum(np.minimum(first, mirror), 1.0))

    return 1 - high(1 - f), high(f)
