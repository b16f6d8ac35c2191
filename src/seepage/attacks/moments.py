"""Means and scatter of IN and OUT references, as every target sees them, in a few products.

For the attacks whose scores need first and second moments of one signal or of several together;
sums over references are matrix products with the table of who may use whom.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from seepage.array_types import BoolArray, Float64Array

__all__ = ["Moments", "in_and_out"]


CHUNK = 1 << 21


@dataclass(frozen=True, eq=False)
class Moments:
    """References of one kind as each target sees them: counts, means, scatter about the mean."""

    n: Float64Array  # (T, N, 1, 1)
    mean: Float64Array  # (T, N, A, D)
    scatter: Float64Array  # (T, N, A, D, D)

    @classmethod
    def of(cls, x: Float64Array, mask: BoolArray, use: BoolArray) -> Moments:
        """Of values (R, N, A, D) where `mask` (R, N), for targets that use (T, R) of them."""
        dims, weights = x.shape[-1], use.astype(np.float64)
        # Taken from a value of the group's own, so that a group without spread has exactly none.
        shift = np.take_along_axis(x, mask.argmax(axis=0)[None, :, None, None], axis=0)[0]
        d = np.where(mask[..., None, None], x - shift, 0.0)
        n = (weights @ mask.astype(np.float64))[..., None, None]
        count = np.maximum(n, 1.0)
        mean = np.tensordot(weights, d, axes=1) / count
        scatter = np.empty((*mean.shape, dims))
        for i in range(dims):
            for j in range(i + 1):
                cross = np.tensordot(weights, d[..., i] * d[..., j], axes=1)
                cross -= count[..., 0] * mean[..., i] * mean[..., j]
                scatter[..., i, j] = scatter[..., j, i] = cross
            np.maximum(scatter[..., i, i], 0.0, out=scatter[..., i, i])
        return cls(n, mean + shift, scatter)

    @property
    def variance(self) -> Float64Array:
        """Variance of the first feature with divisor n, (T, N, A)."""
        return np.asarray(self.scatter[..., 0, 0] / np.maximum(self.n[..., 0], 1.0))


def in_and_out(
    x: Float64Array, member: BoolArray, use: BoolArray
) -> Iterator[tuple[slice, Moments, Moments]]:
    """OUT and IN of a few samples at a time, so that the moments of all targets fit."""
    dims = x.shape[-1]
    width = max(1, CHUNK // (max(use.shape) * x.shape[2] * dims * (dims + 1)))
    for start in range(0, x.shape[1], width):
        part = slice(start, start + width)
        at, mask = x[:, part], member[:, part]
        yield part, Moments.of(at, ~mask, use), Moments.of(at, mask, use)
