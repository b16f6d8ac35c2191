"""Mean and standard deviation of inputs that come a block at a time, in float64."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch

from seepage.array_types import Float64Array

__all__ = ["Moments", "byte_moments", "channel_moments", "column_moments"]

Moments = tuple[Float64Array, Float64Array]
"""Mean and standard deviation, divided by N; 0 exactly where values do not vary."""


@dataclass(frozen=True)
class _Part:
    """Moments of some values: n of each of K channels or columns; the others (K,)."""

    n: int
    mean: Float64Array
    std: Float64Array
    least: Float64Array
    most: Float64Array


def _joined(parts: Iterable[_Part]) -> Moments:
    """Moments of all values from those of their parts; of one part its own, bit for bit.

    Source: Chan, Golub, LeVeque, Updating formulae and a pairwise algorithm for computing sample
    variances, 1979.
    """
    whole = None
    for part in parts:
        if whole is None:
            whole = part
            continue
        n, apart = whole.n + part.n, part.mean - whole.mean
        squares = whole.n * whole.std**2 + part.n * part.std**2
        squares += apart**2 * (whole.n * part.n / n)
        whole = _Part(
            n,
            whole.mean + apart * (part.n / n),
            np.sqrt(squares / n),
            np.minimum(whole.least, part.least),
            np.maximum(whole.most, part.most),
        )
    assert whole is not None
    # Rounding of the mean leaves what is constant a tiny deviation: compare the values.
    return whole.mean, np.where(whole.least == whole.most, 0.0, whole.std)


def byte_moments(blocks: Iterable[torch.Tensor]) -> Moments:
    """Of bytes (B, C, H, W), per channel: exact integer moments from the histogram of all blocks.

    >>> mean, std = byte_moments([torch.tensor([[[[1, 3]]]], dtype=torch.uint8)])
    >>> mean.tolist(), std.tolist()
    ([2.0], [1.0])
    """
    counts = None
    for x in blocks:
        found = [
            torch.bincount(x[:, c].flatten(), minlength=256).numpy() for c in range(x.shape[1])
        ]
        counts = np.stack(found) + (0 if counts is None else counts)
    assert counts is not None
    weight = counts.astype(np.float64)
    levels = np.arange(256, dtype=np.float64)
    mean = np.array([(w * levels).sum() / w.sum() for w in weight])
    std = [
        np.sqrt((w * (levels - m) ** 2).sum() / w.sum()) for w, m in zip(weight, mean, strict=True)
    ]
    return mean, np.array(std)


def channel_moments(blocks: Iterable[torch.Tensor]) -> Moments:
    """Of floats (B, C, H, W), per channel."""

    def part(x: torch.Tensor) -> _Part:
        told = []
        for c in range(x.shape[1]):
            v = x[:, c].double()
            told.append(torch.stack([v.mean(), v.std(correction=0), v.min(), v.max()]))
        mean, std, least, most = torch.stack(told, 1).numpy()
        return _Part(x[:, 0].numel(), mean, std, least, most)

    return _joined(map(part, blocks))


def column_moments(blocks: Iterable[torch.Tensor]) -> Moments:
    """Of a table (B, D), per column.

    >>> mean, std = column_moments([torch.tensor([[1.0]]), torch.tensor([[3.0]])])
    >>> mean.tolist(), std.tolist()
    ([2.0], [1.0])
    """

    def part(x: torch.Tensor) -> _Part:
        d = x.double()
        told = (d.mean(0), d.std(0, correction=0), d.amin(0), d.amax(0))
        return _Part(len(d), *(v.numpy() for v in told))

    return _joined(map(part, blocks))
