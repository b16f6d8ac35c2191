"""Curvature during training: the signal recorded beside loss, and its mean over checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import nn

from seepage.array_types import Float64Array, FloatArray, Int64Array
from seepage.curvature.base import Estimator, Generator
from seepage.curvature.derivatives import ExactGaussNewton
from seepage.curvature.estimate import curvature
from seepage.errors import InputError

__all__ = ["CurvatureSignal", "RunningMean", "running_mean"]


@dataclass(frozen=True)
class CurvatureSignal:
    """What a Recorder calls at a checkpoint: `names`, `wanted(checkpoint)` and `measure(...)`.

    samples: positions at which curvature is measured, None for all; the others are NaN, so an
    attack is given the measured ones alone. checkpoints: epochs at which it is measured, None for
    every one. batch, memory: as in `curvature`.

    >>> CurvatureSignal().names
    ('curvature_trace', 'curvature_frobenius')
    >>> CurvatureSignal(checkpoints=(10.0, 40.0)).wanted(11.0)
    False
    """

    estimator: Estimator = field(default_factory=ExactGaussNewton)
    samples: Sequence[int] | None = None
    checkpoints: Sequence[float] | None = None
    batch: int | None = None
    memory: int = 2**30

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the signals, as the estimator has them."""
        return tuple(self.estimator.signals)

    def wanted(self, checkpoint: float) -> bool:
        """Whether curvature is measured at this checkpoint (an epoch)."""
        return self.checkpoints is None or any(abs(checkpoint - c) < 1e-9 for c in self.checkpoints)

    def measure(
        self,
        model: nn.Module,
        inputs: torch.Tensor,
        labels: torch.Tensor | ArrayLike,
        generator: Generator,
    ) -> dict[str, NDArray[np.float32]]:
        """Every signal at every sample: (N, ...), (N,) -> name -> (N,) float32.

        The model is put into eval mode, module by module, and back.
        """
        chosen: slice | Int64Array = slice(None)
        x, y = inputs, torch.as_tensor(labels)
        if self.samples is not None:
            chosen = self._chosen(len(inputs))
            at = torch.from_numpy(chosen)
            x, y = inputs[at.to(inputs.device)], y[at.to(y.device)]
        modes = [(m, m.training) for m in model.modules()]
        model.eval()
        try:
            result = curvature(
                model,
                x,
                y,
                self.estimator,
                batch=self.batch,
                memory=self.memory,
                generator=generator,
            )
        finally:
            for m, mode in modes:
                m.training = mode
        out = {}
        for name, field_name in self.estimator.signals.items():
            out[name] = np.full(len(inputs), np.nan, dtype=np.float32)
            out[name][chosen] = getattr(result, field_name)
        return out

    def _chosen(self, count: int) -> Int64Array:
        rows = np.asarray(self.samples, dtype=np.int64)
        if rows.ndim != 1 or not rows.size or rows.min() < 0 or rows.max() >= count:
            raise InputError(
                f"samples: expected positions in 0..{count - 1}, got {self.samples!r:.60}"
            )
        return rows


@dataclass(frozen=True, eq=False)
class RunningMean:
    """Mean and variance of a number per sample over the checkpoints seen so far.

    A pure accumulator: `add` returns a new one. Missing values (NaN: a checkpoint at which a
    sample was not measured) are left out, sample by sample. float64, by Welford's recurrence.
    Every checkpoint counts alike, so that they should be at equal intervals.
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
    Every checkpoint counts alike: measure at equal intervals, or average over training time by
    `seepage.plane.difficulty.time_mean`.

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
