"""A whole privacy curve δ(ε) as a line on the plane: what the best attack can reach."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import ArrayLike

from seepage.array_types import Float64Array
from seepage.epsilon.trade_off import gdp_delta, gdp_epsilon
from seepage.errors import InputError
from seepage.given_arrays import given_floats
from seepage.short_repr import short_repr

__all__ = ["TradeOff", "bayes_error", "excess_vulnerability"]

_PRIORS = 4001


@short_repr
@dataclass(frozen=True, eq=False)
class TradeOff:
    """(ε, δ) for every ε of `epsilon` at once, and what all of them together allow on the plane.

    epsilon (K,) at least 0 and rising, delta (K,) in [0, 1] and not rising: each pair holds for the
    mechanism. TPR ≤ min over the pairs of {e^ε FPR + δ, 1 − e^−ε (1 − δ − FPR)}, and of 1: more pairs
    give a lower line, never one that is too low, and none below the diagonal. name: of the legend.
    Raises InputError where the pairs are no privacy curve. Source: Dong, Roth and Su, arXiv
    1905.02383, Propositions 2.4 and 2.12.

    >>> curve = TradeOff.gaussian(1.0)
    >>> curve.tpr([0.001, 0.01, 0.5]).round(4).tolist(), round(curve.advantage, 4)
    ([0.0183, 0.0924, 0.8413], 0.3829)
    """

    epsilon: Float64Array
    delta: Float64Array
    name: str

    def __post_init__(self) -> None:
        e, d = given_floats(self.epsilon, "epsilon"), given_floats(self.delta, "delta")
        object.__setattr__(self, "epsilon", e)
        object.__setattr__(self, "delta", d)
        if (
            e.shape != d.shape
            or e.ndim != 1
            or not e.size
            or not (np.diff(e) > 0).all()
            or not (e[0] >= 0 and np.isfinite(e).all())
            or not ((d >= 0) & (d <= 1)).all()
            or (np.diff(d) > 1e-9).any()
        ):
            raise InputError(
                f"epsilon, delta: expected rising numbers from 0 and probabilities that do not rise, of one "
                f"shape (K,), got shapes {e.shape} and {d.shape}; sort by epsilon"
            )

    @classmethod
    def gaussian(cls, mu: float) -> TradeOff:
        """The curve of a μ-GDP mechanism: TPR = Φ(Φ⁻¹(FPR) + μ), to about 1e-5."""
        if mu == 0:
            return cls(np.zeros(1), np.zeros(1), "0-GDP")
        e = np.linspace(0, gdp_epsilon(mu, 1e-14), 2000)
        return cls(e, np.array([gdp_delta(mu, float(v)) for v in e]), f"{mu:g}-GDP")

    @classmethod
    def approximate(cls, epsilon: float, delta: float) -> TradeOff:
        """The curve of (ε, δ) alone, which is all that a mechanism known by one pair promises."""
        if not (0 <= epsilon < np.inf and 0 <= delta <= 1):
            raise InputError(
                f"epsilon, delta: expected a finite number at least 0 and one in [0, 1], got "
                f"{epsilon}, {delta}; a curve needs both"
            )
        name = f"({epsilon:g}, {delta:g})-DP"
        return cls(np.array([epsilon], np.float64), np.array([delta], np.float64), name)

    def tpr(self, fpr: ArrayLike) -> Float64Array:
        """The largest TPR that any attack can have at each FPR; of the shape of `fpr`, in [0, 1]."""
        f = given_floats(fpr, "fpr")
        if not ((f >= 0) & (f <= 1)).all():
            raise InputError(
                "fpr: expected rates in [0, 1], got others; pass np.linspace(0, 1, 201)"
            )
        # Beyond e^700 the first line lies above 1 wherever the rate is not 0.
        steep, flat = np.exp(np.minimum(self.epsilon, 700.0)), np.exp(-self.epsilon)
        out = np.ones(f.size)
        for k, rate in enumerate(f.ravel()):
            first, mirror = steep * rate + self.delta, 1 - flat * (1 - self.delta - rate)
            out[k] = min(1.0, float(first.min()), float(mirror.min()))
        return np.maximum(out, f.ravel()).reshape(f.shape)

    @property
    def advantage(self) -> float:
        """The largest TPR − FPR of any attack, which is δ(0)."""
        low = self._deltas(np.zeros(1))
        return float(low[0])

    def _deltas(self, epsilon: Float64Array) -> Float64Array:
        """δ at other ε: what the pairs imply, min over them of their own curves' δ."""
        e = epsilon[:, None]
        # Of (t, d) at ε < t: the corner of its two lines; above t its d holds.
        gap = np.exp(np.minimum(self.epsilon, 700.0))
        slope = (1 - self.delta) / (1 + gap)
        corner = (slope * gap + self.delta) - slope * np.exp(np.minimum(e, 700.0))
        return np.asarray(np.where(e < self.epsilon, corner, self.delta).min(axis=1))

    def bayes_error(self, prior: ArrayLike) -> Float64Array:
        """The smallest error of any attack where a share `prior` are *non*-members, any shape.

        min over FPR of prior · FPR + (1 − prior)(1 − TPR) = min{p, 1 − p} (1 − δ(|log p/(1 − p)|)).
        """
        p = _priors(prior)
        smaller, back = np.unique(np.minimum(p, 1 - p), return_inverse=True)
        odds = np.minimum(-scipy.special.logit(smaller), 750.0)
        return np.asarray((smaller * (1 - self._deltas(odds)))[back].reshape(p.shape))

    def epsilon_at(self, delta: float) -> float:
        """The smallest ε of the pairs at which δ is at most `delta`; infinity if none is."""
        if not 0 <= delta < 1:
            raise InputError(f"delta: expected a number in [0, 1), got {delta}; use 0 or 1e-5")
        enough = np.flatnonzero(self.delta <= delta)
        return float(self.epsilon[enough[0]]) if enough.size else float("inf")


