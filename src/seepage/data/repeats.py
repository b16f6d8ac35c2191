"""Texts held several times on purpose, to see what copies in a training set cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from seepage.array_types import BoolArray, Int64Array
from seepage.data.dataset import Dataset
from seepage.errors import InputError

__all__ = ["FIRST", "copy_numbers", "one_of_each", "repeat"]

FIRST, _SIGN = 1, "#"
"""The number of a text's first copy; what stands before it in ids."""


def repeat(data: Dataset, counts: Sequence[int], *, seed: int = 0) -> Dataset:
    """The pool in which text π(i) is held counts[i mod K] times, π a permutation drawn by the seed.

    counts: K numbers of copies, at least 1 each. Every number of copies gets the same share of the pool, whatever
    its order. All copies of a text are one subject, in or out of a run together; what had a subject keeps
    it. Copies lie next to each other and their ids say which they are: "lists#1/4" to "lists#4/4"; `copy_numbers`
    and `one_of_each` read them. A run with such texts takes as many steps more as there are rows more,
    so that an epoch here is longer than in the pool without copies.

    Assumes a pool of texts without exact copies of its own, whose numbers are counted as if they were
    several texts (`drop_copies` leaves one of each). Raises InputError for numbers below 1, for other
    tasks than "language", and for ids that end so already.

    >>> from seepage.data import from_texts
    >>> data = repeat(from_texts(["to be", "or not"], ids=["a", "b"], context=8), [1, 2])
    >>> data.ids.tolist(), data.groups.tolist()
    (['a#1/1', 'b#1/2', 'b#2/2'], ['a', 'b', 'b'])
    >>> copy_numbers(data.ids).tolist(), one_of_each(data.ids).tolist()
    ([1, 2, 2], [0, 1])
    """
    if data.task != "language":
        raise InputError(
            f'data.repeats: expected with task = "language", got {data.task}; leave it out'
        )
    if not counts or any(not 1 <= c <= _MOST for c in counts):
        raise InputError(
            f"data.repeats: expected numbers of copies from 1 to {_MOST}, such as [1, 2, 4, 8], got "
            f"{list(counts)}"
        )
    if len(counts) > len(data):
        raise InputError(
            f"data.repeats: expected at most as many numbers as there are texts, {len(data)}, got "
            f"{len(counts)}"
        )
    if any(_parts(name) is not None for name in data.ids.tolist()):
        raise InputError("data.repeats: expected texts that are held once, got copies already")
    order = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(12,))).permutation(
        len(data)
    )
    times = np.empty(len(data), dtype=np.int64)
    times[order] = np.resize(np.asarray(counts, dtype=np.int64), len(data))
    rows = np.repeat(np.arange(len(data)), times)
    number = np.arange(len(rows)) - np.repeat(np.cumsum(times) - times, times) + FIRST
    ids = [
        f"{name}{_SIGN}{k}/{n}"
        for name, k, n in zip(
            data.ids[rows].tolist(), number.tolist(), times[rows].tolist(), strict=True
        )
    ]
    # Not by `take`: before they are named apart, copies have one id.
    return replace(
        data,
        inputs=data.rows(rows),
        labels=data.labels[torch.from_numpy(rows)],
        ids=np.array(ids, dtype=np.str_),
        groups=(data.ids if data.groups is None else data.groups)[rows].astype(np.str_),
        source={"repeat": {"counts": list(counts), "seed": int(seed)}, "of": data.source},
    )


_MOST = 1024


def _parts(name: str) -> tuple[int, int] | None:
    """Which copy of how many an id names; None where it names none."""
    k, _, n = name.rpartition(_SIGN)[2].partition("/")
    if _SIGN not in name or not (k.isdecimal() and n.isdecimal()):
        return None
    return int(k), int(n)


def copy_numbers(ids: Sequence[str] | np.ndarray) -> Int64Array:
    """How often each row's text is held, by the ids of `repeat`; 1 where they do not say: (N,)."""
    told = [_parts(str(name)) for name in ids]
    return np.array([1 if t is None else t[1] for t in told], dtype=np.int64)


def one_of_each(ids: Sequence[str] | np.ndarray) -> Int64Array:
    """Positions of first copies, by the ids of `repeat`: of a pool without copies all of them."""
    told = [_parts(str(name)) for name in ids]
    first: BoolArray = np.array([t is None or t[0] == FIRST for t in told], dtype=np.bool_)
    return np.flatnonzero(first).astype(np.int64)
