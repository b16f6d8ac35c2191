"""Counts of replicates where all runs come in complete pairs, from packed decisions.

A replicate keeps some of the pairs. Every sample then has as many targets of either kind as pairs
are kept, so that it lies on a lattice of (non-members, members) called "member": regions, cells and
distances are looked up there. Rows of decisions stay packed, 64 samples in a word.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seepage.array_types import BoolArray, Float64Array, FloatArray, Int64Array
from seepage.native.library import kernel, over_blocks, threads
from seepage.plan import partitions, tuples
from seepage.short_repr import short_repr

__all__ = [
    "BLOCK",
    "LatticeSums",
    "PackedPairs",
    "by_tuple",
    "chosen_sets",
    "kept",
    "lattice_sums",
    "tally_of",
]

# Samples of a strip of words, which kernels count at once; rows are padded to whole ones.
_STRIP = 2048
# Samples at a time: the rows of a block and all its checkpoints stay small.
BLOCK = 4 * _STRIP


@short_repr
@dataclass(frozen=True, eq=False)
class PackedPairs:
    """Decisions of U pairs of runs at T checkpoints, by what they are about, for some samples.

    inside, outside (T, U, W) words: of every pair, the decision of the run that was trained on the
    sample, and that of the other; 0 beyond the `samples`. turned (T, U): how many decisions of a
    pair's runs changed since the checkpoint before.
    """

    inside: NDArray[np.uint64]
    outside: NDArray[np.uint64]
    turned: Int64Array
    samples: int

    @classmethod
    def of(cls, decisions: NDArray[np.uint8], member: BoolArray, block: slice) -> PackedPairs:
        """Of packed decisions (T, R, ⌈N/8⌉) and membership (R, N); the block begins at a byte."""
        samples = block.stop - block.start
        width = slice(block.start // 8, -(-block.stop // 8))
        first, second = np.argsort(partitions(member), kind="stable").reshape(-1, 2).T
        truth = np.packbits(member[first, block], axis=1)
        shape = (len(decisions), len(first), -(-samples // _STRIP) * _STRIP // 8)
        inside, outside = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
        turned = np.zeros(shape[:2], np.int64)
        before = None
        for t, packed in enumerate(decisions):
            a, b = packed[first, width], packed[second, width]
            inside[t, :, : a.shape[1]] = (a & truth) | (b & ~truth)
            outside[t, :, : a.shape[1]] = (b & truth) | (a & ~truth)
            if before is not None:
                turned[t] = _ones(a ^ before[0]) + _ones(b ^ before[1])
            before = a, b
        return cls(inside.view(np.uint64), outside.view(np.uint64), turned, samples)

    @staticmethod
    def complete(member: BoolArray) -> bool:
        """Whether all runs come in complete pairs."""
        groups = int(partitions(member).max()) + 1
        return bool(np.array_equal(np.bincount(tuples(member) + 1), [0] + [2] * groups))


def _ones(words: NDArray[np.uint8] | NDArray[np.uint64]) -> Int64Array:
    """Bits that are set, along the last axis."""
    return np.asarray(np.bitwise_count(words).sum(axis=-1, dtype=np.int64))


def by_tuple(rows: BoolArray, tuple_of: Int64Array) -> NDArray[np.float32]:
    """How many runs of each tuple have the sample: (R, n) bool, (R,) -> (U, n)."""
    order = np.argsort(tuple_of, kind="stable")
    starts = np.flatnonzero(np.diff(tuple_of[order], prepend=-1))
    wide = np.uint8 if np.bincount(tuple_of).max() < 256 else np.uint16
    return np.add.reduceat(rows[order].astype(wide), starts, axis=0).astype(np.float32)


def kept(weights: FloatArray) -> Int64Array:
    """The pairs that each replicate keeps, equally many: (B, U) of 0 and 1 -> (B, m)."""
    size = int(weights[0].sum()) if len(weights) else 0
    return np.nonzero(weights)[1].reshape(len(weights), size).astype(np.int64)


@short_repr
@dataclass(frozen=True, eq=False)
class LatticeSums:
    """Sums over samples of B replicates at T checkpoints: decisions, in whole numbers where counted.

    centre (B, T, 2) rates of non-members and members; cells (B, T, C) and moves (B, T, S, S)
    samples, at the first checkpoint from each region to itself; steps (B, T) lengths of the steps
    and squares (B, T) of their squares free of counting noise, 0 at the first.
    """

    centre: Float64Array
    cells: Int64Array
    moves: Int64Array
    steps: Float64Array
    squares: Float64Array


def lattice_sums(
    pairs: PackedPairs, chosen: Int64Array, table: NDArray[np.uint32], cells: int, regions: int
) -> LatticeSums:
    """Sums of replicates that keep the pairs `chosen` (B, m).

    table (m+1, m+1) by (non-members, members): region · 2¹⁶ + cell.
    """
    times, rows, words = pairs.inside.shape
    replicates, m = chosen.shape
    weights = np.zeros((replicates, rows), np.int64)
    np.put_along_axis(weights, chosen, 1, axis=1)
    root = np.sqrt(np.add.outer(np.arange(m + 1.0) ** 2, np.arange(m + 1.0) ** 2))
    count = np.zeros((replicates, times, cells), np.int64)
    moves = np.zeros((replicates, times, regions, regions), np.int64)
    steps, squares = np.zeros((replicates, times)), np.zeros((replicates, times), np.int64)
    compiled = kernel(
        "lattice_sums", "u8", "u8", int, int, int, int, "i8", int, "u4", "f8", int, int, int, int,
        "i8", "i8", "f8", "i8",
    )  # fmt: skip
    if compiled is not None:
        over_blocks(
            lambda first, last: compiled(
                pairs.inside, pairs.outside, times, rows, words, pairs.samples, chosen, m, table,
                root, cells, regions, first, last, count, moves, steps, squares,
            ),
            replicates,
            -(-replicates // threads()),
        )  # fmt: skip
    else:
        at = np.arange(replicates)[:, None]
        hits_in = hits_out = region = np.zeros((replicates, pairs.samples), np.int64)
        for t in range(times):
            before = hits_in, hits_out, region
            hits_in, hits_out = (
                _counted(a[t], weights, pairs.samples) for a in (pairs.inside, pairs.outside)
            )
            code = table[hits_out, hits_in].astype(np.int64)
            region = code >> 16
            count[:, t] = _histogram(at * cells + (code & 0xFFFF), (replicates, cells))
            origin = before[2] if t else region
            moved = (at * regions + origin) * regions + region
            moves[:, t] = _histogram(moved, (replicates, regions, regions))
            if t:
                d_in, d_out = np.abs(hits_in - before[0]), np.abs(hits_out - before[1])
                steps[:, t] = root[d_in, d_out].sum(axis=1)
                squares[:, t] = (d_in**2 + d_out**2).sum(axis=1)
    sides = [_ones(a) @ weights.T for a in (pairs.outside, pairs.inside)]
    return LatticeSums(
        np.stack(sides, axis=-1).swapaxes(0, 1) / m,
        count,
        moves,
        steps / m,
        (squares - weights @ pairs.turned.T) / max(m * (m - 1), 1),
    )


def _counted(rows: NDArray[np.uint64], weights: Int64Array, samples: int) -> Int64Array:
    """How many of a replicate's rows have each sample: (U, W) words, (B, U) -> (B, samples)."""
    bits = np.unpackbits(rows.view(np.uint8), axis=1, count=samples)
    # Whole numbers below 2²⁴, which 32-bit floats hold.
    return np.rint(weights.astype(np.float32) @ bits.astype(np.float32)).astype(np.int64)


