"""Inner loops of the population metrics: decisions stay packed, counts never leave the cache."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from seepage.array_types import BoolArray, Float64Array, Int64Array

__all__ = ["accumulate", "accumulate_pairs", "look_up", "pair_counts", "tuple_counts"]

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]
U16 = NDArray[np.uint16]


@njit(nogil=True, cache=True)
def tuple_counts(
    decisions: U8,
    before: U8,
    member: U8,
    tuple_of: Int64Array,
    hits_in: F32,
    hits_out: F32,
    turns_in: F32,
    turns_out: F32,
) -> None:
    """Counts of every sample, by pair of runs.

    decisions, before, member (R, ⌈n/8⌉) packed bits of this checkpoint, the one before, and the
    truth; tuple_of (R,). Writes (U, n) float32: decisions "member" and changed decisions, over
    members and over non-members.
    """
    models = decisions.shape[0]
    samples = hits_in.shape[1]
    hits_in[:] = 0
    hits_out[:] = 0
    turns_in[:] = 0
    turns_out[:] = 0
    for r in range(models):
        u = tuple_of[r]
        for byte in range((samples + 7) // 8):
            said = decisions[r, byte]
            turned = said ^ before[r, byte]
            truth = member[r, byte]
            first = 8 * byte
            for j in range(min(8, samples - first)):
                bit = np.uint8(0x80 >> j)
                if said & bit:
                    if truth & bit:
                        hits_in[u, first + j] += np.float32(1)
                    else:
                        hits_out[u, first + j] += np.float32(1)
                if turned & bit:
                    if truth & bit:
                        turns_in[u, first + j] += np.float32(1)
                    else:
                        turns_out[u, first + j] += np.float32(1)


@njit(nogil=True, cache=True)
def pair_counts(
    first: U8,
    second: U8,
    first_before: U8,
    second_before: U8,
    member: U8,
    bits: F32,
    hits_in: F32,
    hits_out: F32,
    turns: F32,
) -> None:
    """`tuple_counts` for complementary pairs, eight samples at a time.

    first, second (U, ⌈n/8⌉) packed decisions of each pair's runs, now and before; member: of the
    first run, the second's is its complement. bits (256, 8): a byte's bits as floats. Writes
    (U, n) float32, n rounded up to whole bytes.
    """
    for u in range(first.shape[0]):
        for byte in range(first.shape[1]):
            a, b, truth = first[u, byte], second[u, byte], member[u, byte]
            inside = (a & truth) | (b & ~truth)
            outside = (b & truth) | (a & ~truth)
            turned_a = a ^ first_before[u, byte]
            turned_b = b ^ second_before[u, byte]
            at = 8 * byte
            for j in range(8):
                hits_in[u, at + j] = bits[inside, j]
                hits_out[u, at + j] = bits[outside, j]
                turns[u, at + j] = bits[turned_a, j] + bits[turned_b, j]


@njit(nogil=True, cache=True)
def accumulate_pairs(
    hits_in: F32,
    hits_out: F32,
    hits_in_before: F32,
    hits_out_before: F32,
    turns: F32,
    samples: int,
    pairs: int,
    table: NDArray[np.uint32],
    region: U16,
    region_before: U16,
    moving: bool,
    centre: Float64Array,
    cells: Int64Array,
    steps: Float64Array,
    squares: Float64Array,
    moves: Int64Array,
) -> None:
    """`accumulate` where every sample counts over the same number of targets on either side.

    table (pairs+1, pairs+1) uint32 by (hits_out, hits_in): region · 2¹⁶ + cell. Only the first
    `samples` columns count. Sums are whole numbers until the end, so their order is immaterial.
    """
    for b in range(hits_in.shape[0]):
        sum_in = 0
        sum_out = 0
        square = 0
        step = 0.0
        for i in range(samples):
            k_in = int(hits_in[b, i])
            k_out = int(hits_out[b, i])
            sum_in += k_in
            sum_out += k_out
            code = table[k_out, k_in]
            here = code >> 16
            region[b, i] = here
            cells[b, code & 0xFFFF] += 1
            d_in = k_in - int(hits_in_before[b, i])
            d_out = k_out - int(hits_out_before[b, i])
            length = d_in * d_in + d_out * d_out
            step += np.sqrt(np.float64(length))
            square += length - int(turns[b, i])
            moves[b, region_before[b, i] if moving else here, here] += 1
        centre[b, 0] += sum_out / pairs
        centre[b, 1] += sum_in / pairs
        if moving:
            steps[b] += step / pairs
            squares[b] += square / max(pairs * (pairs - 1), 1)


@njit(nogil=True, cache=True)
def look_up(hits_in: F32, hits_out: F32, chosen: BoolArray, out: BoolArray) -> None:
    """Whether each point of the lattice is chosen: (B, n), (B, n), (P+1, P+1) by (out, in)."""
    for b in range(out.shape[0]):
        for i in range(out.shape[1]):
            out[b, i] = chosen[int(hits_out[b, i]), int(hits_in[b, i])]


@njit(nogil=True, cache=True)
def accumulate(
    hits_in: F32,
    hits_out: F32,
    hits_in_before: F32,
    hits_out_before: F32,
    turns_in: F32,
    turns_out: F32,
    n_in: F32,
    n_out: F32,
    region: U16,
    region_before: U16,
    cell: U16,
    moving: bool,
    centre: Float64Array,
    cells: Int64Array,
    steps: Float64Array,
    squares: Float64Array,
    moves: Int64Array,
) -> None:
    """Adds one checkpoint of a block of samples to every replicate's sums.

    hits, turns, region, cell, n_in, n_out (B, n). Adds to centre (B, 2), cells (B, C), moves
    (B, S, S), at the first checkpoint from each region to itself, and, when `moving`, to steps (B,)
    of ‖Δv‖ and squares (B,) of its noise-free square.
    """
    for b in range(hits_in.shape[0]):
        sum_out = 0.0
        sum_in = 0.0
        step = 0.0
        square = 0.0
        for i in range(hits_in.shape[1]):
            m_in = np.float64(n_in[b, i])
            m_out = np.float64(n_out[b, i])
            y = hits_in[b, i] / m_in
            x = hits_out[b, i] / m_out
            sum_in += y
            sum_out += x
            cells[b, cell[b, i]] += 1
            moves[b, region_before[b, i] if moving else region[b, i], region[b, i]] += 1
            if moving:
                d_in = np.float64(hits_in[b, i] - hits_in_before[b, i])
                d_out = np.float64(hits_out[b, i] - hits_out_before[b, i])
                step += np.sqrt((d_in / m_in) ** 2 + (d_out / m_out) ** 2)
                square += (d_in * d_in - turns_in[b, i]) / max(m_in * (m_in - 1), 1.0)
                square += (d_out * d_out - turns_out[b, i]) / max(m_out * (m_out - 1), 1.0)
        centre[b, 0] += sum_out
        centre[b, 1] += sum_in
        steps[b] += step
        squares[b] += square
