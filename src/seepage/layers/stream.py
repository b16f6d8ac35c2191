"""Spectra from batches of outputs, in memory that does not grow with the number of samples.

Three accumulators, all centred on the mean of *all* samples without a second pass:

- `CovarianceStream`: the d × d scatter, exact, for narrow layers;
- `GramStream`: keeps the outputs of at most `capacity` samples and forms their n × n Gram matrix,
  exact, for wide layers and few samples;
- `SketchStream`: Frequent Directions (Liberty 2013; Ghashami et al. 2016, arXiv 1501.01711), for
  wide layers and many samples. It gives a bound on its own error.

Batches are merged with the update of Chan, Golub and LeVeque (1983): with n_a rows of mean a and
n_b rows of mean b, scatter = scatter_a + scatter_b + (n_a n_b / n) δδᵀ, δ = b − a.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import final

import numpy as np
import torch

from seepage.errors import InputError
from seepage.layers.spectrum import Spectrum

__all__ = ["CovarianceStream", "GramStream", "SketchStream", "SpectrumStream", "choose_stream"]

# Below this many multiplications everything is done in float64, at negligible cost.
_CHEAP = 2_000_000_000
# Inner dimension of one single-precision product; partial sums are added in float64.
_PANEL = 4096
_TILE = 512
COVARIANCE_WIDTH = 4096
_SMALL = 1024


class SpectrumStream(ABC):
    """Takes batches (B, d) of one layer's outputs, gives their `Spectrum`."""

    def __init__(self, d: int) -> None:
        self.d = d
        self.n = 0

    @abstractmethod
    def add(self, rows: torch.Tensor) -> None:
        """Take B more samples: (B, d) floating. The tensor is neither kept nor changed."""

    @abstractmethod
    def spectrum(self) -> Spectrum:
        """The spectrum of everything taken so far; the stream cannot be used afterwards."""


class _Centred(SpectrumStream):
    """Keeps the running mean in float64 and centres each batch, correcting for the mean."""

    def __init__(self, d: int) -> None:
        super().__init__(d)
        self.mean: torch.Tensor | None = None
        self.total = 0.0
        self.eps = 0.0

    @final
    def add(self, rows: torch.Tensor) -> None:
        exact = rows.to(torch.float64)
        batch_mean = exact.mean(0)
        count = len(rows)
        self.eps = max(self.eps, torch.finfo(rows.dtype).eps)
        centred = exact - batch_mean
        self.total += float(centred.square().sum())
        if self.mean is None:
            self.mean, self.n = batch_mean, count
            self._take(centred, None)
            return
        delta = batch_mean - self.mean
        n = self.n + count
        shift = delta * (self.n * count / n) ** 0.5
        self.total += float(shift.square().sum())
        self.mean = self.mean + delta * (count / n)
        self.n = n
        self._take(centred, shift)

    @abstractmethod
    def _take(self, centred: torch.Tensor, shift: torch.Tensor | None) -> None:
        """Add the outer products of the rows (B, d) and of the correction (d,)."""


def _finish(
    squares: torch.Tensor, total: float, n: int, d: int, floor: float, slack: float = 0.0
) -> Spectrum:
    """Variances from eigenvalues of a scatter or Gram matrix."""
    values = np.sort(squares.cpu().numpy().astype(np.float64))[::-1]
    values = np.maximum(values, 0.0)[: max(min(n - 1, d), 0)] / n
    total /= n
    # Constant outputs vary by rounding only: no directions.
    if total <= floor:
        values, total, slack = np.zeros_like(values), 0.0, 0.0
    elif slack == 0.0:
        total = float(values.sum())
    return Spectrum(np.ascontiguousarray(values), total, n, d, slack / n)


def _eigenvalues(matrix: torch.Tensor) -> torch.Tensor:
    """Of a symmetric matrix, ascending; only the lower triangle is read.

    Small ones are many short dependent steps, which a processor does faster than a GPU.
    """
    if matrix.is_cuda and len(matrix) <= _SMALL:
        matrix = matrix.cpu()
    values: torch.Tensor = torch.linalg.eigvalsh(matrix, UPLO="L")
    return values


def _rounding_variance(mean: torch.Tensor, eps: float) -> float:
    """Total variance that rounding of outputs with this mean can cause."""
    return float(mean.double().square().sum()) * eps * eps


@final
class CovarianceStream(_Centred):
    """Exact: the d × d scatter matrix in float64. Memory 8 d² bytes, whatever n."""

    def __init__(self, d: int) -> None:
        super().__init__(d)
        self.scatter: torch.Tensor | None = None

    def _take(self, centred: torch.Tensor, shift: torch.Tensor | None) -> None:
        if self.scatter is None:
            self.scatter = centred.new_zeros(self.d, self.d)
        self.scatter.addmm_(centred.T, centred)
        if shift is not None:
            self.scatter.addr_(shift, shift)

    def spectrum(self) -> Spectrum:
        assert self.scatter is not None
        assert self.mean is not None
        values = _eigenvalues(self.scatter)
        return _finish(values, self.total, self.n, self.d, _rounding_variance(self.mean, self.eps))


