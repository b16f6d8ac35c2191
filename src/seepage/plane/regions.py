"""Named regions of the plane: what "low" and "high" risk mean, and the cells of a grid."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seepage.array_types import BoolArray, FloatArray
from seepage.errors import InputError
from seepage.given_arrays import given_floats
from seepage.plane.rates import advantage, epsilon, epsilon_two_sided

__all__ = ["ByAdvantage", "ByEpsilon", "Grid", "Regions"]


# Rates are ratios of small counts, so a cut may equal one. A margin far below the smallest gap
# between two rates assigns such ties to the higher region, whatever the rounding.
_TIE = 1e-9


@dataclass(frozen=True)
class Regions(ABC):
    """A partition of the unit square into S regions, in ascending order of risk where ordered.

    A point with an unknown rate (NaN: no target of that kind) lies in none; its index is −1.
    """

    @property
    @abstractmethod
    def names(self) -> tuple[str, ...]:
        """Names of the regions, lowest first."""

    @abstractmethod
    def assign(
        self, fpr: FloatArray, tpr: FloatArray, n_out: ArrayLike, n_in: ArrayLike
    ) -> NDArray[np.intp]:
        """Region index of every point, shape of `fpr`; −1 where a rate is NaN."""

    def __len__(self) -> int:
        return len(self.names)


def _known(fpr: FloatArray, tpr: FloatArray) -> BoolArray:
    return np.asarray(np.isfinite(fpr) & np.isfinite(tpr))


def _cuts(cuts: tuple[float, ...]) -> tuple[str, ...]:
    if not cuts or any(b <= a for a, b in itertools.pairwise(cuts)):
        raise InputError(f"cuts: expected ascending values, got {cuts}")
    if len(cuts) == 1:
        return ("low", "high")
    if len(cuts) == 2:
        return ("low", "medium", "high")
    return tuple(f"level {k}" for k in range(len(cuts) + 1))


@dataclass(frozen=True)
class _ByCuts(Regions):
    """Regions by one figure of a point and ascending cuts of it."""

    cuts: tuple[float, ...]

    def __post_init__(self) -> None:
        _cuts(self.cuts)

    @property
    def names(self) -> tuple[str, ...]:
        """low, medium, high for two cuts."""
        return _cuts(self.cuts)

    @abstractmethod
    def figure(
        self, fpr: FloatArray, tpr: FloatArray, n_out: ArrayLike, n_in: ArrayLike
    ) -> FloatArray:
        """What is cut, shape of `fpr`."""

    def assign(
        self, fpr: FloatArray, tpr: FloatArray, n_out: ArrayLike, n_in: ArrayLike
    ) -> NDArray[np.intp]:
        """Region index of every point, shape of `fpr`; −1 where a rate is NaN."""
        known = _known(fpr, tpr)
        x, y = (np.where(known, np.asarray(rate, np.float64), 0.0) for rate in (fpr, tpr))
        figure = self.figure(x, y, np.where(known, n_out, 1), np.where(known, n_in, 1))
        at = np.searchsorted(np.asarray(self.cuts) - _TIE, figure, side="right")
        return np.where(known, at, -1).astype(np.intp)


@final
@dataclass(frozen=True)
class ByAdvantage(_ByCuts):
    """Regions by advantage A = TPR − FPR: low < 0.2 ≤ medium < 0.5 ≤ high.

    A *reconstruction*: arXiv 2507.23291 cuts the plane into regions whose borders were not
    available.

    >>> ByAdvantage().assign(np.array([0.5, 0.2, np.nan]), np.array([0.5, 0.7, 1.0]), 10, 10).tolist()
    [0, 2, -1]
    """

    cuts: tuple[float, ...] = (0.2, 0.5)

    def figure(
        self, fpr: FloatArray, tpr: FloatArray, n_out: ArrayLike, n_in: ArrayLike
    ) -> FloatArray:
        return advantage(fpr, tpr)


@final
@dataclass(frozen=True)
class ByEpsilon(_ByCuts):
    """Regions by privacy loss in nats: ε < 0.5 ≤ ε < 1.5 ≤ ε; iso-privacy-loss bands.

    two_sided: use max{log TPR/FPR, log (1−FPR)/(1−TPR)} instead of the first term alone. The
    continuity correction depends on the number of models: compare at equal numbers only.
    *Reconstruction*, as `ByAdvantage`.
    """

    cuts: tuple[float, ...] = (0.5, 1.5)
    two_sided: bool = False

    def figure(
        self, fpr: FloatArray, tpr: FloatArray, n_out: ArrayLike, n_in: ArrayLike
    ) -> FloatArray:
        return (epsilon_two_sided if self.two_sided else epsilon)(fpr, tpr, n_out, n_in)


@final
@dataclass(frozen=True)
class Grid(Regions):
    """An n × n grid on [0, 1]²; cell index = n·column(FPR) + row(TPR).

    Counted rates lie on the lattice k/m, and cell edges at j/n would fall on it. Edges are moved
    down by half the smallest distance, 1/(2mn), so no rate ever lies on one and rounding cannot
    decide.

    >>> Grid(2).assign(np.array([0.0, 0.5]), np.array([1.0, 0.49]), 100, 100).tolist()
    [1, 2]
    """

    n: int = 20

    def __post_init__(self) -> None:
        if not 1 <= self.n <= 256:
            raise InputError(f"n: expected 1 to 256 cells per side, got {self.n}")

    @property
    def names(self) -> tuple[str, ...]:
        """Columns by FPR, rows by TPR, both from 0: "0,0", "0,1", …"""
        return tuple(f"{i},{j}" for i in range(self.n) for j in range(self.n))

    def __len__(self) -> int:
        return self.n * self.n

    def assign(
        self, fpr: FloatArray, tpr: FloatArray, n_out: ArrayLike, n_in: ArrayLike
    ) -> NDArray[np.intp]:
        """Cell index of every point, shape of `fpr`; −1 where a rate is NaN."""
        known = _known(fpr, tpr)
        x, y = (np.where(known, np.asarray(rate, np.float64), 0.0) for rate in (fpr, tpr))
        cell = self._side(x, n_out) * self.n + self._side(y, n_in)
        return np.where(known, cell, -1).astype(np.intp)

    def _side(self, rate: FloatArray, trials: ArrayLike) -> NDArray[np.intp]:
        off = 0.5 / np.maximum(given_floats(trials, "trials"), 1)
        cell = np.floor(given_floats(rate, "rate") * self.n + off).astype(np.intp)
        return np.clip(cell, 0, self.n - 1)
