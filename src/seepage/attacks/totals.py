"""What priors and common variances take from all samples together, of arrays or of blocks of them."""

from __future__ import annotations

from dataclasses import dataclass
from threading import Lock
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from seepage.array_types import BoolArray, Float64Array, FloatArray, Int64Array
from seepage.attacks.blocks import Block, Blocks
from seepage.attacks.kernels.lanes import chunks
from seepage.attacks.kernels.spreads import (
    MEANS,
    OFFSET,
    SQUARES,
    STILL,
    WIDTH,
    add_totals,
    extremes,
    group_totals,
    no_totals,
    summed,
)
from seepage.attacks.targets import kernel_ready
from seepage.attacks.variance import (
    DEEP,
    TINY,
    Global,
    Group,
    Totals,
    chance,
    quartiles_of,
    unit_of_log,
)

__all__ = ["InArrays", "InBlocks", "Samples", "all_totals", "pooled_variances", "raw_variances"]


class Samples(Protocol):
    """One signal (R, N, A) and membership (R, N), whole or in blocks."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """R, N, A."""

    def means(self) -> Float64Array:
        """About the mean of all values, (A,), which nothing but rounding depends on."""

    def extremes(self) -> Float64Array:
        """Of every model: see `seepage.attacks.kernels.spreads.extremes`."""

    def every(self, step: int) -> tuple[FloatArray, BoolArray]:
        """Every so many samples, from the first on."""

    def totals(self, drop: Int64Array, *given: Any) -> tuple[Float64Array, NDArray[np.int64]]:
        """Sums and cells: see `seepage.attacks.kernels.spreads.group_totals`."""


@dataclass(frozen=True, eq=False)
class InArrays:
    """Samples that are in memory."""

    signal: FloatArray
    member: BoolArray

    @property
    def shape(self) -> tuple[int, int, int]:
        models, samples, views = self.signal.shape
        return models, samples, views

    def means(self) -> Float64Array:
        return np.asarray(self.signal.mean(axis=(0, 1), dtype=np.float64))

    def extremes(self) -> Float64Array:
        return extremes(self.signal, self.member)

    def every(self, step: int) -> tuple[FloatArray, BoolArray]:
        return self.signal[:, ::step], self.member[:, ::step]

    def totals(self, drop: Int64Array, *given: Any) -> tuple[Float64Array, NDArray[np.int64]]:
        return group_totals(self.signal, self.member, drop, *given)


@dataclass(frozen=True, eq=False)
class InBlocks:
    """Samples that are read in blocks. Sums are added in the order of `InArrays`, and are equal."""

    blocks: Blocks
    name: str

    @property
    def shape(self) -> tuple[int, int, int]:
        first = self.blocks.signals(0, 1)[self.name]
        return len(first), self.blocks.samples, first.shape[2]

    def means(self) -> Float64Array:
        # Of some samples: it is taken off again.
        some, _ = self.every(max(1, self.blocks.samples // 100))
        return np.asarray(some.mean(axis=(0, 1), dtype=np.float64))

    def extremes(self) -> Float64Array:
        models, _, views = self.shape
        found = np.tile([-np.inf, np.inf], (models, views, 2, 1))
        held = Lock()

        def one(block: Block) -> None:
            own = extremes(kernel_ready(block.signals[self.name]), block.member)
            with held:
                np.maximum(found[..., 0], own[..., 0], out=found[..., 0])
                np.minimum(found[..., 1], own[..., 1], out=found[..., 1])

        self.blocks.over(one)
        return found

    def every(self, step: int) -> tuple[FloatArray, BoolArray]:
        at = range(0, self.blocks.samples, step)
        some = [self.blocks.signals(i, i + 1)[self.name] for i in at]
        member = [self.blocks.inside(i, i + 1) for i in at]
        return np.concatenate(some, axis=1), np.concatenate(member, axis=1)

    def totals(self, drop: Int64Array, *given: Any) -> tuple[Float64Array, NDArray[np.int64]]:
        _, samples, views = self.shape
        sums, cells = no_totals(chunks(samples)[0], views, len(drop), given[-1])

        def one(block: Block) -> None:
            mine = slice(block.chunk, block.chunk + 1)
            signal, per = kernel_ready(block.signals[self.name]), block.member.shape[1]
            whole = (*given, per, 0, 1, sums[mine], cells[mine])
            add_totals(signal, block.member, drop, *whole)

        self.blocks.over(one)
        return summed(sums, cells)


# Cells of log s² that are kept, three quarters of them below the middle: as far as samples count,
# and more where that is too little.
_CELLS, _MOST = 432, 1 << 15


def all_totals(of: Samples, drop: Int64Array, level: int) -> tuple[Totals, Float64Array]:
    """Totals of every set left out, (E, A, 2, ...), and the shift (A,) of their means."""
    models, _, views = of.shape
    shift = np.zeros(views)
    if level == MEANS:
        shift = of.means()
    caps = np.zeros((len(drop), views, 2, 2))
    capped = np.zeros(caps.shape, dtype=np.bool_)
    unit, middle = np.zeros(caps.shape[:-1]), np.zeros((views, 2))
    number = 1
    if level != SQUARES:
        caps, capped = _caps(of.extremes(), drop)
        unit, middle = unit_of_log(caps), _middle(*of.every(max(1, of.shape[1] // 100)))
        number = _CELLS
    table = chance(models)
    while True:
        lowest = np.floor((middle - unit - OFFSET) / WIDTH).astype(np.int64) - 3 * number // 4
        sums, cells = of.totals(drop, shift, table, level, caps, capped, unit, lowest, number)
        counts = np.moveaxis(cells, 2, 0)
        at = (quartiles_of(counts, lowest) - OFFSET) / WIDTH - lowest[..., None]
        # The first cell is cut as a whole, and no quartile of what is left lies in the last one.
        inside = (at[..., 1] - DEEP / WIDTH >= 1) & (16 * counts[..., -1] <= counts.sum(axis=-1))
        inside |= ~counts.any(axis=-1)
        if level == SQUARES or number >= _MOST or inside.all():
            break
        number *= 8
    return Totals(np.moveaxis(sums, -1, 0), counts, lowest, unit), shift


def _caps(value: Float64Array, drop: Int64Array) -> tuple[Float64Array, BoolArray]:
    """Largest and smallest value of the models that each set leaves, and which two share: (E, A, 2, 2).

    value (R, A, 2, 2): each model's own.
    """
    models = len(value)
    kept = np.ones((len(drop), models + 1), dtype=np.bool_)
    np.put_along_axis(kept, drop, False, axis=1)  # −1, none, is the last column
    left = kept[:, :models, None, None]
    high = np.where(left, value[..., 0], -np.inf).max(axis=1)
    low = np.where(left, value[..., 1], np.inf).min(axis=1)
    caps = np.stack([high, low], axis=-1)
    return caps, ((value == caps[:, None]) & left[..., None]).sum(axis=1) >= 2


def _middle(signal: FloatArray, member: BoolArray) -> Float64Array:
    """About where log s² lies, from some samples and all models: (A, 2)."""
    found = np.zeros((signal.shape[2], 2))
    for g, mask in enumerate((~member, member)):
        several = mask.sum(axis=0) >= 2
        group = Group.of(signal[:, several], mask[:, several])
        if several.any():
            s2 = group.squares / (group.n - 1)
            telling = s2 > (STILL * group.mean) ** 2 + 1e-60
            for a in np.flatnonzero(telling.any(axis=0)):
                found[a, g] = np.log(np.median(s2[telling[:, a], a]))
    return found


def pooled_variances(of: Samples, drop: Int64Array) -> Float64Array:
    """The common variances of `Pooled()` without each set left out: (E, A, 2), OUT and IN."""
    totals, _ = all_totals(of, drop, SQUARES)
    # A group that an offline attack does not read may be empty; its variance is not used.
    return np.maximum(totals.sums[..., 1] / np.maximum(totals.sums[..., 2], 1), TINY)


def raw_variances(
    signal: FloatArray, member: BoolArray, drop: Int64Array, rule: Global, online: bool
) -> Float64Array:
    """Those of `Global()`: (R, N, A), (R, N) -> (E, A, 2)."""
    models, _, views = signal.shape
    out = np.empty((len(drop), views, 2))
    for g in (0, 1):
        n = np.zeros((models, 1))
        mean, squares = np.zeros((models, views)), np.zeros((models, views))
        for r in range(models):
            x = signal[r][member[r] == g].astype(np.float64)
            if len(x):
                n[r], mean[r] = len(x), x.mean(axis=0)
                squares[r] = ((x - mean[r]) ** 2).sum(axis=0)
        for e, gone in enumerate(drop):
            u = np.delete(np.arange(models), gone[gone >= 0])
            total = max(float(n[u].sum()), 1.0)
            centre = (n[u] * mean[u]).sum(axis=0) / total
            spread = squares[u].sum(axis=0) + (n[u] * (mean[u] - centre) ** 2).sum(axis=0)
            out[e, :, g] = spread / total
            if rule.released:
                out[e, :, g] = out[e, :, g].mean() + centre.var()
    if rule.released and online:
        out[..., 0] = out[..., 1]
    return np.maximum(out, TINY)
