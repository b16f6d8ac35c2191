"""Signals that are read a block of samples at a time, for pools whose signals do not fit into memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from seepage.array_types import BoolArray, FloatArray, Int64Array
from seepage.attacks.kernels.lanes import LANES, chunks
from seepage.attacks.targets import each_row
from seepage.native.library import limited
from seepage.short_repr import short_repr

__all__ = ["Block", "BlockScorer", "Blocks"]

# Values of a signal that a thread holds at once: 64 MiB of float32.
_AT_ONCE = 2**24

BlockScorer = Callable[[Mapping[str, FloatArray], BoolArray, Int64Array], FloatArray]
"""Signals {name: (R, n, A)} and membership (R, n) of a block, and targets (G,): scores (G, n)."""


@dataclass(frozen=True, eq=False)
class Block:
    """Samples at positions `at` of those that are scored; chunk: the part of the pool they lie in."""

    at: slice
    chunk: int
    signals: Mapping[str, FloatArray]
    member: BoolArray


@short_repr
@dataclass(frozen=True, eq=False)
class Blocks:
    """Some samples of a pool, a block of them at a time.

    read: (first, last) -> {name: (R, last − first, A)} of the pool's samples; several threads call it.
    member (R, N) of the pool. rows: the positions that are scored, ascending; None for all.
    most: values of a signal that a thread holds at once, 2²⁴ unless given.
    """

    read: Callable[[int, int], Mapping[str, FloatArray]]
    member: BoolArray
    rows: Int64Array | None = None
    most: int | None = None

    @property
    def samples(self) -> int:
        """How many are scored."""
        return int(self.member.shape[1] if self.rows is None else len(self.rows))

    def signals(self, first: int, last: int) -> Mapping[str, FloatArray]:
        """Of the scored samples first to last."""
        if self.rows is None:
            return self.read(first, last)
        own = self.rows[first:last]
        begin = int(own[0])
        read = self.read(begin, int(own[-1]) + 1)
        return {name: np.ascontiguousarray(v[:, own - begin]) for name, v in read.items()}

    def inside(self, first: int, last: int) -> BoolArray:
        """Membership of the scored samples first to last: (R, last − first)."""
        at = slice(first, last) if self.rows is None else self.rows[first:last]
        return np.ascontiguousarray(self.member[:, at])

    def over(self, call: Callable[[Block], None]) -> None:
        """Call with every block, over threads; blocks of one chunk in order, by one thread.

        Chunks are those over which sums are made (`seepage.attacks.kernels.lanes.chunks`). The calls
        must not share what they write, but for blocks of one chunk. The first error is raised.
        """
        many, per = chunks(self.samples)
        values = sum(v.size for v in self.signals(0, 1).values())
        most = _AT_ONCE if self.most is None else self.most
        width = max(LANES, most // values // LANES * LANES)

        def one(chunk: int) -> None:
            stop = min((chunk + 1) * per, self.samples)
            with limited(threads=1):
                for first in range(chunk * per, stop, width):
                    last = min(first + width, stop)
                    read, member = self.signals(first, last), self.inside(first, last)
                    call(Block(slice(first, last), chunk, read, member))

        each_row(one, many)
