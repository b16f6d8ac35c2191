"""Which runs belong together: complementary tuples of a membership matrix, and what is left of them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from seepage.array_types import BoolArray, Int64Array
from seepage.given_arrays import given_bools
from seepage.plan.subsets import Groups, group_codes

__all__ = ["judged", "partitions", "permute_membership", "tuples"]

_HEADS = (16, 160)
# Rows that the search among scattered runs may look at: for one start, and for each run there is.
_FOR_START, _FOR_RUN = 256, 10
# Two independent runs that should share so many samples share none in one of e⁸ = 3,000 cases.
_TELLING = 8.0


def judged(member: BoolArray) -> BoolArray:
    """Which samples figures are about: IN some run and OUT some other, (R, N) bool -> (N,) bool.

    A sample that no run trained on, or every run, was not assigned at random: it may serve as
    population, but as a member or non-member it would tell of how it was chosen.

    >>> judged(np.array([[1, 0, 1], [0, 0, 1]], dtype=bool)).tolist()
    [True, False, False]
    """
    member = given_bools(member, "member")
    return np.asarray(member.any(axis=0) & ~member.all(axis=0))


def _words(member: BoolArray) -> NDArray[np.uint64]:
    """Membership as bits, 64 samples a word: (R, W)."""
    packed = np.packbits(member, axis=1)
    wide = np.zeros((len(member), -(-packed.shape[1] // 8) * 8), dtype=np.uint8)
    wide[:, : packed.shape[1]] = packed
    return wide.view(np.uint64)


def tuples(member: BoolArray) -> Int64Array:
    """The complementary tuple of every run, numbered from 0; −1 for a run that is in none.

    A complementary k-tuple are k ≥ 2 runs whose members partition the pool: every sample is IN
    exactly one of them. member (R, N) bool -> (R,) int64. A tuple of which a run failed is none;
    `partitions` keeps what is left of it together. Leave-out plans, where every sample is OUT of
    exactly one run, have none either, unless they have two folds.

    Plans store tuples one after the other, and so they are found first, if all runs are. Else
    pairs (2j, 2j + 1) are taken, then any other pair, then neighbours that partition the pool, then
    whatever a search among the scattered rest finds. Each run is used once. The search is bounded,
    so that thousands of runs that happen to be disjoint cannot hold it up.

    >>> tuples(np.array([[1, 0], [0, 1], [1, 1]], dtype=bool)).tolist()
    [0, 0, -1]
    >>> tuples(~np.eye(3, dtype=bool)).tolist(), tuples(np.eye(3, dtype=bool)).tolist()
    ([-1, -1, -1], [0, 0, 0])
    """
    member = given_bools(member, "member")
    models, samples = member.shape
    words = _words(member)
    sizes = member.sum(axis=1, dtype=np.int64)
    full = _words(np.ones((1, samples), dtype=np.bool_))[0]
    parts = _in_order(words, sizes, full, samples)
    if parts:
        return np.arange(models) // parts
    found: list[list[int]] = [
        [r, r + 1]
        for r in range(0, models - 1, 2)
        if sizes[r] + sizes[r + 1] == samples and (words[r] ^ words[r + 1] == full).all()
    ]
    free = np.ones(models, dtype=np.bool_)
    for kind in (_pairs, _neighbours, _scattered):
        free[[r for rows in found for r in rows]] = False
        found += kind(words, sizes, full, np.flatnonzero(free))
    number = np.full(models, -1, dtype=np.int64)
    for i, rows in enumerate(sorted(found, key=min)):
        number[rows] = i
    return number


def _in_order(
    words: NDArray[np.uint64], sizes: Int64Array, full: NDArray[np.uint64], samples: int
) -> int:
    """k where all runs are k-tuples one after the other, else 0."""
    parts = int(np.searchsorted(np.cumsum(sizes), samples)) + 1
    if parts < 2 or len(words) % parts or not sizes.all():
        return 0
    if (sizes.reshape(-1, parts).sum(axis=1) != samples).any():
        return 0
    union = np.bitwise_or.reduce(words.reshape(-1, parts, words.shape[1]), axis=1)
    # As many as there are samples, and every sample once at least: exactly once.
    return parts if (union == full).all() else 0


def _pairs(
    words: NDArray[np.uint64], sizes: Int64Array, full: NDArray[np.uint64], free: Int64Array
) -> list[list[int]]:
    """Complementary pairs among the free runs, each with the first that waits for it."""
    found = []
    waiting: dict[bytes, list[int]] = {}
    for r in free.tolist():
        partners = waiting.get((words[r] ^ full).tobytes())
        if partners:
            found.append([partners.pop(0), r])
        else:
            waiting.setdefault(words[r].tobytes(), []).append(r)
    return found


def _neighbours(
    words: NDArray[np.uint64], sizes: Int64Array, full: NDArray[np.uint64], free: Int64Array
) -> list[list[int]]:
    """Three or more neighbours among the free runs that partition the pool."""
    found = []
    first = 0
    while first < len(free):
        union, end = words[free[first]], first + 1
        while end < len(free) and sizes[free[end]] and not (union & words[free[end]]).any():
            union, end = union | words[free[end]], end + 1
            if (union == full).all():
                break
        if end - first >= 3 and sizes[free[first]] and (union == full).all():
            found.append(free[first:end].tolist())
            first = end
        else:
            first += 1
    return found


def _scattered(
    words: NDArray[np.uint64], sizes: Int64Array, full: NDArray[np.uint64], free: Int64Array
) -> list[list[int]]:
    """Three or more free runs, in any order, that partition the pool: bounded depth-first search.

    From each run on, the next one must hold the first sample that is missing and none that is not.
    """
    found: list[list[int]] = []
    rows = free[(sizes[free] > 0) & (words[free] != full).any(axis=1)]
    if len(rows) < 3 or (np.bitwise_or.reduce(words[rows], axis=0) != full).any():
        return found
    left = _FOR_RUN * len(rows) + _FOR_START
    while len(rows) >= 3 and left > 0:
        start, rows = int(rows[0]), rows[1:]
        path, unions = [start], [words[start]]
        choices = [_fitting(words, rows, unions[-1], full)]
        for _ in range(min(left, _FOR_START)):
            left -= 1
            row = next(choices[-1], None)
            if row is None:
                path.pop()
                unions.pop()
                choices.pop()
                if not path:
                    break
                continue
            path.append(row)
            unions.append(unions[-1] | words[row])
            if (unions[-1] == full).all():
                found.append(path)
                rows = rows[~np.isin(rows, path)]
                break
            choices.append(_fitting(words, rows, unions[-1], full))
    return found


def _fitting(
    words: NDArray[np.uint64],
    rows: Int64Array,
    union: NDArray[np.uint64],
    full: NDArray[np.uint64],
) -> Iterator[int]:
    """The rows that hold the first sample missing in the union and none that it has."""
    missing = full & ~union
    at = int((missing != 0).argmax())
    bit = missing[at] & (~missing[at] + np.uint64(1))
    holding = rows[(words[rows, at] & bit) != 0]
    return _apart(words, holding, union)


def _apart(words: NDArray[np.uint64], rows: Int64Array, union: NDArray[np.uint64]) -> Iterator[int]:
    """Which of the rows share no sample with the union, one by one."""
    done = 0
    for head in _HEADS:
        rows = rows[~(words[rows, done:head] & union[done:head]).any(axis=1)]
        done = head
    return (int(row) for row in rows if not (words[row, done:] & union[done:]).any())


def partitions(member: BoolArray) -> Int64Array:
    """The random partition of the pool that each run comes from: (R, N) -> (R,), from 0.

    Runs of one partition depend on each other, and are left out of the references together: the
    runs of a complementary tuple, and what is left of a tuple of which some runs failed. A run of
    a pair whose other run failed, like a run that was drawn alone, is a partition by itself.

    What is left of a k-tuple, k ≥ 3, still reveals membership: who is IN one of its runs is OUT of
    the others. Runs in no tuple are taken for such a rest when they share no sample where chance
    would have them share 8 or more (or, in a plan with complete k-tuples, k ≥ 3, when they share
    none).

    Samples that are IN no run, or in all, are not looked at.

    >>> from seepage.plan import subsets
    >>> member = subsets(60, models=6, parts=3).member
    >>> partitions(member).tolist(), partitions(member[1:]).tolist()
    ([0, 0, 0, 1, 1, 1], [0, 0, 1, 1, 1])
    """
    member = given_bools(member, "member")
    keep = judged(member)
    if keep.any() and not keep.all():
        size = member[:, keep].sum(axis=1)
        # A run with all of them, beside one with none, is no partition that was drawn.
        if ((size > 0) & (size < keep.sum())).all():
            member = member[:, keep]
    models, samples = member.shape
    number = tuples(member)
    first = np.arange(models)
    if models:
        leads = np.unique(number, return_index=True)[1]
        first = np.where(number >= 0, leads[number - number.min()], first)
    alone = np.flatnonzero(number < 0)
    if alone.size > 1:
        words, sizes = _words(member), member.sum(axis=1, dtype=np.int64)
        longest = int(np.bincount(number[number >= 0]).max()) if (number >= 0).any() else 0
        rests = np.zeros((alone.size, words.shape[1]), dtype=np.uint64)
        held = np.zeros(alone.size, dtype=np.int64)
        begin = np.zeros(alone.size, dtype=np.int64)
        count = 0
        for r in alone.tolist():
            telling = held[:count] * (int(sizes[r]) / samples) >= _TELLING
            if longest >= 3:
                telling |= held[:count] > 0
            # The latest first: what is left of a tuple lies side by side.
            at = next(_apart(rests, np.flatnonzero(telling)[::-1], words[r]), count)
            if at == count:
                begin[at] = r
                count += 1
            rests[at] |= words[r]
            held[at] += sizes[r]
            first[r] = begin[at]
    return np.unique(first, return_inverse=True)[1].reshape(-1).astype(np.int64)


def permute_membership(
    member: BoolArray, rng: np.random.Generator, groups: Groups | None = None
) -> BoolArray:
    """Membership redrawn as the plan would have drawn it: the null of every figure.

    Within each complementary tuple each sample's k entries are permuted, all orders alike (a
    pair's two are swapped with probability ½), so every sample stays IN equally often and tuples
    stay tuples. So are those within what is left of a tuple (`partitions`). Runs that are alone
    have their entries permuted among themselves. groups (N,): whose sample each is; all samples of
    a group then move together. The input is not changed.
    """
    member = given_bools(member, "member").copy()
    samples = member.shape[1]
    codes = None if groups is None else group_codes(groups, samples)[0]
    columns = samples if codes is None else int(codes.max()) + 1
    number = partitions(member)
    size = np.bincount(number)
    for i in np.flatnonzero(size > 1):
        rows = np.flatnonzero(number == i)
        if len(rows) == 2 and (member[rows[0]] ^ member[rows[1]]).all():
            swap = rng.random(columns) < 0.5
            member[rows] ^= swap if codes is None else swap[codes]
        else:
            member[rows] = _shuffled(member[rows], rng, codes, columns)
    alone = np.flatnonzero(size[number] == 1)
    if alone.size > 1:
        member[alone] = _shuffled(member[alone], rng, codes, columns)
    return member


def _shuffled(
    block: BoolArray, rng: np.random.Generator, codes: Int64Array | None, columns: int
) -> BoolArray:
    """The rows of each column in random order, the same for all columns of a group."""
    if codes is None:
        return np.asarray(rng.permuted(block, axis=0))
    order = np.tile(np.arange(len(block))[:, None], (1, columns))
    return np.asarray(np.take_along_axis(block, rng.permuted(order, axis=0)[:, codes], axis=0))
