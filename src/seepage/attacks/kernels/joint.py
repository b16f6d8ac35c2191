"""Two signals together: sums over samples, and log-ratios of bivariate laws of every target."""

from __future__ import annotations

import numpy as np

from seepage.array_types import BoolArray, Float64Array, Int64Array
from seepage.attacks.kernels.lanes import PART, chunks
from seepage.attacks.targets import Dropped
from seepage.native.library import contiguous, kernel, over_blocks

__all__ = ["joint_all", "joint_sums"]

_SUMS = 14


def joint_sums(values: Float64Array, member: BoolArray, drop: Int64Array) -> Float64Array:
    """Sums over samples for every set left out: (R, N, A, 2), (R, N), (E, K) -> (A, 2, 14, E).

    Of OUT and IN: the number of groups with two references or more; of those Σ Sxx, Σ Sxy, Σ Syy,
    Σ (n − 1), Σ 1/n, and of x, then of y, Σ v, Σ v² (n − 1)/(n + 1), Σ mean, Σ mean², with
    v = S/(n − 1).
    """
    call = kernel("joint_sums", "f8", "?", int, int, int, "i8", int, int, int, int, int, "f8")
    assert call is not None
    models, samples, views, _ = values.shape
    many, per = chunks(samples)
    out = np.zeros((many, views, 2, _SUMS, len(drop)))

    def part(first: int, last: int) -> None:
        call(values, member, models, samples, views, drop, *drop.shape, per, first, last, out)

    over_blocks(part, many, 1)
    return np.asarray(out.sum(axis=0))


def joint_all(
    values: Float64Array,
    member: BoolArray,
    drop: Dropped,
    rule: int,
    common: Float64Array,
    out: Float64Array,
) -> None:
    """Log-ratio of the laws of IN and OUT at every target's values, sums over views: out (R, N).

    values (R, N, A, 2), member (R, N). rule: COMMON, normal with the covariance in common
    (E, A, 2, 7)[..., 4:]; SHRUNKEN, Student-t with s, κ, m₀ (2), Σ̄ (xx, xy,
    yy) in common, as `seepage.attacks.Wishart` has it.
    """
    call = kernel("joint_all", "f8", "?", int, int, int, "i8", int, int, "i8", "i8", int,
                  "f8", int, int, "f8")  # fmt: skip
    assert call is not None
    models, samples, views, _ = values.shape
    sets, laws = drop.by_set(), contiguous(common, "f8")

    def part(first: int, last: int) -> None:
        call(values, member, models, samples, views, *sets, rule, laws, first, last, out)

    over_blocks(part, samples, PART)
