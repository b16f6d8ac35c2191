"""Random directions per sample, whatever batch the sample is evaluated in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from seepage.array_types import Float64Array
from seepage.errors import InputError

__all__ = ["Generator", "SampleStreams", "stream_key"]


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
