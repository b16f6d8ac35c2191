"""In how many directions a layer's outputs vary: spectra and degrees of freedom.

Notation: H (n, d) are the centred outputs of a layer on n probe samples, σ_i its singular values,
λ_i = σ_i²/n the variances along its principal directions (descending), q_i = λ_i/Σλ.

Huang et al. (arXiv 2412.00696) call the number of independent directions in which a layer's output
varies its *degrees of freedom* (DoF). The paper's formula was not available: every definition here
is a **reconstruction** of that sentence with a name of its own, and the spectrum itself is kept so
that any other can be computed from it later.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from seepage.array_types import Float64Array, FloatArray
from seepage.errors import InputError
from seepage.given_arrays import given_floats
from seepage.short_repr import short_repr

__all__ = [
    "Spectrum",
    "effective_rank",
    "k_tau",
    "numerical_rank",
    "participation_ratio",
    "ridge_df",
    "spectrum",
]


def _variances(variances: FloatArray) -> Float64Array:
    v = given_floats(variances, "variances")
    if v.ndim != 1 or not np.isfinite(v).all() or (v < 0).any():
        raise InputError(
            f"variances: expected finite numbers of at least 0 along one axis, got shape {v.shape}"
            f"{'' if v.ndim != 1 else ' with negative or non-finite values'}; pass λ of one layer"
        )
    return np.sort(v)[::-1]


def k_tau(variances: FloatArray, tau: float) -> int:
    """Smallest k with q_1 + … + q_k ≥ τ (definition D1); 0 for a layer that does not vary.

    variances (m,): λ in any order; tau in (0, 1]. At τ = 0.95 the default DoF of this library (a
    *reconstruction*, see the module). At most min(n − 1, d): it cannot describe a layer with more
    directions than samples.

    >>> k_tau(np.array([4.0, 3.0, 2.0, 1.0]), 0.7)
    2
    """
    if not 0 < tau <= 1:
        raise InputError(f"tau: expected a share in (0, 1], got {tau}")
    v = _variances(variances)
    total = v.sum()
    if total == 0:
        return 0
    cumulative = np.cumsum(v)
    # A share that is met exactly must count as met, whatever the rounding of the sum.
    met = cumulative >= tau * total * (1 - 1e-12)
    return int(np.argmax(met)) + 1


def effective_rank(variances: FloatArray) -> float:
    """exp(−Σ q_i log q_i) (definition D2); 0 for a layer that does not vary.

    Roy and Vetterli (2007) take the entropy of the normalised *singular values*; here, as in the
    definitions this library follows, of the variances.

    >>> round(effective_rank(np.ones(5)), 12)
    5.0
    """
    v = _variances(variances)
    total = v.sum()
    if total == 0:
        return 0.0
    q = v[v > 0] / total
    return float(np.exp(-(q * np.log(q)).sum()))


def participation_ratio(variances: FloatArray) -> float:
    """(Σλ)² / Σλ² (definition D3); 0 for a layer that does not vary. Dominated by top directions.

    >>> participation_ratio(np.array([1.0, 1.0, 0.0]))
    2.0
    """
    v = _variances(variances)
    if v.size == 0 or v[0] == 0:
        return 0.0
    v = v / v[0]
    return float(v.sum() ** 2 / (v * v).sum())


def ridge_df(variances: FloatArray, mu: float) -> float:
    """Σ λ_i / (λ_i + μ) (definition D5), the effective dimension of ridge regression on H.

    mu > 0 in the units of λ. The probe uses μ = share · Σλ, so that it does not depend on scale.

    >>> ridge_df(np.array([1.0, 1.0]), 1.0)
    1.0
    """
    if not mu > 0:
        raise InputError(f"mu: expected a number above 0, got {mu}")
    v = _variances(variances)
    return float((v / (v + mu)).sum())


def numerical_rank(variances: FloatArray, n: int, d: int, eps: float) -> int:
    """#{σ_i > max(n, d)·eps·σ_1} (definition D4). Nearly always the layer's width, so no DoF.

    >>> numerical_rank(np.array([1.0, 1e-2, 1e-40]), n=10, d=3, eps=2.2e-16)
    2
    """
    v = _variances(variances)
    if v.size == 0 or v[0] == 0:
        return 0
    return int((np.sqrt(v) > max(n, d) * eps * np.sqrt(v[0])).sum())


@short_repr
@dataclass(frozen=True, eq=False)
class Spectrum:
    """Variances of one layer's outputs along their principal directions.

    variances (m,) float64, descending; `total` = Σλ over *all* directions, exact; n samples, d
    outputs. `slack` = 0 says that the variances are exact. Otherwise they come from a sketch with
    the guarantee λ_i(sketch) ≤ λ_i ≤ λ_i(sketch) + slack for every i, λ_i(sketch) = 0 beyond m.
    """

    variances: Float64Array
    total: float
    n: int
    d: int
    slack: float = 0.0

    @property
    def exact(self) -> bool:
        """Whether these are all the variances, up to rounding."""
        return self.slack == 0.0

    @property
    def directions(self) -> int:
        """The most directions that n centred samples of d outputs can show: min(n − 1, d)."""
        return max(min(self.n - 1, self.d), 0)

    def extremes(self) -> tuple[Float64Array, Float64Array]:
        """The most concentrated and the most even spectrum that the sketch allows.

        Both lie in the boxes [λ_i, λ_i + slack] and sum to `total`. The first majorises and the
        second is majorised by every other such spectrum, so every indicator that only grows as a
        spectrum evens out (k_τ, effective rank, participation ratio, ridge df) lies between its
        values on the two.
        """
        if self.exact:
            return self.variances, self.variances
        floor = np.zeros(self.directions)
        kept = min(self.variances.size, self.directions)
        floor[:kept] = self.variances[:kept]
        rest = max(self.total - float(floor.sum()), 0.0)
        # Most concentrated: give the missing variance to the largest directions first.
        given = np.minimum(np.maximum(rest - self.slack * np.arange(floor.size), 0.0), self.slack)
        return floor + given, _fill(floor, rest, self.slack)

    def bounds(self, indicator: Callable[[Float64Array], float]) -> tuple[float, float]:
        """Lowest and highest value of an indicator that grows as a spectrum evens out.

        >>> exact = Spectrum(np.array([2.0, 2.0]), total=4.0, n=10, d=2)
        >>> exact.bounds(participation_ratio)
        (2.0, 2.0)
        """
        low, high = self.extremes()
        return float(indicator(low)), float(indicator(high))


def _fill(floor: Float64Array, rest: float, cap: float) -> Float64Array:
    """Water-filling: the most even x with floor ≤ x ≤ floor + cap and Σ(x − floor) = rest."""
    low, high = 0.0, float(floor.max(initial=0.0)) + cap
    for _ in range(200):
        level = 0.5 * (low + high)
        if np.clip(level - floor, 0.0, cap).sum() < rest:
            low = level
        else:
            high = level
    filled = floor + np.clip(high - floor, 0.0, cap)
    return np.sort(filled)[::-1]


def spectrum(outputs: FloatArray) -> Spectrum:
    """Spectrum of outputs held in memory, by singular values in float64: (n, …) -> Spectrum.

    The reference that the streamed accumulators are tested against.

    >>> spectrum(np.array([[1.0, 0.0], [-1.0, 0.0]])).variances
    array([1., 0.])
    """
    h = given_floats(outputs, "outputs").reshape(len(outputs), -1)
    if len(h) < 2:
        raise InputError(f"outputs: expected at least 2 samples, got {len(h)}")
    if not np.isfinite(h).all():
        raise InputError("outputs: expected finite values, got NaN or infinity")
    n, d = h.shape
    variances = np.linalg.svd(h - h.mean(axis=0), compute_uv=False) ** 2 / n
    return Spectrum(variances, float(variances.sum()), n, d)