@final
class GramStream(SpectrumStream):
    """Exact: the outputs of at most `capacity` samples, then their n × n Gram matrix.

    Memory capacity · d values of the outputs' own type, taken once and never more. Wide products
    run in single precision over panels of 4,096 outputs whose results are added in float64, after
    centring in float64: eigenvalues are then good to about 1e-7 of the largest.
    """

    def __init__(self, d: int, capacity: int) -> None:
        super().__init__(d)
        self.capacity = capacity
        self.rows: torch.Tensor | None = None

    def add(self, rows: torch.Tensor) -> None:
        if self.rows is None:
            kind = torch.float64 if rows.dtype == torch.float64 else torch.float32
            self.rows = torch.empty(self.capacity, self.d, dtype=kind, device=rows.device)
            self.eps = torch.finfo(rows.dtype).eps
        if self.n + len(rows) > self.capacity:
            raise InputError(
                f"rows: expected at most {self.capacity} in all, got {self.n + len(rows)}; raise capacity"
            )
        self.rows[self.n : self.n + len(rows)] = rows
        self.n += len(rows)

    def spectrum(self) -> Spectrum:
        assert self.rows is not None
        n, d = self.n, self.d
        rows = self.rows[:n]
        self.rows = None
        gram = torch.zeros(n, n, dtype=torch.float64, device=rows.device)
        double = rows.dtype == torch.float64 or n * n * d <= _CHEAP
        floor = 0.0
        for start in range(0, d, _PANEL):
            exact = rows[:, start : start + _PANEL].double()
            mean = exact.mean(0)
            floor += _rounding_variance(mean, self.eps)
            panel = exact - mean if double else (exact - mean).float()
            for low in range(0, n, _TILE):
                tile = panel[low : low + _TILE]
                # Only the lower triangle: eigvalsh reads no other.
                gram[low : low + _TILE, : low + len(tile)] += tile @ panel[: low + len(tile)].T
        total = float(gram.diagonal().sum())
        return _finish(_eigenvalues(gram), total, n, d, floor)


@final
class SketchStream(_Centred):
    """Frequent Directions with `keep` directions. Memory 2 · keep · d values, whatever n.

    When the buffer of 2·keep rows is full, the square of its (keep + 1)-th singular value is taken
    off the squares of all: what remains fits into `keep` rows, and no direction has lost more than
    that much. The sum of what was taken is the slack of the spectrum, a bound and not an estimate.
    """

    def __init__(self, d: int, keep: int) -> None:
        super().__init__(d)
        self.keep = keep
        self.buffer: torch.Tensor | None = None
        self.used = 0
        self.shrunk = 0.0

    def _take(self, centred: torch.Tensor, shift: torch.Tensor | None) -> None:
        if self.buffer is None:
            self.buffer = centred.new_zeros(2 * self.keep, self.d, dtype=torch.float32)
        rows = centred if shift is None else torch.cat([centred, shift[None]])
        start = 0
        while start < len(rows):
            if self.used == len(self.buffer):
                self._shrink()
            take = min(len(rows) - start, len(self.buffer) - self.used)
            self.buffer[self.used : self.used + take] = rows[start : start + take]
            self.used += take
            start += take

    def _gram(self) -> torch.Tensor:
        assert self.buffer is not None
        rows = self.buffer[: self.used]
        gram = torch.zeros(self.used, self.used, dtype=torch.float64, device=rows.device)
        for start in range(0, self.d, _PANEL):
            panel = rows[:, start : start + _PANEL]
            gram += panel @ panel.T
        return gram

    def _shrink(self) -> None:
        assert self.buffer is not None
        values, vectors = torch.linalg.eigh(self._gram())
        values, vectors = values.flip(0).clamp_min(0.0), vectors.flip(1)
        cut = float(values[self.keep])
        kept = values[: self.keep]
        weight = ((kept - cut).clamp_min(0.0) / kept.clamp_min(1e-300)).sqrt()
        turn = (vectors[:, : self.keep] * weight).T.to(self.buffer.dtype)
        for start in range(0, self.d, _PANEL):
            panel = self.buffer[: self.used, start : start + _PANEL]
            self.buffer[: self.keep, start : start + _PANEL] = turn @ panel
        self.used = self.keep
        self.shrunk += cut

    def spectrum(self) -> Spectrum:
        assert self.buffer is not None
        assert self.mean is not None
        values = _eigenvalues(self._gram())
        self.buffer = None
        floor = _rounding_variance(self.mean, self.eps)
        return _finish(values, self.total, self.n, self.d, floor, self.shrunk)


def choose_stream(d: int, n: int, memory: int, itemsize: int = 4) -> SpectrumStream:
    """The cheapest stream for n samples of d outputs that is exact within `memory` bytes.

    >>> type(choose_stream(d=64, n=1000, memory=2**20)).__name__
    'CovarianceStream'
    >>> type(choose_stream(d=100_000, n=500, memory=2**30)).__name__
    'GramStream'
    >>> type(choose_stream(d=100_000, n=50_000, memory=2**30)).__name__
    'SketchStream'
    """
    if d <= COVARIANCE_WIDTH and d <= n and 8 * d * d <= memory:
        return CovarianceStream(d)
    if n * d * max(itemsize, 4) <= memory:
        return GramStream(d, n)
    if d <= COVARIANCE_WIDTH and 8 * d * d <= memory:
        return CovarianceStream(d)
    keep = max(min(memory // (8 * d), 1024, n // 2, d), 16)
    return SketchStream(d, keep)
