"""Time for a fleet: how many runs of a plan it allows, seen from those that have ended."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import final

from seepage.errors import InputError

__all__ = ["Budget"]

_PAIR = 2


@final
class Budget:
    """Seconds that a fleet may take, from the moment that this object is made.

    Runs are begun in the order of the plan's rows, pair by pair (rows 2j and 2j + 1): the first ones
    are measured, and another pair is begun where it would end in time if its runs take as long as
    the longest so far. The second of a pair is always begun after the first, of which nothing would
    be left otherwise. What still runs when the time is over is stopped; what it had saved stays.

    seconds: above 0. clock: what is read for the time.

    >>> now = [0.0]
    >>> budget = Budget(100.0, clock=lambda: now[0])
    >>> budget.workers = 2
    >>> now[0] = 30.0
    >>> budget.took(28.0), budget.took(30.0), budget.possible()
    (None, None, 6)
    >>> [budget.allows(row) for row in (2, 3, 4)]
    [True, True, True]
    >>> now[0] = 80.0
    >>> budget.allows(4), budget.allows(5), budget.over
    (False, True, False)
    """

    def __init__(self, seconds: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        if not 0 < seconds < float("inf"):
            raise InputError(f"seconds: expected a time above 0, got {seconds:g}")
        self.seconds, self.clock = float(seconds), clock
        self.ends = clock() + self.seconds
        self.workers = 1
        self.ended = 0
        self.longest: float | None = None

    @property
    def left(self) -> float:
        """Seconds that are left, at least 0."""
        return max(0.0, self.ends - self.clock())

    @property
    def over(self) -> bool:
        """Whether the time is over."""
        return self.left == 0.0

    def took(self, seconds: float) -> None:
        """A run has ended after so many seconds."""
        self.ended += 1
        self.longest = seconds if self.longest is None else max(self.longest, seconds)

    def allows(self, row: int) -> bool:
        """Whether the run of plan row `row` may begin now."""
        if self.over:
            return False
        if row % _PAIR or self.longest is None:
            return True
        return self.longest * -(-_PAIR // self.workers) <= self.left

    def possible(self) -> int | None:
        """How many runs will have ended at the end, whole pairs; None before one was measured."""
        if self.longest is None:
            return None
        more = int(self.left / self.longest) * self.workers if self.longest > 0 else 0
        return (self.ended + more) // _PAIR * _PAIR