def _histogram(values: Int64Array, shape: tuple[int, ...]) -> Int64Array:
    return np.bincount(values.ravel(), minlength=int(np.prod(shape))).reshape(shape)


def chosen_sets(
    pairs: PackedPairs, chosen: Int64Array, *, table: BoolArray | None = None, keep: int = 0
) -> Float64Array:
    """Sizes of V_t ∩ V_T, V_t, ∪V ∩ V_T, ∪V and V_T of replicates that keep `chosen` (B, m).

    V_t by table (m+1, m+1) of (non-members, members), else the `keep` samples that most members
    more than non-members call so, and all that tie with the last of them. -> (5, B, T).
    """
    times, rows, words = pairs.inside.shape
    replicates, m = chosen.shape
    compiled = kernel(
        "chosen_sets", "u8", "u8", int, int, int, "i8", int, int, int, "?", "u8", int, int, "f8"
    )  # fmt: skip
    tally = np.empty((5, replicates, times))
    if compiled is not None:
        valid = np.zeros(words * 8, np.uint8)
        packed = np.packbits(np.ones(pairs.samples, np.bool_))
        valid[: len(packed)] = packed
        held = np.zeros((1, 1), np.bool_) if table is None else table
        over_blocks(
            lambda first, last: compiled(
                pairs.inside, pairs.outside, times, rows, words, chosen, replicates, m, keep,
                held, valid.view(np.uint64), first, last, tally,
            ),
            replicates,
            -(-replicates // threads()),
        )  # fmt: skip
        return tally
    for b, mine in enumerate(chosen):
        weights = np.zeros((1, rows), np.int64)
        weights[0, mine] = 1
        sets = np.empty((times, pairs.samples), np.bool_)
        for t in range(times):
            hits_in, hits_out = (
                _counted(a[t], weights, pairs.samples)[0] for a in (pairs.inside, pairs.outside)
            )
            if table is not None:
                sets[t] = table[hits_out, hits_in]
            else:
                gain = hits_in - hits_out
                sets[t] = gain >= np.partition(gain, -keep)[-keep]
        tally[:, b] = tally_of(sets)
    return tally


def tally_of(sets: BoolArray) -> Float64Array:
    """Sizes of V_t ∩ V_T, V_t, ∪V ∩ V_T, ∪V and V_T of sets (T, N): (5, T)."""
    ever = np.logical_or.accumulate(sets)
    last = np.broadcast_to(sets[-1], sets.shape)
    both = (sets & last, sets, ever & last, ever, last)
    return np.array([np.count_nonzero(s, axis=1) for s in both], np.float64)
