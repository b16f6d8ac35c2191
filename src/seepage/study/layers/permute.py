"""Permutation tests for units that share architectures: layers and arms are what is exchanged."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import rankdata

from seepage.array_types import Float64Array, Int64Array
from seepage.errors import InputError

__all__ = ["Rho", "layer_agreement", "sign_flip"]


@dataclass(frozen=True)
class Rho:
    """Pooled Spearman's ρ, its two-sided p-value, and of how many units it was taken."""

    value: float
    p: float
    units: int

    def verdict(self, sign: int, level: float = 0.05) -> int:
        """1 where ρ has the claimed sign at this level, −1 where the opposite one, else 0."""
        if not math.isfinite(self.p) or self.p >= level:
            return 0
        return 1 if self.value * sign > 0 else -1

    def text(self, *, units: bool = False) -> str:
        """ρ and p, as a table shows them, and of how many units."""
        if not math.isfinite(self.value):
            return "–"
        many = f", {self.units} units" if units else ""
        return f"{self.value:+.2f} (p {self.p:.2g}{many})"


def layer_agreement(
    pairs: Mapping[str, tuple[ArrayLike, ArrayLike]],
    *,
    draws: int = 10_000,
    seed: int = 0,
    ranked: bool = True,
) -> Rho:
    """ρ of two rankings of layers over all units: architecture -> (indicator, attack), (M, L) each.

    Ranks are centred within every unit and ρ = Σ ab / √(Σa² Σb²) over all units. Units of one
    architecture have the same layers, and what a layer shows in one it tends to show in all: they
    are not so many independent witnesses. So a permutation shuffles the layers of an architecture
    *once for all its units*, and p = (1 + #{|ρ*| ≥ |ρ|}) / (1 + draws) asks whether the agreement
    is more than a chance order of layers would give. (`seepage.layers.rank_agreement` shuffles
    within every model and is the right one for a single architecture's question of noise.) ranked:
    False takes the values as they are, which are then ranks or what is left of them.

    >>> a = np.arange(6.0)[None].repeat(5, axis=0)
    >>> r = layer_agreement({"net": (a, a)})
    >>> round(r.value, 6), 0.001 < r.p < 0.01, r.units
    (1.0, True, 5)
    """
    crossed: list[Float64Array] = []
    aa = bb = 0.0
    units = 0
    for name, (indicator, attack) in pairs.items():
        a, b = (np.atleast_2d(np.asarray(v, dtype=np.float64)) for v in (indicator, attack))
        if a.shape != b.shape or not (np.isfinite(a).all() and np.isfinite(b).all()):
            raise InputError(
                f"{name}: expected finite values of one shape (units, layers), got {a.shape} and "
                f"{b.shape}"
            )
        if ranked:
            a, b = (np.asarray(rankdata(v, axis=1), dtype=np.float64) for v in (a, b))
        a, b = a - a.mean(axis=1, keepdims=True), b - b.mean(axis=1, keepdims=True)
        crossed.append(a.T @ b)
        aa, bb = aa + float((a * a).sum()), bb + float((b * b).sum())
        units += len(a)
    norm = math.sqrt(aa * bb)
    if norm == 0:
        return Rho(math.nan, math.nan, units)
    rho = sum(float(np.trace(c)) for c in crossed) / norm
    drawn = np.zeros(draws)
    for k, c in enumerate(crossed):
        drawn += c[_orders(len(c), draws, seed, k), np.arange(len(c))].sum(axis=1)
    hits = int((np.abs(drawn / norm) >= abs(rho) - 1e-9).sum())
    return Rho(rho, (1 + hits) / (1 + draws), units)


@lru_cache(maxsize=64)
def _orders(layers: int, draws: int, seed: int, group: int) -> Int64Array:
    """Orders of the layers of the so-and-so-many-th architecture, (draws, layers), read only."""
    rng = np.random.default_rng([seed, group, layers])
    out = rng.permuted(np.broadcast_to(np.arange(layers), (draws, layers)), axis=1)
    out.setflags(write=False)
    return out


def sign_flip(differences: Sequence[float], *, draws: int = 10_000, seed: int = 0) -> float:
    """Two-sided p-value of a mean difference of pairs, by exchanging the two of each pair.

    p = share of sign patterns with |mean*| ≥ |mean|; all 2ⁿ where n ≤ 12, else so many draws and
    one added to both counts. NaN without a pair.

    >>> sign_flip([1.0, 1.0, 1.0])
    0.25
    """
    d = np.asarray(differences, dtype=np.float64)
    if d.size == 0:
        return math.nan
    seen = abs(float(d.mean())) - 1e-12
    if d.size <= 12:
        signs = np.array(list(itertools.product((-1.0, 1.0), repeat=d.size)))
        return float((np.abs((signs * d).mean(axis=1)) >= seen).mean())
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], size=(draws, d.size))
    hits = int((np.abs((signs * d).mean(axis=1)) >= seen).sum())
    return (1 + hits) / (1 + draws)
