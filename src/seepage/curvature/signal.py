"""Curvature as a signal that is recorded beside loss and confidence during training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import nn

from seepage.array_types import Int64Array
from seepage.curvature.base import Estimator
from seepage.curvature.estimate import curvature
from seepage.curvature.gauss_newton import ExactGaussNewton
from seepage.curvature.random_directions import Generator
from seepage.errors import InputError

__all__ = ["CurvatureSignal"]


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
