"""The mean of curvature over training, one checkpoint at a time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from seepage.array_types import Float64Array, FloatArray, Int64Array
from seepage.errors import InputError

__all__ = ["RunningMean", "running_mean"]


@dataclass(frozen=True, eq=False)
class RunningMean:
    """Mean and variance of a number per sample over the checkpoints seen so far.

    A pure accumulator: `add` returns a new one. Missing values (NaN: a checkpoint at which a
    sample was not measured) are left out, sample by sample. float64, by Welford's recurrence.
    Averaging curvature over training ranks mislabelled and memorised samples better than the
    final model's alone (Garg, Ravikumar & Roy, ICML 2024).

    >>> m = RunningMean.empty(2).add([1.0, 5.0]).add([3.0, float("nan")])
    >>> m.mean, m.count
    (array([2., 5.]), array([2, 1]))
    """

    mean: Float64Array
    count: Int64Array
    squares: Float64Array

    @classmethod
    def empty(cls, samples: int) -> RunningMean:
        """No checkpoint of `samples` samples yet; the mean is NaN."""
        return cls(np.full(samples, np.nan), np.zeros(samples, np.int64), np.zeros(samples))

    def add(self, values: FloatArray | list[float]) -> RunningMean:
        """One more checkpoint's values, (N,)."""
        v = np.asarray(values, dtype=np.float64)
        if v.shape != self.mean.shape:
            raise InputError(f"values: expected shape {self.mean.shape}, got {v.shape}")
        seen = ~np.isnan(v)
        count = self.count + seen
        old = np.where(self.count > 0, self.mean, 0.0)
        delta = np.where(seen, v - old, 0.0)
        mean = old + delta / np.maximum(count, 1)
        squares = self.squares + delta * np.where(seen, v - mean, 0.0)
        return RunningMean(np.where(count > 0, mean, np.nan), count, squares)

    @property
    def variance(self) -> Float64Array:
        """Unbiased variance over checkpoints, (N,); NaN below two."""
        out = np.full(self.mean.shape, np.nan)
        np.divide(self.squares, self.count - 1, out=out, where=self.count > 1)
        return out


def running_mean(values: FloatArray, axis: int = 0) -> Float64Array:
    """Mean over all checkpoints up to each: the same shape, float64; NaN is left out.

    values: (T, N), or with `axis` the checkpoint axis of any array, as (R, T, N) of a stored run.

    >>> running_mean(np.array([[1.0], [3.0], [8.0]])).ravel()
    array([1., 2., 4.])
    """
    v = np.asarray(values, dtype=np.float64)
    seen = ~np.isnan(v)
    count = np.cumsum(seen, axis=axis)
    total = np.cumsum(np.where(seen, v, 0.0), axis=axis)
    out = np.full(v.shape, np.nan)
    np.divide(total, count, out=out, where=count > 0)
    return out