def _priors(prior: ArrayLike) -> Float64Array:
    p = given_floats(prior, "prior")
    if not ((p >= 0) & (p <= 1)).all():
        raise InputError("prior: expected shares in [0, 1], got others; 0.5 is an even guess")
    return np.asarray(p, np.float64)


def bayes_error(fpr: ArrayLike, tpr: ArrayLike, prior: ArrayLike) -> Float64Array:
    """The smallest error that any point of a measured curve makes, where a share `prior` are non-members.

    min over points of prior · FPR + (1 − prior)(1 − TPR), with (0, 0) and (1, 1) among them. fpr, tpr
    (P,) in [0, 1]; prior of any shape, which the result has.

    >>> bayes_error([0.1], [0.6], [0.5, 0.95]).round(3).tolist()
    [0.25, 0.05]
    """
    f, t, p = given_floats(fpr, "fpr"), given_floats(tpr, "tpr"), _priors(prior)
    if f.ndim != 1 or f.shape != t.shape or not ((f >= 0) & (f <= 1) & (t >= 0) & (t <= 1)).all():
        raise InputError(
            f"fpr, tpr: expected rates in [0, 1] of one shape (P,), got {f.shape} and {t.shape}; "
            "pass the points of one curve"
        )
    f, t = np.append(f, [0.0, 1.0]), np.append(t, [0.0, 1.0])
    return np.asarray((p[..., None] * f + (1 - p[..., None]) * (1 - t)).min(axis=-1))


Curve = TradeOff | tuple[ArrayLike, ArrayLike]
"""A privacy curve, or (FPR, TPR) of the points of a measured one."""


def excess_vulnerability(actual: Curve, promised: Curve) -> float:
    """Δ: by how much the best attack's error under some prior is smaller than was promised.

    max over π of [R_promised(π) − R_actual(π)], at least 0, with R the Bayes error. It is also
    the smallest κ with 1 − TPR_promised(FPR + κ) − κ ≤ 1 − TPR_actual(FPR) at every FPR: the
    distance by which the promise must be moved to hold. Two mechanisms with one (ε, δ) may differ by
    much. Each curve is a `TradeOff` or a pair (fpr, tpr) of arrays, of a plane for example. Evaluated
    at 4,001 priors; not symmetric. Sources: arXiv 2406.08918 (Δ); arXiv 2601.12922 (its use for
    individual DP); the form as a gap of Bayes errors is ours.

    >>> weak, strong = TradeOff.gaussian(0.5), TradeOff.gaussian(1.0)
    >>> round(excess_vulnerability(strong, weak), 5), excess_vulnerability(weak, weak)
    (0.09276, 0.0)
    """
    prior = np.linspace(0, 1, _PRIORS)
    one, other = (
        c.bayes_error(prior) if isinstance(c, TradeOff) else bayes_error(*c, prior)
        for c in (actual, promised)
    )
    return max(0.0, float((other - one).max()))
