"""Rules for losses and for φ, applied to another number of each sample."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from seepage.array_types import BoolArray, Float64Array, FloatArray
from seepage.attacks.base import Attack
from seepage.attacks.lira import LiRA
from seepage.attacks.references import Calibrated
from seepage.attacks.thresholds import LOSS
from seepage.attacks.variance import StudentT, Variance
from seepage.errors import InputError

__all__ = ["AgainstOut", "Alone", "LikelihoodRatio", "within"]


def within(signals: Mapping[str, FloatArray], name: str, high: float = np.inf) -> Float64Array:
    """A signal whose values lie between 0 and `high`, as float64; InputError for others."""
    values = np.asarray(signals[name], dtype=np.float64)
    # What is not read of the references may be no number.
    with np.errstate(invalid="ignore"):
        wrong = (values < 0) | (values > high)
    if wrong.any():
        limits = "of at least 0" if high == np.inf else f"from 0 to {high:g}"
        raise InputError(f"{name}: expected values {limits}, got {values[wrong][0]:.3g}")
    return values


@dataclass(frozen=True, eq=False)
class _Measured(Attack, ABC):
    """A rule for one number per sample and view that members have more of."""

    aligns: ClassVar[bool] = True
    on_request: ClassVar[bool] = True

    @abstractmethod
    def value(self, signals: Mapping[str, FloatArray]) -> Float64Array:
        """That number: {name: (..., N, A)} -> (..., N, A')."""

    @property
    @abstractmethod
    def rule(self) -> Attack:
        """The attack on losses, or on φ."""

    @property
    def by_sample(self) -> bool:
        return self.rule.by_sample

    def _given(self, signals: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
        v = self.value(signals)
        return {name: v if name == "phi" else -v for name in self.rule.requires}

    def run(
        self,
        target: Mapping[str, FloatArray],
        references: Mapping[str, FloatArray],
        member: BoolArray,
    ) -> FloatArray:
        return self.rule.run(self._given(target), self._given(references), member)

    def run_all(
        self, signals: Mapping[str, FloatArray], member: BoolArray, use: BoolArray
    ) -> FloatArray:
        return self.rule.run_all(self._given(signals), member, use)


@dataclass(frozen=True, eq=False)
class Alone(_Measured, ABC):
    """The number itself, of the first view; no references."""

    @property
    def rule(self) -> Attack:
        return LOSS()


@dataclass(frozen=True, eq=False)
class AgainstOut(_Measured, ABC):
    """The number less its mean over the OUT references."""

    min_out: ClassVar[int] = 1

    @property
    def rule(self) -> Attack:
        return Calibrated()


@dataclass(frozen=True, eq=False)
class LikelihoodRatio(_Measured, ABC):
    """log p(number | IN) − log p(number | OUT), laws as in `LiRA`."""

    variance: Variance = field(default_factory=StudentT)

    min_in: ClassVar[int] = 2
    min_out: ClassVar[int] = 2
    threshold: ClassVar[float | None] = 0.0

    @property
    def rule(self) -> Attack:
        return LiRA(variance=self.variance)

    @property
    def log_ratio(self) -> bool:
        return True
