"""Curvature of the loss by the input, as a probe: one for each estimator."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from seepage.array_types import FloatArray
from seepage.attacks.base import Access
from seepage.curvature import curvature
from seepage.curvature.base import Estimator
from seepage.curvature.derivatives import ExactGaussNewton
from seepage.probes.base import Asked, Probe

__all__ = ["InputCurvature"]


@dataclass(frozen=True)
class InputCurvature(Probe):
    """What `seepage.curvature.curvature` finds at every sample, under the names of its estimator."""

    estimator: Estimator = field(default_factory=ExactGaussNewton)

    name: ClassVar[str] = "curvature"
    access: ClassVar[Access] = "weights"

    @property
    def signals(self) -> tuple[str, ...]:
        return tuple(self.estimator.signals)

    @property
    def queries(self) -> int:
        return self.estimator.passes

    def measure(self, asked: Asked) -> dict[str, FloatArray]:
        found = curvature(
            asked.network,
            asked.inputs,
            asked.labels,
            self.estimator,
            generator=asked.generator(),
        )
        return {k: np.asarray(getattr(found, f)) for k, f in self.estimator.signals.items()}
