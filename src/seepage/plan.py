"""Who trains on what: the membership matrix is the only truth about who is a member.

A balanced plan is built of *complementary tuples* of runs: the k runs of a tuple train on the k
parts of one random partition of the pool, so that every sample is IN exactly one of them. Pairs
(k = 2) train on the two halves. Leaving a target's whole tuple out of the references then leaves
every sample with equally many IN and OUT references, whatever the truth is. Leaving out the target
alone would not: under an exactly balanced plan the number of remaining IN references *is* the
target's membership, and a score reads it.

Where several samples belong to one subject, `groups` keeps them together: the pool is partitioned
by whole groups.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seepage.array_types import BoolArray, Int64Array
from seepage.errors import InputError

__all__ = [
    "Canaries",
    "SubsetPlan",
    "fixed_target",
    "group_codes",
    "half_split",
    "leave_out",
    "partitions",
    "permute_membership",
    "plant_canaries",
    "subsets",
    "tuples",
]


Groups = Iterable[Any]
"""Whose sample each is: (N,) of anything hashable, a name or a number."""


@dataclass(frozen=True)
class Canaries:
    """Samples planted to be found: the worst case that an honest audit looks at.

    `index` (C,) are positions in the pool; `kind` (C,) says what was done to each: "mislabelled"
    (label replaced by `label`), "blank" (input set to zero) or "duplicated" (input and label
    copied from the position `source`, −1 for the other kinds). `label` (C,) is the label that the
    canary trains under. A plan only names them; `apply_canaries` of the data room makes the
    changed dataset.
    """

    index: Int64Array
    kind: tuple[str, ...]
    label: Int64Array
    source: Int64Array


@dataclass(frozen=True, eq=False)
class SubsetPlan:
    """Membership and seeds of every training run.

    member (R, N) bool; seeds (R,) uint64, one independent stream per run, spawned from `seed`;
    `kind` names the rule that made it. Two plans are equal when their digests are.
    """

    member: BoolArray
    seeds: NDArray[np.uint64]
    kind: str
    seed: int
    options: dict[str, Any] = field(default_factory=dict)
    canaries: Canaries | None = None

    def __post_init__(self) -> None:
        member = np.asarray(self.member)
        if member.ndim != 2 or member.dtype != np.bool_:
            raise InputError(
                f"member: expected bool of shape (models, samples), got {member.dtype} "
                f"of shape {member.shape}; pass a boolean matrix"
            )
        if len(self.seeds) != len(member):
            raise InputError(
                f"seeds: expected one per model ({len(member)}), got {len(self.seeds)}"
            )
        empty = np.flatnonzero(~member.any(axis=1))
        if empty.size:
            raise InputError(
                f"member: expected at least one member in every run, got none in run {empty[0]}; "
                "use more samples or fewer models"
            )

    @property
    def models(self) -> int:
        """Number of runs R."""
        return int(self.member.shape[0])

    @property
    def samples(self) -> int:
        """Size of the pool N."""
        return int(self.member.shape[1])

    @property
    def digest(self) -> str:
        """SHA-256 over membership, seeds and canaries."""
        h = hashlib.sha256()
        h.update(np.array(self.member.shape, dtype="<i8").tobytes())
        h.update(np.packbits(self.member, axis=1).tobytes())
        h.update(np.asarray(self.seeds, dtype="<u8").tobytes())
        if self.canaries is not None:
            c = self.canaries
            for a in (c.index, c.label, c.source):
                h.update(np.asarray(a, dtype="<i8").tobytes())
            h.update("\0".join(c.kind).encode())
        return h.hexdigest()

    def members(self, model: int) -> Int64Array:
        """Positions of the samples that run `model` trains on, ascending."""
        return np.flatnonzero(self.member[model]).astype(np.int64)


def _seeds(rng: np.random.SeedSequence, models: int) -> NDArray[np.uint64]:
    return np.array([s.generate_state(1, np.uint64)[0] for s in rng.spawn(models)], dtype=np.uint64)


def group_codes(groups: Groups, n: int | None = None) -> tuple[Int64Array, list[str]]:
    """Groups numbered by first occurrence: (N,) of anything hashable -> codes (N,), names (G,).

    n: how many there must be. Raises InputError on another number and on a missing name (None, an
    empty string, NaN).

    >>> codes, names = group_codes(["b", "a", "b"])
    >>> codes.tolist(), names
    ([0, 1, 0], ['b', 'a'])
    """
    if isinstance(groups, np.ndarray) and groups.ndim != 1:
        raise InputError(f"groups: expected one name per sample, got shape {groups.shape}")
    values = groups.tolist() if isinstance(groups, np.ndarray) else list(groups)
    if n is not None and len(values) != n:
        raise InputError(f"groups: expected one per sample ({n}), got {len(values)}")
    number: dict[Any, int] = {}
    codes = np.empty(len(values), dtype=np.int64)
    for i, value in enumerate(values):
        # NaN is the one value that differs from itself.
        if value is None or value == "" or value != value:
            raise InputError(
                f"groups: expected a name for every sample, got {value!r} at row {i}; give samples "
                "that belong to nobody a name of their own"
            )
        codes[i] = number.setdefault(value, len(number))
    return codes, [str(value) for value in number]


def _partition(
    rng: np.random.Generator, ends: Int64Array, codes: Int64Array | None
) -> list[Int64Array]:
    """Random parts of a pool: positions in each; ends (k,) is where each part ends, in samples.

    With groups, whole groups in random order are cut where the number of samples comes nearest to
    each end, at least one group a part. Groups of one sample each give the parts that no groups do.
    """
    if codes is None:
        return np.split(rng.permutation(int(ends[-1])), ends[:-1])
    sizes = np.bincount(codes)
    order = rng.permutation(len(sizes))
    total = np.concatenate([[0], np.cumsum(sizes[order])])
    place = np.empty(len(sizes), dtype=np.int64)
    place[order] = np.arange(len(sizes))
    cut = 0
    part = np.zeros(len(sizes), dtype=np.int64)
    for j, end in enumerate(ends[:-1].tolist()):
        at = int(np.searchsorted(total, end))
        at -= int(at > 0 and end - total[at - 1] <= total[at] - end)
        cut = min(max(at, cut + 1), len(sizes) - (len(ends) - 1 - j))
        part[cut:] = j + 1
    if sizes.max() > 1:
        # A large group lies in the middle more often than at the ends.
        part = rng.permutation(len(ends))[part]
    of = part[place[codes]]
    return [np.flatnonzero(of == j) for j in range(len(ends))]


def _codes(groups: Groups | None, n: int, parts: int, what: str) -> Int64Array | None:
    """Codes of groups for a plan, None without; refuses fewer groups than parts."""
    if groups is None:
        return None
    codes, names = group_codes(groups, n)
    if len(names) < parts:
        raise InputError(
            f"groups: expected at least {parts}, one for each of the {what}, got {len(names)}"
        )
    return codes


def _counted(options: dict[str, Any], codes: Int64Array | None) -> dict[str, Any]:
    return options if codes is None else options | {"groups": int(codes.max()) + 1}


def subsets(
    n: int, *, models: int, parts: int = 4, seed: int = 0, groups: Groups | None = None
) -> SubsetPlan:
    """Complementary tuples: every sample IN exactly 1/parts of the runs.

    Runs jk to jk + k − 1, k = `parts`, train on the k parts of a fresh random partition of the
    pool. n: samples in the pool; models: number of runs, a multiple of `parts`; one tuple is
    enough for what needs no references, an online attack needs as many IN references of every
    sample as `models`/parts − 1. groups (N,): whose sample each is; whole groups are assigned.

    Sizes of runs differ by at most one sample; with groups, each end of a part lies at the border
    of groups that is nearest in samples, so a run is off by at most the size of the largest group.
    The larger k, the less the membership of the others tells about a sample's own: k = 2 is
    `half_split`, and the same plan.

    >>> plan = subsets(6, models=6, parts=3)
    >>> plan.member.sum(axis=0).tolist(), plan.member.sum(axis=1).tolist()
    ([2, 2, 2, 2, 2, 2], [2, 2, 2, 2, 2, 2])
    """
    if parts < 2:
        raise InputError(f"parts: expected at least 2, got {parts}; 2 makes complementary halves")
    if models < parts or models % parts:
        raise InputError(
            f"models: expected a multiple of parts ({parts}) of at least {parts}, got {models}; "
            "runs come in complementary tuples"
        )
    if n < parts:
        raise InputError(
            f"n: expected at least {parts} samples, got {n}; a part of it would be empty"
        )
    codes = _codes(groups, n, parts, "parts")
    draw, runs = np.random.SeedSequence(seed).spawn(2)
    rng = np.random.default_rng(draw)
    member = np.zeros((models, n), dtype=np.bool_)
    for first in range(0, models, parts):
        # Who gets the odd samples moves on by one, so that run sizes do not drift within a tuple.
        ends = (np.arange(1, parts + 1) * n + first // parts % parts) // parts
        for j, rows in enumerate(_partition(rng, ends, codes)):
            member[first + j, rows] = True
    options = _counted({"models": models, "parts": parts}, codes)
    return SubsetPlan(member, _seeds(runs, models), "subsets", seed, options)


def half_split(n: int, *, models: int, seed: int = 0, groups: Groups | None = None) -> SubsetPlan:
    """Balanced half-splits: every sample IN exactly half of the runs, runs equal to one sample.

    n: samples in the pool; models: number of runs, even and at least 2. Runs 2k and 2k+1 are
    complementary halves of a fresh random permutation. groups (N,): as of `subsets`.

    >>> plan = half_split(7, models=4, seed=0)
    >>> plan.member.sum(axis=0).tolist()
    [2, 2, 2, 2, 2, 2, 2]
    >>> sorted(plan.member.sum(axis=1).tolist())
    [3, 3, 4, 4]
    """
    if models < 2 or models % 2:
        raise InputError(
            f"models: expected an even number of at least 2, got {models}; "
            "runs come in complementary pairs"
        )
    if n < 2:
        raise InputError(f"n: expected at least 2 samples, got {n}; a half of it would be empty")
    plan = subsets(n, models=models, parts=2, seed=seed, groups=groups)
    options = {name: v for name, v in plan.options.items() if name != "parts"}
    return replace(plan, kind="half_split", options=options)


def fixed_target(
    member: Sequence[bool] | BoolArray,
    *,
    models: int,
    seed: int = 0,
    groups: Groups | None = None,
) -> SubsetPlan:
    """Run 0 trains on a given member list; the other `models` runs are balanced half-splits.

    For auditing one model whose members are known. `models` counts the shadow models. groups (N,):
    as of `subsets`; a group that lies on both sides of the list is refused.

    >>> fixed_target([True, True, False, False], models=2).member.shape
    (3, 4)
    """
    row = np.asarray(member, dtype=np.bool_)
    if row.ndim != 1 or row.all() or not row.any():
        raise InputError(
            "member: expected a list with members and non-members, got "
            f"{int(row.sum())} of {row.size} True; a target needs both to be judged"
        )
    if groups is not None:
        codes, names = group_codes(groups, row.size)
        inside = np.bincount(codes, weights=row)
        split = np.flatnonzero((inside > 0) & (inside < np.bincount(codes)))
        if split.size:
            raise InputError(
                f"groups: expected every group whole on one side of the member list, got "
                f"{names[split[0]]!r} with {int(inside[split[0]])} of "
                f"{int((codes == split[0]).sum())} samples in; leave the rest of it out"
            )
    shadows = half_split(row.size, models=models, seed=seed, groups=groups)
    target_seed = _seeds(np.random.SeedSequence(seed, spawn_key=(2,)), 1)
    return SubsetPlan(
        np.concatenate([row[None], shadows.member]),
        np.concatenate([target_seed, shadows.seeds]),
        "fixed_target",
        seed,
        shadows.options,
    )


def leave_out(n: int, *, folds: int, seed: int = 0, groups: Groups | None = None) -> SubsetPlan:
    """`folds` runs, each without its own random n/folds of the pool; every sample OUT once.

    groups (N,): as of `subsets`.

    >>> leave_out(6, folds=3).member.sum(axis=0).tolist()
    [2, 2, 2, 2, 2, 2]
    """
    if not 2 <= folds <= n:
        raise InputError(f"folds: expected 2 to {n} (the samples), got {folds}")
    codes = _codes(groups, n, folds, "folds")
    draw, runs = np.random.SeedSequence(seed).spawn(2)
    ends = np.cumsum(n // folds + (np.arange(folds) < n % folds))
    member = np.ones((folds, n), dtype=np.bool_)
    for fold, part in enumerate(_partition(np.random.default_rng(draw), ends, codes)):
        member[fold, part] = False
    options = _counted({"folds": folds}, codes)
    return SubsetPlan(member, _seeds(runs, folds), "leave_out", seed, options)


def plant_canaries(
    plan: SubsetPlan,
    labels: ArrayLike,
    classes: int,
    *,
    mislabelled: int = 0,
    blank: int = 0,
    duplicated: int = 0,
    seed: int = 0,
) -> SubsetPlan:
    """The plan with canaries at random positions; membership and seeds stay as they were.

    labels (N,): labels of the pool; classes: their number K. Positions are drawn without
    replacement. A mislabelled canary gets a label uniform among the K−1 others; a blank one keeps
    its label; a duplicated one becomes a copy of a random position that is no canary itself (no
    position is copied twice). Membership of a duplicate and of its source are independent: a run
    without the one may still train on the same content through the other.

    >>> plan = plant_canaries(half_split(6, models=2), [0, 1, 0, 1, 0, 1], 2, mislabelled=2, seed=1)
    >>> plan.canaries.kind, plan.canaries.index.tolist(), plan.canaries.label.tolist()
    (('mislabelled', 'mislabelled'), [0, 2], [1, 1])
    """
    y = np.asarray(labels, dtype=np.int64)
    if y.shape != (plan.samples,):
        raise InputError(
            f"labels: expected one per sample of the plan ({plan.samples}), got shape {y.shape}"
        )
    counts = {"mislabelled": mislabelled, "blank": blank, "duplicated": duplicated}
    for kind, count in counts.items():
        if count < 0:
            raise InputError(f"{kind}: expected 0 or more canaries, got {count}")
    planted = sum(counts.values())
    if planted + duplicated > plan.samples or planted == 0:
        raise InputError(
            f"canaries: expected 1 to {plan.samples} positions (a duplicate needs two), got "
            f"{planted + duplicated}; plant fewer or use a larger pool"
        )
    if classes < 2 or y.min() < 0 or y.max() >= classes:
        raise InputError(
            f"labels: expected values in 0..{classes - 1} of at least two classes, got "
            f"{y.min()}..{y.max()}"
        )
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(3,)))
    order = rng.permutation(plan.samples)
    index = order[:planted]
    kinds = np.repeat(list(counts), list(counts.values()))
    label = y[index]
    wrong = kinds == "mislabelled"
    label[wrong] = (label[wrong] + rng.integers(1, classes, size=mislabelled)) % classes
    source = np.full(planted, -1, dtype=np.int64)
    copies = kinds == "duplicated"
    source[copies] = order[planted : planted + duplicated]
    label[copies] = y[source[copies]]
    by_position = np.argsort(index)
    return replace(
        plan,
        options=plan.options | {"canaries": counts | {"seed": seed}},
        canaries=Canaries(
            index[by_position].astype(np.int64),
            tuple(str(k) for k in kinds[by_position]),
            label[by_position],
            source[by_position],
        ),
    )


# Words of a row: most rows that are not disjoint are told from its head alone.
_HEADS = (16, 160)
# Rows that the search among scattered runs may look at: for one start, and for each run there is.
_FOR_START, _FOR_RUN = 256, 10
# Two independent runs that should share so many samples share none in one of e⁸ = 3,000 cases.
_TELLING = 8.0


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
    member = np.asarray(member, dtype=np.bool_)
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

    What is left of a k-tuple, k ≥ 3, still tells: who is IN one of its runs is OUT of the others.
    Runs in no tuple are taken for such a rest when they share no sample where chance would have
    them share 8 or more (or, in a plan with complete k-tuples, k ≥ 3, when they share none).

    >>> member = subsets(60, models=6, parts=3).member
    >>> partitions(member).tolist(), partitions(member[1:]).tolist()
    ([0, 0, 0, 1, 1, 1], [0, 0, 1, 1, 1])
    """
    member = np.asarray(member, dtype=np.bool_)
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
    member = np.array(member, dtype=np.bool_)
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
