"""Inner loops of the population metrics: decisions stay packed, counts never leave the cache."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["accumulate", "look_up", "unit_counts"]

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]
U16 = NDArray[np.uint16]


@njit(nogil=True, cache=True)
def unit_counts(
    decisions: U8,
    before: U8,
    member: U8,
    unit: NDArray[np.int64],
    hits_in: F32,
    hits_out: F32,
    turns_in: F32,
    turns_out: F32,
) -> None:
    """What each pair of runs contributes to every sample's counts.

    decisions, before, member (R, ⌈n/8⌉) packed bits of this checkpoint, the one before, and the
    truth; unit (R,). Writes (U, n) float32: decisions "member" by side, and decisions that turned.
    """
    models = decisions.shape[0]
    samples = hits_in.shape[1]
    hits_in[:] = 0
    hits_out[:] = 0
    turns_in[:] = 0
    turns_out[:] = 0
    for r in range(models):
        u = unit[r]
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
def look_up(hits_in: F32, hits_out: F32, table: U16, out: U16) -> None:
    """Region of every point on the lattice of counts: (B, n), (B, n), (n_out+1, n_in+1)."""
    for b in range(hits_in.shape[0]):
        for i in range(hits_in.shape[1]):
            out[b, i] = table[int(hits_out[b, i]), int(hits_in[b, i])]


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
    centre: NDArray[np.float64],
    shares: NDArray[np.int64],
    cells: NDArray[np.int64],
    steps: NDArray[np.float64],
    squares: NDArray[np.float64],
    moves: NDArray[np.int64],
) -> None:
    """Adds one checkpoint of a block of samples to every replicate's sums.

    hits, turns, region, cell (B, n); n_in, n_out (B, n) or (1, n) targets counted over. Adds to
    centre (B, 2), shares (B, S), cells (B, C), and, when `moving`, to steps (B,) of ‖Δv‖, squares
    (B,) of its noise-free square, and moves (B, S, S).
    """
    row = 1 if n_in.shape[0] > 1 else 0
    for b in range(hits_in.shape[0]):
        sum_out = 0.0
        sum_in = 0.0
        step = 0.0
        square = 0.0
        for i in range(hits_in.shape[1]):
            m_in = np.float64(n_in[b * row, i])
            m_out = np.float64(n_out[b * row, i])
            y = hits_in[b, i] / m_in
            x = hits_out[b, i] / m_out
            sum_in += y
            sum_out += x
            shares[b, region[b, i]] += 1
            cells[b, cell[b, i]] += 1
            if moving:
                moves[b, region_before[b, i], region[b, i]] += 1
                d_in = np.float64(hits_in[b, i] - hits_in_before[b, i])
                d_out = np.float64(hits_out[b, i] - hits_out_before[b, i])
                step += np.sqrt((d_in / m_in) ** 2 + (d_out / m_out) ** 2)
                square += (d_in * d_in - turns_in[b, i]) / max(m_in * (m_in - 1), 1.0)
                square += (d_out * d_out - turns_out[b, i]) / max(m_out * (m_out - 1), 1.0)
        centre[b, 0] += sum_out
        centre[b, 1] += sum_in
        steps[b] += step
        squares[b] += square
