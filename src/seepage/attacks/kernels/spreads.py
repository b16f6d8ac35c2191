"""Sums and counts over samples of what common variances and priors need, for every target."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from seepage.array_types import BoolArray, Float64Array, FloatArray, Int64Array
from seepage.attacks.kernels.lanes import FLOOR, chunks, compiled
from seepage.native.library import contiguous, over_blocks

__all__ = [
    "MEANS",
    "MOMENTS",
    "OFFSET",
    "SPREADS",
    "SQUARES",
    "STILL",
    "WIDTH",
    "add_totals",
    "extremes",
    "group_totals",
    "no_totals",
    "summed",
]

# Columns of group_totals: groups, Σ SS, Σ (n−1), Σ mean, Σ mean², Σ s², Σ 1/n, Σ v, with v the
# variance of log s² under one true spread.
MOMENTS = 8
# Which of them are wanted: the first three; groups, v and the cells of log s²; all.
SQUARES, SPREADS, MEANS = 0, 1, 2
# log s², in units that scale with the signal, is counted in cells of this width; the offset keeps
# round values off their edges.
WIDTH, OFFSET = 0.0625, 0.01234567891
# A spread of so little beside the mean is the rounding of float32, not knowledge.
STILL = 4 * FLOOR


def extremes(signal: FloatArray, member: BoolArray) -> Float64Array:
    """Largest and smallest value of each model, OUT and IN: (R, A, 2, 2), −∞ and ∞ of none."""
    models, samples, views = signal.shape
    out = np.empty((models, views, 2, 2))
    call = compiled("extremes", signal, "?", int, int, int, int, "f8")
    over_blocks(lambda a, b: call(signal, member, samples, views, a, b, out), models, 8)
    return out


def group_totals(
    signal: FloatArray,
    member: BoolArray,
    drop: Int64Array,
    shift: Float64Array,
    chance: Float64Array,
    level: int,
    caps: Float64Array,
    capped: BoolArray,
    unit: Float64Array,
    lowest: Int64Array,
    number: int,
) -> tuple[Float64Array, NDArray[np.int64]]:
    """Sums (A, 2, MOMENTS, E) and cells (A, 2, E, number) for every set left out, group 1 = IN.

    `shift` (A,) is taken off the means before they are squared; chance (R + 1, 2) is the
    expectation and variance of log s² by n. Groups with fewer than 2 references count in none of
    the sums; beyond `SQUARES`, nor do those without a spread (`STILL`) or that stand at a cap:
    caps (E, A, 2, 2) are the largest and smallest values, capped (E, A, 2, 2) whether to look.
    Sums that `level` does not ask for stay 0.

    Cells are how many samples have log s², less its expectation and the unit (E, A, 2), in the
    cell lowest (E, A, 2) + b; the first and the last also hold what lies beyond.
    """
    _, samples, views = signal.shape
    many, per = chunks(samples)
    sums, cells = no_totals(many, views, len(drop), number)
    given = (shift, chance, level, caps, capped, unit, lowest, number)
    over_blocks(
        lambda a, b: add_totals(signal, member, drop, *given, per, a, b, sums, cells), many, 1
    )
    return summed(sums, cells)


def no_totals(
    many: int, views: int, sets: int, number: int
) -> tuple[Float64Array, NDArray[np.int32]]:
    """Sums and cells of so many chunks of samples, to add to."""
    sums = np.zeros((many, views, 2, MOMENTS, sets))
    return sums, np.zeros((many, views, 2, sets, number), dtype=np.int32)


def summed(sums: Float64Array, cells: NDArray[np.int32]) -> tuple[Float64Array, NDArray[np.int64]]:
    """Of all chunks together."""
    return sums.sum(axis=0), cells.sum(axis=0, dtype=np.int64)


def add_totals(
    signal: FloatArray,
    member: BoolArray,
    drop: Int64Array,
    shift: Float64Array,
    chance: Float64Array,
    level: int,
    caps: Float64Array,
    capped: BoolArray,
    unit: Float64Array,
    lowest: Int64Array,
    number: int,
    per: int,
    first: int,
    last: int,
    sums: Float64Array,
    cells: NDArray[np.int32],
) -> None:
    """Add the chunks first to last, of `per` samples each, to their own rows of sums and cells."""
    models, samples, views = signal.shape
    kinds = ("i8", int, int, "f8", "f8", int, "f8", "?", "f8", "i8")
    call = compiled(
        "group_totals", signal, "?", int, int, int, *kinds, int, int, int, int, "f8", "i4"
    )
    call(signal, member, models, samples, views, drop, *drop.shape, contiguous(shift, "f8"),
         contiguous(chance, "f8"), level, contiguous(caps, "f8"), contiguous(capped, "?"),
         contiguous(unit, "f8"), contiguous(lowest, "i8"), number, per, first, last,
         sums, cells)  # fmt: skip
