"""Resampling of pairs of runs: intervals over models, and null bands."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy

from seepage.array_types import BoolArray, FloatArray
from seepage.errors import InputError
from seepage.short_repr import short_repr

__all__ = ["Bootstrap", "Estimate", "cores", "estimate", "half", "standard_error"]


@dataclass(frozen=True)
class Bootstrap:
    """Random half-samples of the pairs of runs: half of them, drawn without replacement.

    replicates: 0 leaves intervals out. level: of the intervals. seed: of the draws. threads: worker
    threads, all cores this process may use when None; results do not depend on it.

    What an interval covers: the value that *this number of models* would give on average, for these
    samples. Counting noise is part of that value (it raises speed and entropy), as it is part of
    the null's. Replicates carry more of that noise, so their spread, not their position, is used:
    value ± t·√(m/(U−m))·sd, m = ⌊U/2⌋ of U pairs, Student's t at U−1 degrees of freedom; at m = U/2
    the spread of a mean over half-samples is its standard error. Drawing *with* replacement is
    worse: repeated pairs make the noise differ by replicate, for all samples at once, and intervals
    of speed and transitions come out several times too wide. Decisions are taken as given:
    the choice of references is not resampled. Source of half-samples: McCarthy, Rev. Int. Stat.
    Inst. 37 (1969); Politis and Romano, Ann. Statist. 22 (1994).
    """

    replicates: int = 200
    level: float = 0.95
    seed: int = 0
    threads: int | None = None

    def __post_init__(self) -> None:
        if self.replicates < 0 or self.replicates == 1:
            raise InputError(f"replicates: expected 0, or at least 2, got {self.replicates}")
        if not 0 < self.level < 1:
            raise InputError(f"level: expected between 0 and 1, got {self.level}; 0.95 is usual")

    def weights(self, count: int) -> FloatArray:
        """Which of `count` pairs each replicate keeps: (1 + replicates, count) of 0 and 1.

        Row 0 keeps all.
        """
        if self.replicates == 0 or count < 2:
            return np.ones((1, count))
        order = np.random.default_rng(self.seed).random((self.replicates, count)).argsort(axis=1)
        return np.concatenate([np.ones((1, count)), order < half(count)]).astype(np.float64)

    def scale(self, count: int) -> float:
        """Factor from the replicates' standard deviation to a standard error: √(m/(U−m))."""
        return float(np.sqrt(half(count) / (count - half(count)))) if count > 1 else float("nan")


def half(count: int) -> int:
    """Number of pairs in a half-sample of `count` pairs."""
    return count // 2


@short_repr
@dataclass(frozen=True, eq=False)
class Estimate:
    """A population metric, its interval over models, and the same under permuted membership.

    value, low, high, null, null_low, null_high: arrays of one shape (scalars are 0-d). Intervals
    are NaN without a bootstrap or with fewer than two pairs; nulls are NaN without a null. The null
    band is a prediction interval for one more permuted draw: mean ± t·s·√(1 + 1/draws).
    """

    value: FloatArray
    low: FloatArray
    high: FloatArray
    null: FloatArray
    null_low: FloatArray
    null_high: FloatArray

    @property
    def excess(self) -> FloatArray:
        """The value minus its null: the part that counting noise does not explain."""
        return self.value - self.null

    @property
    def outside_null(self) -> BoolArray:
        """Whether the value lies outside the null band; False where there is no band."""
        return (self.value < self.null_low) | (self.value > self.null_high)

    def root(self) -> Estimate:
        """The square root of everything, negative values becoming 0."""
        parts = (self.value, self.low, self.high, self.null, self.null_low, self.null_high)
        return Estimate(*(np.sqrt(np.maximum(p, 0)) for p in parts))


def standard_error(replicates: FloatArray, scale: float) -> FloatArray:
    """Standard error from replicates (B, ...) -> (...): their standard deviation times `scale`.

    NaN with fewer than two replicates. Replicates in which a metric does not exist (NaN) are left
    out.
    """
    if len(replicates) < 2:
        return np.full(replicates.shape[1:], np.nan)
    some = np.isfinite(replicates)
    count = some.sum(axis=0)
    mean = np.where(some, replicates, 0).sum(axis=0) / np.maximum(count, 1)
    squares = np.where(some, (replicates - mean) ** 2, 0).sum(axis=0)
    return np.where(count > 1, np.sqrt(squares / np.maximum(count - 1, 1)) * scale, np.nan)


def estimate(
    value: FloatArray,
    error: FloatArray,
    nulls: Sequence[tuple[FloatArray, FloatArray]],
    *,
    level: float,
    freedom: int,
    within: tuple[float, float],
) -> Estimate:
    """Value, interval and null band from standard errors; nulls are (value, error) of each draw."""
    t = float(scipy.special.stdtrit(freedom, 0.5 + level / 2))
    null = spread = np.full(value.shape, np.nan)
    if nulls:
        draws = np.stack([n for n, _ in nulls])
        null = draws.mean(axis=0)
        variance = np.stack([s**2 for _, s in nulls]).mean(axis=0)
        if len(nulls) > 1:
            variance = np.fmax(variance, draws.var(axis=0, ddof=1))
        spread = t * np.sqrt(variance * (1 + 1 / len(nulls)))
    parts = [
        value,
        np.clip(value - t * error, *within),
        np.clip(value + t * error, *within),
        null,
        np.clip(null - spread, *within),
        np.clip(null + spread, *within),
    ]
    return Estimate(*(np.asarray(p, dtype=np.float64) for p in parts))


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
