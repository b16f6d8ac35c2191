"""Steps of a ROC curve at chosen false positives and its area, exactly, in bounded memory.

Scores are sorted by side, a range of them at a time, from the highest down, so that what is sorted
stays small beside the scores however many there are. Every count is a whole number, and equal
scores are never in two ranges.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from seepage.array_types import BoolArray, Float64Array, Int64Array
from seepage.errors import InputError
from seepage.native.library import contiguous, kernel
from seepage.short_repr import short_repr

__all__ = ["Steps", "area", "steps"]

Fewest = Callable[[int, int], Int64Array]

# Scores that are sorted at once: 256 MiB of them, with room for a quarter more.
_TOGETHER = 2**25
# Scores that the ranges are chosen by.
_LOOKED_AT = 2**17


@short_repr
@dataclass(frozen=True, eq=False)
class Steps:
    """Of F asked numbers of false positives: tp, fp (F,) counts and threshold (F,), the last step
    at which at most so many non-members pass; +inf where none may. twice_won: twice the number of
    pairs in which the member's score is higher, ties half; n_in, n_out.
    """

    tp: Int64Array
    fp: Int64Array
    threshold: Float64Array
    twice_won: int
    n_in: int
    n_out: int

    @property
    def area(self) -> float:
        """Area under the whole curve."""
        return self.twice_won / (2 * float(self.n_in) * float(self.n_out))


def steps(
    scores: Float64Array, member: BoolArray, most: Int64Array | Fewest, *, area: bool = True
) -> Steps:
    """The steps at which at most `most` (F,) non-members pass: scores (N,) without NaN, member (N,).

    most may be a function of the fewest false positives above none, as many as share the largest
    score of a non-member, and of all non-members. area: whether pairs are counted too, else
    `twice_won` is 0. Raises InputError when one side is missing.
    """
    n_in, n_out = _both(member)
    found = _Descent(most, n_in, n_out, area)
    borders = _borders(scores)
    room = np.empty(min(len(scores), _TOGETHER + _TOGETHER // 4))
    for low, high in zip(borders[-2::-1], borders[:0:-1], strict=True):
        inside, outside, equal = _sides(scores, member, float(low), float(high), room)
        inside.sort()
        outside.sort()
        found.take(inside, outside)
        found.take_equal(float(low), *equal)
    return found.finish()


def area(scores: Float64Array, member: BoolArray) -> float:
    """`Steps.area` alone, of scores (N,) without NaN and member (N,): equal to it, in half of its time.

    >>> area(np.array([0.1, 0.4, 0.4, 0.9]), np.array([False, False, True, True]))
    0.875
    """
    n_in, n_out = _both(member)
    if len(scores) > _TOGETHER:
        return steps(scores, member, np.empty(0, np.int64)).area
    inside, outside = np.sort(scores[member]), np.sort(scores[~member])
    return _twice_won(inside, outside) / (2 * float(n_in) * float(n_out))


def _both(member: BoolArray) -> tuple[int, int]:
    """Members and non-members; raises InputError when one side is missing."""
    n_in = int(np.count_nonzero(member))
    n_out = len(member) - n_in
    if not n_in or not n_out:
        raise InputError(
            f"member: expected members and non-members, got {n_in} of {len(member)} True; "
            "a target needs both to be scored"
        )
    return n_in, n_out


def _borders(scores: Float64Array) -> Float64Array:
    """Ascending borders of ranges of about equally many scores, −inf and +inf at the ends.

    A score that many share is a border itself, and is counted instead of kept.
    """
    parts = -(-len(scores) // _TOGETHER)
    looked = np.sort(scores[:: max(1, len(scores) // _LOOKED_AT)]) if parts > 1 else scores[:0]
    inner = looked[len(looked) * np.arange(1, parts) // parts]
    inner = np.unique(inner[np.isfinite(inner)])
    return np.concatenate([[-np.inf], inner, [np.inf]])


def _sides(
    scores: Float64Array, member: BoolArray, low: float, high: float, room: Float64Array
) -> tuple[Float64Array, Float64Array, list[int]]:
    """Members and non-members in (low, high), +inf included, and how many of each equal `low`."""
    compiled = kernel("side_scores", "f8", "?", int, float, float, int, int, "f8", "i8")
    top = high == np.inf
    if compiled is not None:
        found = np.empty(4, np.int64)
        s, y = contiguous(scores, "f8"), contiguous(member, "?")
        compiled(s, y, len(s), low, high, int(top), len(room), room, found)
        if found[0] + found[1] > len(room):  # more of one range than was looked at let expect
            room = np.empty(int(found[0] + found[1]))
            compiled(s, y, len(s), low, high, int(top), len(room), room, found)
        return room[: found[0]], room[len(room) - found[1] :], found[2:].tolist()
    within = (scores > low) & ((scores < high) | top)
    equal = scores == low
    counts = [int(np.count_nonzero(equal & side)) for side in (member, ~member)]
    return scores[within & member], scores[within & ~member], counts


def _twice_won(inside: Float64Array, outside: Float64Array) -> int:
    """Twice the pairs that members win, ties half, of ascending scores."""
    compiled = kernel("pairs_won", "f8", int, "f8", int, "i8")
    if compiled is not None:
        twice = np.empty(1, np.int64)
        compiled(inside, len(inside), outside, len(outside), twice)
        return int(twice[0])
    below, at_most = (np.searchsorted(outside, inside, side) for side in ("left", "right"))
    return int(below.sum() + at_most.sum())


def _at(ascending: Float64Array, places: Int64Array) -> Float64Array:
    """The scores at these places, +inf past the end."""
    if not len(ascending):
        return np.full(places.shape, np.inf)
    held = ascending[np.minimum(places, len(ascending) - 1)]
    return np.where(places < len(ascending), held, np.inf)


class _Descent:
    """What lies above the scores that were taken so far, which come from the highest down."""

    def __init__(self, most: Int64Array | Fewest, n_in: int, n_out: int, area: bool) -> None:
        self.n_in, self.n_out, self.area = n_in, n_out, area
        self.asked: Int64Array | Fewest = most
        self.most = np.empty(0, np.int64)
        self.tp_above = self.fp_above = self.twice = 0
        self.lowest = np.inf

    def take(self, inside: Float64Array, outside: Float64Array) -> None:
        """The next lower scores of either side, each ascending."""
        n, m = len(inside), len(outside)
        if not n and not m:
            return
        if m and not self.fp_above:
            self._begin(m - int(np.searchsorted(outside, outside[-1], "left")))
        if self.area:
            below = self.n_out - self.fp_above - m
            self.twice += _twice_won(inside, outside) + 2 * n * below
        here = (self.most >= self.fp_above) & (self.most < self.fp_above + m)
        if here.any():
            # The first non-member that may not pass: the step is the last score above it.
            first = outside[m - 1 - (self.most[here] - self.fp_above)]
            above_in = np.searchsorted(inside, first, "right")
            above_out = np.searchsorted(outside, first, "right")
            self.tp[here] = self.tp_above + n - above_in
            self.fp[here] = self.fp_above + m - above_out
            nearest = np.minimum(_at(inside, above_in), _at(outside, above_out))
            self.threshold[here] = np.minimum(nearest, self.lowest)
        self._passed(n, m, min([*inside[:1], *outside[:1]]))

    def take_equal(self, score: float, n: int, m: int) -> None:
        """The next lower score, which n members and m non-members share."""
        if not n and not m:
            return
        if m and not self.fp_above:
            self._begin(m)
        if self.area:
            self.twice += n * m + 2 * n * (self.n_out - self.fp_above - m)
        here = (self.most >= self.fp_above) & (self.most < self.fp_above + m)
        self.tp[here], self.fp[here] = self.tp_above, self.fp_above
        self.threshold[here] = self.lowest
        self._passed(n, m, score)

    def _begin(self, fewest: int) -> None:
        """The first non-members come, so many with the largest score."""
        asked = self.asked
        most = asked(fewest, self.n_out) if callable(asked) else asked
        self.most = np.asarray(most, np.int64)
        self.tp, self.fp = np.empty(self.most.shape, np.int64), np.empty(self.most.shape, np.int64)
        self.threshold = np.empty(self.most.shape)

    def _passed(self, n: int, m: int, lowest: float) -> None:
        self.tp_above, self.fp_above = self.tp_above + n, self.fp_above + m
        self.lowest = float(lowest)

    def finish(self) -> Steps:
        """All scores were taken: where all non-members may pass, everything does."""
        every = self.most >= self.n_out
        self.tp[every], self.fp[every] = self.n_in, self.n_out
        self.threshold[every] = self.lowest
        return Steps(self.tp, self.fp, self.threshold, self.twice, self.n_in, self.n_out)
