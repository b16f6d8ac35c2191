"""What replicates of a fleet sum up to: every sample's decisions counted again, block by block.

Weights times packed decisions is a matrix product: a replicate's counts of a few thousand samples at
a time, from which rates, steps and moves between regions are added up.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from seepage.array_types import Float64Array, FloatArray, Int64Array
from seepage.plan import partitions
from seepage.plane.kernels import accumulate, accumulate_pairs, pair_counts, unit_counts
from seepage.plane.regions import Grid, Regions
from seepage.plane.resampling import half

if TYPE_CHECKING:
    from seepage.plane.paths import Trajectories

__all__ = ["Given", "Pairs", "Sums", "Units", "sums_of"]


@dataclass(eq=False)
class Sums:
    """Sums over samples by checkpoint and replicate: all that population metrics depend on.

    The last three belong to the interval that ends at a checkpoint; at the first one steps and
    squares are 0, and moves lead from each region to itself.
    """

    centre: Float64Array  # (T, B, 2)
    cells: Int64Array  # (T, B, C)
    steps: Float64Array  # (T, B)
    squares: Float64Array  # (T, B)
    moves: Int64Array  # (T, B, S, S)

    @classmethod
    def zeros(cls, checkpoints: int, replicates: int, regions: int, cells: int) -> Sums:
        shape = (checkpoints, replicates)
        return cls(
            np.zeros((*shape, 2)),
            np.zeros((*shape, cells), dtype=np.int64),
            np.zeros(shape),
            np.zeros(shape),
            np.zeros((*shape, regions, regions), dtype=np.int64),
        )

    def add(self, other: Sums) -> None:
        for f in fields(self):
            mine = getattr(self, f.name)
            mine += getattr(other, f.name)


def _table(pairs: int, regions: Regions, grid: Grid) -> NDArray[np.uint32]:
    """Region · 2¹⁶ + cell of every point of the lattice (hits_out, hits_in) / pairs."""
    rates = np.arange(pairs + 1) / pairs
    x, y = np.meshgrid(rates, rates, indexing="ij")
    region, cell = (r.assign(x, y, pairs, pairs) for r in (regions, grid))
    return np.asarray(region * 2**16 + cell, dtype=np.uint32)


class Pairs:
    """Counts of every replicate from packed decisions, where all runs come in complete pairs.

    Every sample then counts over as many targets on either side as a replicate has pairs: regions and
    cells are looked up on the lattice of counts.
    """

    def __init__(
        self, paths: Trajectories, weights: FloatArray, regions: Regions, grid: Grid
    ) -> None:
        assert paths.decisions is not None
        self.pairs = paths.models // 2
        self.sizes = (len(regions), len(grid))
        self.first, self.second = (
            np.argsort(partitions(paths.member), kind="stable").reshape(-1, 2).T
        )
        self.decisions = paths.decisions
        self.member = np.packbits(paths.member[self.first], axis=1)
        self.weights = np.ascontiguousarray(weights, dtype=np.float32)
        self.bits = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).astype(
            np.float32
        )
        # Row 0 keeps all pairs, the replicates half of them.
        whole, rest = slice(0, 1), slice(1, len(weights))
        self.parts = [(whole, self.pairs, _table(self.pairs, regions, grid))]
        if len(weights) > 1:
            self.parts.append((rest, half(self.pairs), _table(half(self.pairs), regions, grid)))

    def sums(self, block: slice) -> Sums:
        """The work on one block of samples."""
        width = slice(block.start // 8, -(-block.stop // 8))
        n = 8 * (width.stop - width.start)
        sums = Sums.zeros(len(self.decisions), len(self.weights), *self.sizes)
        each = [np.empty((self.pairs, n), dtype=np.float32) for _ in range(3)]
        truth = np.ascontiguousarray(self.member[:, width])
        first_last, second_last = (self.decisions[0][r, width] for r in (self.first, self.second))
        shape = (len(self.weights), n)
        hits_in_last = hits_out_last = np.zeros(shape, dtype=np.float32)
        region_last = np.zeros(shape, dtype=np.uint16)
        for t, packed in enumerate(self.decisions):
            first, second = packed[self.first, width], packed[self.second, width]
            pair_counts(first, second, first_last, second_last, truth, self.bits, *each)
            hits_in, hits_out, turns = (self.weights @ a for a in each)
            region = np.empty(shape, dtype=np.uint16)
            for rows, pairs, table in self.parts:
                accumulate_pairs(
                    hits_in[rows],
                    hits_out[rows],
                    hits_in_last[rows],
                    hits_out_last[rows],
                    turns[rows],
                    block.stop - block.start,
                    pairs,
                    table,
                    region[rows],
                    region_last[rows],
                    t > 0,
                    sums.centre[t, rows],
                    sums.cells[t, rows],
                    sums.steps[t, rows],
                    sums.squares[t, rows],
                    sums.moves[t, rows],
                )
            first_last, second_last, region_last = first, second, region
            hits_in_last, hits_out_last = hits_in, hits_out
        return sums


class Units:
    """The same where not all runs are pairs: targets per sample vary and change by replicate."""

    def __init__(self, paths: Trajectories, weights: FloatArray) -> None:
        assert paths.decisions is not None
        self.decisions = paths.decisions
        self.unit = partitions(paths.member)
        self.truth = paths.member
        self.member = np.packbits(paths.member, axis=1)
        self.weights = np.ascontiguousarray(weights, dtype=np.float32)
        self.size = np.bincount(self.unit).astype(np.float32)

    def trials(self, block: slice) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Targets counted over, (n_in, n_out), each (B, n)."""
        inside = np.zeros((len(self.size), block.stop - block.start), dtype=np.float32)
        np.add.at(inside, self.unit, self.truth[:, block].astype(np.float32))
        return self.weights @ inside, self.weights @ (self.size[:, None] - inside)

    def counts(self, block: slice) -> Iterator[list[NDArray[np.float32]]]:
        """Per checkpoint: hits_in, hits_out, turns_in, turns_out, each (B, n)."""
        n, width = block.stop - block.start, slice(block.start // 8, -(-block.stop // 8))
        truth = np.ascontiguousarray(self.member[:, width])
        each = [np.empty((len(self.size), n), dtype=np.float32) for _ in range(4)]
        before = np.ascontiguousarray(self.decisions[0][:, width])
        for packed in self.decisions:
            now = np.ascontiguousarray(packed[:, width])
            unit_counts(now, before, truth, self.unit, *each)
            yield [self.weights @ a for a in each]
            before = now


class Given:
    """Rates as they are, and without each group of pairs: closed-form, or decisions not kept."""

    def __init__(self, paths: Trajectories) -> None:
        self.paths = paths
        self.replicates = 1 + (0 if paths.groups is None else len(paths.groups))

    def trials(self, block: slice) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Targets counted over, (n_in, n_out), each (B, n)."""
        shape = (self.replicates, block.stop - block.start)
        return (
            np.broadcast_to(self.paths.n_in[block], shape).astype(np.float32),
            np.broadcast_to(self.paths.n_out[block], shape).astype(np.float32),
        )

    def counts(self, block: slice) -> Iterator[list[NDArray[np.float32]]]:
        """Per checkpoint: hits_in, hits_out, turns_in, turns_out, each (B, n)."""
        p, (n_in, n_out) = self.paths, self.trials(block)
        for t in range(len(p.fpr)):
            tpr, fpr = p.tpr[t, block][None], p.fpr[t, block][None]
            if p.groups is not None:
                fpr = np.concatenate([fpr, p.groups[:, 0, t, block]])
                tpr = np.concatenate([tpr, p.groups[:, 1, t, block]])
            turns_in, turns_out = np.zeros_like(n_in), np.zeros_like(n_out)
            if t and p.turns_in is not None and p.turns_out is not None:
                turns_in[:], turns_out[:] = p.turns_in[t - 1, block], p.turns_out[t - 1, block]
            hits = (tpr * n_in).astype(np.float32), (fpr * n_out).astype(np.float32)
            yield [*hits, turns_in, turns_out]


def sums_of(
    source: Units | Given, checkpoints: int, regions: Regions, grid: Grid, block: slice
) -> Sums:
    """The work on one block of samples, without assuming that counts lie on one lattice."""
    n_in, n_out = source.trials(block)
    # A replicate without a target of a kind for a sample keeps that sample's own counts.
    lost = (n_in < 1) | (n_out < 1)
    n_in, n_out = np.where(lost, n_in[:1], n_in), np.where(lost, n_out[:1], n_out)
    sums = Sums.zeros(checkpoints, len(n_in), len(regions), len(grid))
    hits_in_last = hits_out_last = np.zeros_like(n_in)
    region_last = np.zeros(n_in.shape, dtype=np.uint16)
    for t, counts in enumerate(source.counts(block)):
        hits_in, hits_out, turns_in, turns_out = (np.where(lost, a[:1], a) for a in counts)
        # In float64: a cut may fall on a rate, and rounding must not decide.
        x, y = np.divide(hits_out, n_out, dtype=float), np.divide(hits_in, n_in, dtype=float)
        region, cell = (r.assign(x, y, n_out, n_in).astype(np.uint16) for r in (regions, grid))
        accumulate(
            hits_in,
            hits_out,
            hits_in_last,
            hits_out_last,
            turns_in,
            turns_out,
            n_in,
            n_out,
            region,
            region_last,
            cell,
            t > 0,
            sums.centre[t],
            sums.cells[t],
            sums.steps[t],
            sums.squares[t],
            sums.moves[t],
        )
        hits_in_last, hits_out_last, region_last = hits_in, hits_out, region
    return sums
