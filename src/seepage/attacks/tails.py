"""The law of a loss under 'not a member', from which attacks P and R take a p-value.

All return log F̂ in nats, never F̂: the tail is where members are, and 1 − F̂ rounds to 1 there.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import scipy

from seepage.array_types import BoolArray, Float64Array
from seepage.attacks.kernels.elementary import log
from seepage.attacks.kernels.lanes import FLOOR
from seepage.attacks.kernels.samplewise import ascending, merged_cdf
from seepage.errors import InputError

__all__ = ["Empirical", "Gaussian", "Logistic", "Tail"]


SMALLEST = 1e-300  # a log of 0 would be −inf


@dataclass(frozen=True)
class Empirical:
    """Empirical CDF with linear interpolation; n values have ranks 1 … n of n + 1, ties the mean.

    `low` and `high` are artificial losses of rank 0 and n + 1, so that values beyond all
    references still differ. Without a tail model no honest p-value lies below 1/(n + 1); what the
    anchors add below it is an order, not a probability.
    """

    low: float = 0.0
    high: float = 1000.0

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise InputError(f"low, high: expected low < high, got {self.low} and {self.high}")

    def log_cdf(
        self, x: Float64Array, sample: Float64Array, *, ordered: bool = False
    ) -> Float64Array:
        """log F̂(x) from one common sample, ascending where `ordered`: (N,), (Z,) -> (N,)."""
        order = ascending(x)
        # A pool that is its own population is sorted once.
        others = sample if ordered else x[order] if sample is x else np.sort(sample)
        return self.log(merged_cdf(others, order, x, self.low, self.high))

    def log_cdf_rows(
        self, x: Float64Array, references: Float64Array, mask: BoolArray
    ) -> Float64Array:
        """log F̂ᵢ(xᵢ) from each sample's own references: (N,), (R, N), (R, N) -> (N,)."""
        kept, none = np.where(mask, references, np.inf), np.where(mask, references, -np.inf)
        below, equal, n = (kept < x).sum(axis=0), (kept == x).sum(axis=0), mask.sum(axis=0)
        under = np.where(none < x, none, -np.inf).max(axis=0)
        over = np.where(kept > x, kept, np.inf).min(axis=0)
        ties = [(references == v) & mask for v in (under, over)]
        # Of the nearest reference below and above: it, and the mean rank of its ties.
        first = np.where(below > 0, below - 0.5 * (ties[0].sum(axis=0) - 1), 0.0)
        second = np.where(below < n, below + 0.5 * (ties[1].sum(axis=0) + 1), n + 1.0)
        under, over = np.where(below > 0, under, self.low), np.where(below < n, over, self.high)
        with np.errstate(divide="ignore", invalid="ignore"):
            rank = first + (x - under) / (over - under) * (second - first)
        rank = np.where(x <= under, first, np.where(x >= over, second, rank))
        rank = np.where(equal > 0, below + 0.5 * (equal + 1), rank)
        return self.log(rank / (n + 1))

    @staticmethod
    def log(cdf: Float64Array) -> Float64Array:
        """log with a floor."""
        return log(np.maximum(cdf, SMALLEST))


class _Fitted(ABC):
    """A law with the sample's mean and standard deviation."""

    def log_cdf(
        self, x: Float64Array, sample: Float64Array, *, ordered: bool = False
    ) -> Float64Array:
        """log F̂(x) from one common sample, ascending where `ordered`: (N,), (Z,) -> (N,)."""
        return self.of_deviate(_deviate(x, sample.mean(), sample.var(ddof=1)))

    def log_cdf_rows(
        self, x: Float64Array, references: Float64Array, mask: BoolArray
    ) -> Float64Array:
        """log F̂ᵢ(xᵢ) from each sample's own references: (N,), (R, N), (R, N) -> (N,)."""
        return self.of_deviate(_deviate(x, *_rows(references, mask)))

    @staticmethod
    @abstractmethod
    def of_deviate(z: Float64Array) -> Float64Array:
        """log F̂ at z standard deviations from the mean."""


@dataclass(frozen=True)
class Gaussian(_Fitted):
    """Normal tail: F̂ = Φ((x − mean)/s), s with n − 1."""

    @staticmethod
    def of_deviate(z: Float64Array) -> Float64Array:
        """log Φ(z), exact in the tail."""
        return np.asarray(scipy.special.log_ndtr(z))


@dataclass(frozen=True)
class Logistic(_Fitted):
    """Logistic tail with the references' mean and standard deviation: heavier than the normal."""

    @staticmethod
    def of_deviate(z: Float64Array) -> Float64Array:
        """log of the logistic CDF at z standard deviations (of π/√3 scales each)."""
        return np.asarray(scipy.special.log_expit(z * (np.pi / np.sqrt(3.0))))


Tail = Empirical | Gaussian | Logistic


def _deviate(x: Float64Array, mean: Float64Array, variance: Float64Array) -> Float64Array:
    least = (FLOOR * np.abs(mean)) ** 2 + 1e-60
    return np.asarray((x - mean) / np.sqrt(np.maximum(variance, least)))


def _rows(references: Float64Array, mask: BoolArray) -> tuple[Float64Array, Float64Array]:
    n = mask.sum(axis=0)
    mean = np.where(mask, references, 0.0).sum(axis=0) / n
    d = np.where(mask, references - mean, 0.0)
    return mean, (d * d).sum(axis=0) / np.maximum(n - 1, 1)
