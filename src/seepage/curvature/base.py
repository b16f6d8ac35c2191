"""What every estimator of curvature has in common, and what it returns."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import torch

from seepage.array_types import Float64Array
from seepage.curvature.measured_model import MeasuredModel, Network
from seepage.curvature.random_directions import SampleStreams

__all__ = ["BlackBox", "Curvature", "CurvatureWarning", "Estimator", "Rows", "WhiteBox"]

# name -> (B,) float64; the names are fields of Curvature, or further rows.
Rows = dict[str, torch.Tensor]
PER_INPUT_SQUARED = "nats per squared input unit"


@dataclass(frozen=True)
class Estimator(ABC):
    """One way to estimate curvature, with its options.

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
        """Description of what is computed."""

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
        """Whether traces are wrong where the loss is not differentiable."""
        return False


@dataclass(frozen=True)
class WhiteBox(Estimator):
    """Needs the module itself, differentiable in its inputs."""

    @abstractmethod
    def measure(
        self, measured: Network, inputs: torch.Tensor, labels: torch.Tensor, streams: SampleStreams
    ) -> Rows:
        """Rows of one batch: (B, ...), (B,) -> name -> (B,) float64."""

    @abstractmethod
    def bytes_per_sample(self, graph: int, numbers: int, classes: int, itemsize: int) -> int:
        """Peak memory of one sample, from its graph's bytes, input numbers and classes."""


@dataclass(frozen=True)
class BlackBox(Estimator):
    """Needs only losses."""

    @abstractmethod
    def measure(
        self,
        measured: MeasuredModel,
        inputs: torch.Tensor,
        labels: torch.Tensor,
        streams: SampleStreams,
    ) -> Rows:
        """Rows of one batch: (B, ...), (B,) -> name -> (B,) float64."""


class CurvatureWarning(UserWarning):
    """The estimate is not what its name says for this model or these inputs."""


@dataclass(frozen=True, eq=False)
class Curvature:
    """Curvature of the loss at each input, H = ∇²ₓ ℓ(model(x), y), one row per sample.

    trace: tr H, (N,) float64, in nats per squared input unit, where an input unit is one unit of
    what the model is given (after normalisation). frobenius: ‖H‖_F, (N,), the same unit. Either is
    None when the estimator does not estimate it, never NaN. trace_error, frobenius_error: standard
    errors over the probes, None for an exact estimate; they cover the noise of sampling, not the
    bias of a finite step. score: the number that attacks read, (N,), with its own `score_unit`.
    estimates: description of what was computed. passes: forward evaluations of the model per
    sample; backward passes are not counted. extra: further rows per sample, named.
    """

    trace: Float64Array | None
    frobenius: Float64Array | None
    trace_error: Float64Array | None
    frobenius_error: Float64Array | None
    score: Float64Array
    unit: str
    score_unit: str
    estimates: str
    passes: int
    extra: Mapping[str, Float64Array] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.score)
