"""What every estimator of curvature has in common, the directions it draws, and what it returns."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from seepage.array_types import Float64Array
from seepage.curvature.measured_model import MeasuredModel, Network
from seepage.errors import InputError
from seepage.short_repr import short_repr

__all__ = [
    "BlackBox",
    "Curvature",
    "CurvatureWarning",
    "Estimator",
    "Generator",
    "Rows",
    "SampleStreams",
    "WhiteBox",
    "stream_key",
]

Generator = np.random.Generator | torch.Generator


def stream_key(generator: Generator | None, estimator: str) -> int:
    """One number from the caller's generator: the key of every sample's own stream."""
    if generator is None:
        raise InputError(
            f"generator: {estimator} draws random directions and got no generator; "
            "pass generator=np.random.default_rng(seed)"
        )
    if isinstance(generator, torch.Generator):
        drawn = torch.randint(2**63 - 1, (), generator=generator, device=generator.device)
        return int(drawn)
    return int(generator.integers(0, 2**63))


@dataclass(frozen=True)
class SampleStreams:
    """Random streams of the samples at positions start, ..., start + count − 1.

    Sample i draws from Philox with key (key, i), so its directions depend neither on the size of
    the batch nor on a short last one.
    """

    key: int
    start: int
    count: int

    def signs(self, probes: int, inputs: torch.Tensor) -> Signs:
        """Rademacher directions: `probes` of them for each sample of `inputs` (B, ...)."""
        size = inputs[0].numel()
        words = -(-size // 64)
        bits = np.empty((self.count, probes, words * 8), dtype=np.uint8)
        for i in range(self.count):
            raw = np.random.Philox(key=[self.key, self.start + i]).random_raw(probes * words)
            bits[i] = raw.astype("<u8").view(np.uint8).reshape(probes, -1)
        return Signs(bits, inputs)

    def normals(self, probes: int, size: int) -> Float64Array:
        """Standard normal directions, (B, probes, size)."""
        out = np.empty((self.count, probes, size))
        for i in range(self.count):
            stream = np.random.Generator(np.random.Philox(key=[self.key, self.start + i]))
            out[i] = stream.standard_normal((probes, size))
        return out


@dataclass(frozen=True)
class Signs:
    """Packed ±1, unpacked one probe at a time to the shape, type and device of the inputs."""

    bits: NDArray[np.uint8]
    like: torch.Tensor

    def __getitem__(self, probe: int) -> torch.Tensor:
        # Bits travel packed and are unpacked where they are used: 64 times less than doubles.
        size = self.like[0].numel()
        packed = torch.from_numpy(np.ascontiguousarray(self.bits[:, probe])).to(self.like.device)
        shifts = torch.arange(7, -1, -1, dtype=torch.uint8, device=packed.device)
        ones = (packed[:, :, None] >> shifts).bitwise_and_(1).flatten(1)[:, :size]
        return ones.to(self.like.dtype).mul_(2).sub_(1).view(self.like.shape)


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


@short_repr
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
