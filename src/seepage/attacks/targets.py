"""References as every target sees them: which it does without, and their means and scatter.

Sums over references are matrix products with the table of who may use whom. What a target does for
itself goes over threads, one target each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass

import numpy as np

from seepage.array_types import BoolArray, Float64Array, FloatArray, Int64Array
from seepage.native.library import threads

__all__ = ["Dropped", "Moments", "dropped", "each_row", "in_and_out", "kernel_ready"]


@dataclass(frozen=True, eq=False)
class Dropped:
    """Which references every target leaves out.

    sets (E, K): the distinct ones, model positions in ascending order with −1 for none, K the
    largest number, at least 2; which (R,): the set of each target. The targets of a tuple leave
    out the same models, so under complementary tuples all moments are needed once for all of them.
    targets (R,): which models they are; None for all.
    """

    sets: Int64Array
    which: Int64Array
    targets: Int64Array | None = None

    @property
    def rows(self) -> Int64Array:
        """Target by target: (R, K)."""
        return np.ascontiguousarray(self.sets[self.which])

    def of(self, targets: Int64Array) -> tuple[Dropped, Int64Array]:
        """Those of some targets alone, which `by_set` then names; and which of the sets they are (E',).

        >>> some, place = dropped(~np.eye(4, dtype=bool)).of(np.array([1, 3]))
        >>> some.by_set()[3:], place.tolist()
        ((array([1, 3]), array([0, 1, 2])), [1, 3])
        """
        place, which = np.unique(self.which[targets], return_inverse=True)
        chosen = targets if self.targets is None else self.targets[targets]
        sets = np.ascontiguousarray(self.sets[place])
        return Dropped(sets, which.reshape(-1).astype(np.int64), chosen), place

    def by_set(self) -> tuple[Int64Array, int, int, Int64Array, Int64Array]:
        """As kernels take them: sets, E, K, targets in the order of their sets (R,), and where
        those of each set begin (E + 1,)."""
        order = np.argsort(self.which, kind="stable")
        begin = np.concatenate([[0], np.cumsum(np.bincount(self.which, minlength=len(self.sets)))])
        order = order if self.targets is None else self.targets[order]
        return self.sets, *self.sets.shape, order, begin


def dropped(use: BoolArray) -> Dropped:
    """The models that each target leaves out; use (R, R) bool.

    >>> dropped(~np.eye(2, dtype=bool)).rows.tolist()
    [[0, -1], [1, -1]]
    """
    targets, gone = np.nonzero(~use)
    count = np.bincount(targets, minlength=len(use))
    rows = np.full((len(use), max(2, int(count.max(initial=0)))), -1, dtype=np.int64)
    place = np.arange(len(gone)) - np.repeat(np.cumsum(count) - count, count)
    rows[targets, place] = gone
    sets, which = np.unique(rows, axis=0, return_inverse=True)
    return Dropped(np.ascontiguousarray(sets), which.reshape(-1).astype(np.int64))


def kernel_ready(signal: FloatArray) -> FloatArray:
    """The signal as contiguous float32 or float64, copied only when it is neither."""
    if signal.dtype not in (np.float32, np.float64):
        signal = signal.astype(np.float64)
    return np.ascontiguousarray(signal)


CHUNK = 1 << 21


@dataclass(frozen=True, eq=False)
class Moments:
    """References of one kind as each target sees them: counts, means, scatter about the mean."""

    n: Float64Array  # (T, N, 1, 1)
    mean: Float64Array  # (T, N, A, D)
    scatter: Float64Array  # (T, N, A, D, D)

    @classmethod
    def of(cls, x: Float64Array, mask: BoolArray, use: BoolArray) -> Moments:
        """Of values (R, N, A, D) where `mask` (R, N), for targets that use (T, R) of them."""
        dims, weights = x.shape[-1], use.astype(np.float64)
        # Taken from a value of the group's own, so that a group without spread has exactly none.
        shift = np.take_along_axis(x, mask.argmax(axis=0)[None, :, None, None], axis=0)[0]
        d = np.where(mask[..., None, None], x - shift, 0.0)
        n = (weights @ mask.astype(np.float64))[..., None, None]
        count = np.maximum(n, 1.0)
        mean = np.tensordot(weights, d, axes=1) / count
        scatter = np.empty((*mean.shape, dims))
        for i in range(dims):
            for j in range(i + 1):
                cross = np.tensordot(weights, d[..., i] * d[..., j], axes=1)
                cross -= count[..., 0] * mean[..., i] * mean[..., j]
                scatter[..., i, j] = scatter[..., j, i] = cross
            np.maximum(scatter[..., i, i], 0.0, out=scatter[..., i, i])
        return cls(n, mean + shift, scatter)

    @property
    def variance(self) -> Float64Array:
        """Variance of the first feature with divisor n, (T, N, A)."""
        return np.asarray(self.scatter[..., 0, 0] / np.maximum(self.n[..., 0], 1.0))


def in_and_out(
    x: Float64Array, member: BoolArray, use: BoolArray
) -> Iterator[tuple[slice, Moments, Moments]]:
    """OUT and IN of a few samples at a time, so that the moments of all targets fit."""
    dims = x.shape[-1]
    width = max(1, CHUNK // (max(use.shape) * x.shape[2] * dims * (dims + 1)))
    for start in range(0, x.shape[1], width):
        part = slice(start, start + width)
        at, mask = x[:, part], member[:, part]
        yield part, Moments.of(at, ~mask, use), Moments.of(at, mask, use)


def each_row(call: Callable[[int], None], rows: int) -> None:
    """Call with 0 … rows − 1, on as many threads as kernels use; the first error is raised.

    The calls must not share what they write.
    """
    if threads() == 1 or rows == 1:
        for r in range(rows):
            call(r)
        return
    here = [copy_context() for _ in range(rows)]  # limits hold in other threads too
    with ThreadPoolExecutor(threads()) as pool:
        for _ in pool.map(lambda r: here[r].run(call, r), range(rows)):
            pass
