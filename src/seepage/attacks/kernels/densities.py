"""Scores of every target under laws fitted to its references: normal, and Student-t."""

from __future__ import annotations

from seepage.array_types import BoolArray, Float64Array, FloatArray
from seepage.attacks.kernels.lanes import PART, compiled
from seepage.attacks.targets import Dropped
from seepage.native.library import contiguous, over_blocks

__all__ = [
    "COMMON",
    "ONE_SIDED",
    "ONLINE",
    "OWN",
    "SHRUNKEN",
    "TWO_SIDED",
    "normal_all",
    "student_all",
]

ONLINE, ONE_SIDED, TWO_SIDED = 0, 1, 2
OWN, COMMON, SHRUNKEN = 0, 1, 2

_BLOCK = ("?", int, int, int)  # membership, models, samples, views
_SETS = ("i8", int, int, "i8", "i8")  # drop, sets, room, order, begin


def normal_all(
    signal: FloatArray,
    member: BoolArray,
    drop: Dropped,
    rule: int,
    given: Float64Array,
    side: int,
    out: Float64Array,
    *,
    ddof: int = 0,
    median: bool = False,
) -> None:
    """Gaussian scores of every target, mean over views: (R, N, A), (R, N) -> out (R, N).

    rule: OWN, each sample's own variances with `ddof`; COMMON, those of given (E, A, 2, 2)[..., 0],
    OUT and IN; SHRUNKEN, (β + S/2)/(α + n/2) with α, β = given[..., 0], given[..., 1]. side: ONLINE
    log-ratio, ONE_SIDED standardised distance above OUT, TWO_SIDED minus the log-density under OUT.
    """
    kinds = (*_SETS, int, float, "f8", int, int, int, int, "f8")
    call = compiled("normal_all", signal, *_BLOCK, *kinds)
    models, samples, views = signal.shape
    sets, laws = drop.by_set(), contiguous(given, "f8")

    def part(first: int, last: int) -> None:
        call(signal, member, models, samples, views, *sets, rule, ddof, laws, median, side,
             first, last, out)  # fmt: skip

    over_blocks(part, samples, PART)


def student_all(
    signal: FloatArray,
    member: BoolArray,
    drop: Dropped,
    prior: Float64Array,
    constant: Float64Array,
    side: int,
    out: Float64Array,
) -> None:
    """Scores with the posterior predictive Student-t of a normal-inverse-gamma prior: out (R, N).

    prior (E, A, 2, 4): m₀, κ₀, α₀, β₀ of the OUT and IN group; constant (E, A, 2, R + 1):
    log Γ(α + ½) − log Γ(α) with α = α₀ + n/2, by the number n of references.
    """
    kinds = (*_SETS, "f8", "f8", int, int, int, "f8")
    call = compiled("student_all", signal, *_BLOCK, *kinds)
    models, samples, views = signal.shape
    sets, laws, table = drop.by_set(), contiguous(prior, "f8"), contiguous(constant, "f8")

    def part(first: int, last: int) -> None:
        call(signal, member, models, samples, views, *sets, laws, table, side, first, last, out)

    over_blocks(part, samples, PART)
