"""Shrinkage of per-sample variances towards a common value."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import numpy as np
import scipy

from seepage.array_types import FloatArray
from seepage.given_arrays import given_floats

__all__ = ["EmpiricalBayes", "NoShrinkage", "SharedRatio", "Shrinkage", "empirical_bayes"]


@dataclass(frozen=True)
class Shrinkage(ABC):
    """How per-sample variances are shrunk."""

    @abstractmethod
    def shrink(
        self, var_out: FloatArray, d_out: FloatArray, var_in: FloatArray, d_in: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """OUT and IN variances (N,) with their degrees of freedom -> (OUT, IN), all positive."""


@final
@dataclass(frozen=True)
class NoShrinkage(Shrinkage):
    """Each sample's own variances, at least a millionth of the median."""

    def shrink(
        self, var_out: FloatArray, d_out: FloatArray, var_in: FloatArray, d_in: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Variances as they are."""
        return _positive(var_out), _positive(var_in)


@final
@dataclass(frozen=True)
class EmpiricalBayes(Shrinkage):
    """Variances shrunk towards a common one, the more the better they agree; IN and OUT apart.

    See `empirical_bayes` for the rule.
    """

    def shrink(
        self, var_out: FloatArray, d_out: FloatArray, var_in: FloatArray, d_in: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Shrunk variances of either side."""
        return empirical_bayes(var_out, d_out), empirical_bayes(var_in, d_in)


@final
@dataclass(frozen=True)
class SharedRatio(Shrinkage):
    """One variance per sample, shrunk, and one ratio of IN to OUT variance for all samples.

    Twice the evidence per sample, where membership scales every sample's spread alike. Where it
    does not (memorised samples that become certain), decisions where the two densities cross are
    biased. The ratio is that of the sides' median variances.
    """

    def shrink(
        self, var_out: FloatArray, d_out: FloatArray, var_in: FloatArray, d_in: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Shrunk variances, IN = ratio · OUT."""
        out, in_ = _positive(var_out), _positive(var_in)
        ratio = float(np.median(in_) / np.median(out))
        both = empirical_bayes((d_out * out + d_in * in_ / ratio) / (d_out + d_in), d_out + d_in)
        return both, both * ratio


def empirical_bayes(variance: FloatArray, freedom: int | FloatArray) -> FloatArray:
    """Variances (N,) with d degrees of freedom, shrunk towards their common value -> (N,).

    With σ²_i ~ s₀² d₀/χ²_{d₀}: s̃²_i = (d₀ s₀² + d s²_i) / (d₀ + d). d₀ and s₀² match the mean and
    the variance of log s²_i over samples: ψ'(d₀/2) = Var(log s²) − ψ'(d/2), and d₀ = ∞ when the
    right side is not positive. Fewer than 3 samples are left as they are. Source: Smyth, Stat.
    Appl. Genet. Mol. Biol. 3(1), 2004.

    >>> empirical_bayes(np.array([1.0, 1.1, 0.9, 1.05]), 5).round(2).tolist()
    [1.25, 1.25, 1.25, 1.25]
    """
    s2 = _positive(variance)
    d = np.broadcast_to(given_floats(freedom, "freedom"), s2.shape)
    if len(s2) < 3:
        return s2
    e = np.log(s2) - _of_each(lambda d: scipy.special.digamma(d / 2), d) + np.log(d / 2)
    excess = e.var(ddof=1) - _of_each(lambda d: _trigamma(d / 2), d).mean()
    if excess <= 1e-8:
        # All disagreement is sampling noise: one variance for all.
        return np.full_like(s2, np.exp(e.mean()))
    prior = 2 * _inverse_trigamma(float(excess))
    common = np.exp(e.mean() + scipy.special.digamma(prior / 2) - np.log(prior / 2))
    shrunk: FloatArray = (prior * common + d * s2) / (prior + d)
    return shrunk


def _positive(variance: FloatArray) -> FloatArray:
    variance = given_floats(variance, "variance")
    return np.maximum(variance, max(1e-6 * float(np.median(variance)), 1e-30))


def _of_each(function: Callable[[FloatArray], FloatArray], d: FloatArray) -> FloatArray:
    """A function of every value, computed once for each whole number that occurs."""
    whole = d.astype(np.int64)
    if not (whole == d).all() or whole.min() < 0 or whole.max() >= 2**16:
        return function(d)
    occurs = np.flatnonzero(np.bincount(whole))
    table = np.empty(occurs[-1] + 1)
    table[occurs] = function(occurs.astype(np.float64))
    return table[whole]


def _trigamma(x: FloatArray | float) -> FloatArray:
    """ψ'(x) = ζ(2, x)."""
    return np.asarray(scipy.special.zeta(2.0, x))


def _inverse_trigamma(y: float) -> float:
    """x with ψ'(x) = y > 0."""
    low, high = 1e-8, 1.0
    while _trigamma(high) > y:
        high *= 4
    return float(scipy.optimize.brentq(lambda x: float(_trigamma(x)) - y, low, high))
