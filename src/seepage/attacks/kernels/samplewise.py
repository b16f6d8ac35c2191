"""Scores by ranks among others, and by ratios to what references give."""

from __future__ import annotations

import numpy as np

from seepage.array_types import BoolArray, Float64Array, FloatArray, Int64Array
from seepage.attacks.kernels.lanes import PART, compiled
from seepage.attacks.targets import Dropped
from seepage.metrics import operating_points
from seepage.native.library import contiguous, kernel, over_blocks

__all__ = [
    "ALL",
    "HALVES",
    "MIXED",
    "TEMPERED",
    "areas",
    "ascending",
    "empirical_all",
    "log_ratio_all",
    "merged_cdf",
    "middle_ranks",
    "shares_below",
]

HALVES, MIXED, ALL, TEMPERED = 0, 1, 2, 3


def ascending(x: Float64Array) -> Int64Array:
    """Positions of x (N,) in ascending order, of equal values the first ones first."""
    call = kernel("order_of", "f8", int, "i8")
    if call is None:
        return np.argsort(x, kind="stable")
    order = np.empty(len(x), dtype=np.int64)
    call(contiguous(x, "f8"), len(x), order)
    return order


def shares_below(values: Float64Array, slack: float, sample: Int64Array | None) -> None:
    """Row by row of values (R, N), in their place: the share of a sample at or below value + slack.

    sample: positions in the row, None for the whole row.
    """
    rows, count = values.shape
    call = kernel("shares_below", "f8", int, float, int, "i8", int, int)
    if call is None:
        for row in values:
            others = np.sort(row if sample is None else row[sample])
            row[:] = np.searchsorted(others, row + slack, side="right") / len(others)
        return
    weight = np.bincount([] if sample is None else sample, minlength=count).astype(np.int64)
    over_blocks(
        lambda a, b: call(values, count, slack, sample is None, weight, a, b), rows, 8
    )  # fmt: skip


def middle_ranks(values: Float64Array) -> Float64Array:
    """Row by row, the share below each value and half of what equals it: (R, N) -> (R, N).

    Of values none of which is NaN.
    """
    rows, count = values.shape
    out = np.empty(values.shape)
    call = kernel("middle_ranks", "f8", int, int, int, "f8")
    if call is not None:
        given = contiguous(values, "f8")
        over_blocks(lambda a, b: call(given, count, a, b, out), rows, 8)
        return out
    for row, found in zip(values, out, strict=True):
        order = np.sort(row)
        # What is looked for in order is found several times faster.
        turn = np.argsort(row)
        found[turn] = np.searchsorted(order, order, "left") + np.searchsorted(order, order, "right")
        found /= 2 * max(count, 1)
    return out


def areas(scores: Float64Array, member: BoolArray) -> Float64Array:
    """Area under the ROC of every row with members and non-members: (R, N), (R, N) -> (R,)."""
    call = kernel("areas", "f8", "?", int, int, int, "f8")
    if call is None:
        return operating_points(scores, member, ()).auc
    rows, count = scores.shape
    out = np.empty(rows)
    given, inside = contiguous(scores, "f8"), contiguous(member, "?")
    over_blocks(lambda a, b: call(given, inside, count, a, b, out), rows, 1024)
    return out


def merged_cdf(
    sample: Float64Array, order: Int64Array, x: Float64Array, low: float, high: float
) -> Float64Array:
    """Interpolated CDF of an ascending sample (Z,) at x (N,), x[order] ascending: (N,).

    Tied values share their mean rank; the anchors `low` and `high` stand for rank 0 and Z + 1.
    """
    call = kernel("merged_cdf", "f8", int, "i8", "f8", int, float, float, "f8")
    if call is not None:
        out = np.empty(len(x))
        given = contiguous(sample, "f8"), len(sample), order, contiguous(x, "f8"), len(x)
        call(*given, low, high, out)
        return out
    below, upto = (np.searchsorted(sample, x, side=side) for side in ("left", "right"))
    # Of the nearest value below and above: it, and the mean rank of its ties.
    under = np.concatenate([[low], sample])[below]
    over = np.concatenate([sample, [high]])[upto]
    starts, ends = (np.searchsorted(sample, v, side="left") for v in (under, over))
    first = np.where(below > 0, 0.5 * (starts + 1 + below), 0.0)
    stops = np.searchsorted(sample, over, side="right")
    second = np.where(upto < len(sample), 0.5 * (ends + 1 + stops), len(sample) + 1.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        rank = first + (x - under) / (over - under) * (second - first)
    rank = np.where(x <= under, first, np.where(x >= over, second, rank))
    rank = np.where(upto > below, 0.5 * (below + 1 + upto), rank)
    return np.asarray(rank / (len(sample) + 1))


def empirical_all(
    loss: FloatArray, member: BoolArray, drop: Dropped, low: float, high: float, out: Float64Array
) -> None:
    """Interpolated CDF of each sample's OUT losses (R, N, 1) at the target's: out (R, N).

    As `merged_cdf`, with the OUT references that each target has as the sample.
    """
    call = compiled("empirical_all", loss, "?", int, int, "i8", int, int, "i8", "i8", float, float,
                    int, int, "f8")  # fmt: skip
    models, samples = member.shape
    sets = drop.by_set()
    over_blocks(
        lambda a, b: call(loss, member, models, samples, *sets, low, high, a, b, out), samples, PART
    )


def log_ratio_all(
    loss: FloatArray, member: BoolArray, drop: Dropped, rule: int, a: float, out: Float64Array
) -> None:
    """log p_target − log p_references of every target, mean over views: (R, N, A) -> out (R, N).

    p = exp(−loss). rule HALVES: references are ½ (mean IN + mean OUT), or the one kind of which
    there are any; MIXED: ½ ((1 + a) mean OUT + 1 − a); ALL: the mean of all; TEMPERED: a times the
    log of the mean OUT. Where there are no references the score is 0.
    """
    call = compiled("log_ratio_all", loss, "?", int, int, int, "i8", int, int, "i8", "i8", int,
                    float, int, int, "f8")  # fmt: skip
    models, samples, views = loss.shape
    sets = drop.by_set()

    def part(first: int, last: int) -> None:
        call(loss, member, models, samples, views, *sets, rule, a, first, last, out)

    over_blocks(part, samples, PART)
