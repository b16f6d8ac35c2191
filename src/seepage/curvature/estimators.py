"""What an estimator of curvature promises."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch

from seepage.curvature.draws import Draws
from seepage.curvature.target import Network, Target

__all__ = ["BlackBox", "Estimator", "Rows", "WhiteBox"]

# name -> (B,) float64; the names are fields of Curvature, or further rows.
Rows = dict[str, torch.Tensor]
PER_INPUT_SQUARED = "nats per squared input unit"


@dataclass(frozen=True)
class Estimator(ABC):
    """Options of one way to estimate curvature, and the way itself.

    random: whether it draws directions. signals: names under which a Recorder stores it -> field
    of `Curvature`.
    """

    signals: ClassVar[Mapping[str, str]]

    @property
    def random(self) -> bool:
        """Whether directions are drawn, so that a generator must be given."""
        return True

    @property
    def unit(self) -> str:
        """Unit of trace and Frobenius norm."""
        return PER_INPUT_SQUARED

    @property
    @abstractmethod
    def score_unit(self) -> str:
        """Unit of the score that attacks read."""

    @property
    @abstractmethod
    def estimates(self) -> str:
        """What is computed, in words."""

    @property
    @abstractmethod
    def passes(self) -> int:
        """Forward evaluations per sample."""

    @property
    def dtype(self) -> torch.dtype | None:
        """Precision that the model is run in; None for its own."""
        return None

    @property
    def needs_smoothness(self) -> bool:
        """Whether a difference across a kink of the loss would enter a trace."""
        return False


@dataclass(frozen=True)
class WhiteBox(Estimator):
    """Needs the module itself, differentiable in its inputs."""

    @abstractmethod
    def measure(
        self, target: Network, inputs: torch.Tensor, labels: torch.Tensor, draws: Draws
    ) -> Rows:
        """Rows of one batch: (B, ...), (B,) -> name -> (B,) float64."""

    @abstractmethod
    def bytes_per_sample(self, graph: int, numbers: int, classes: int, itemsize: int) -> int:
        """Peak memory of one sample, from its graph's bytes, input numbers and classes."""


@dataclass(frozen=True)
class BlackBox(Estimator):
    """Needs losses alone."""

    @abstractmethod
    def measure(
        self, target: Target, inputs: torch.Tensor, labels: torch.Tensor, draws: Draws
    ) -> Rows:
        """Rows of one batch: (B, ...), (B,) -> name -> (B,) float64."""
