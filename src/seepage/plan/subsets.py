"""Plans: complementary halves and tuples, fresh draws, a fixed target, parts left out; by sample or group."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seepage.array_types import BoolArray, Int64Array
from seepage.errors import InputError
from seepage.given_arrays import given_array, given_bools, given_numbers
from seepage.short_repr import short_repr

__all__ = [
    "Canaries",
    "Groups",
    "SubsetPlan",
    "fixed_target",
    "fresh_draws",
    "group_codes",
    "half_split",
    "leave_out",
    "subsets",
]

Groups = Iterable[Any]
"""Whose sample each is: (N,) of anything hashable, a name or a number."""


@short_repr
@dataclass(frozen=True)
class Canaries:
    """Planted samples: the most exposed case, which an honest audit includes.

    `index` (C,) are positions in the pool; `kind` (C,) says what was done to each: "mislabelled"
    (label replaced by `label`), "blank" (input set to zero) or "duplicated" (input and label
    copied from the position `source`, −1 for the other kinds). `label` (C,) is the label that the
    canary trains under. A plan only names them; `apply_canaries` of the data room makes the
    changed dataset.

    Texts that are no texts of the pool are added to it, by `seepage.data.insert_texts`: `repeats`
    (C,) says how often a training set holds each in every epoch if its coin is in, 0 for a text of
    the same form that no run holds, and `begin` (C,) at which token what is secret of it begins.
    """

    index: Int64Array
    kind: tuple[str, ...]
    label: Int64Array
    source: Int64Array
    repeats: Int64Array | None = None
    begin: Int64Array | None = None


@short_repr
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
        member = given_numbers(self.member, "member")
        if member.ndim != 2 or member.dtype != np.bool_:
            raise InputError(
                f"member: expected bool of shape (models, samples), got {member.dtype} "
                f"of shape {member.shape}; pass a boolean matrix"
            )
        seeds = given_numbers(self.seeds, "seeds")
        if seeds.shape != (len(member),):
            got = len(seeds) if seeds.ndim == 1 else f"an array of shape {seeds.shape}"
            raise InputError(f"seeds: expected one per model ({len(member)}), got {got}")
        if seeds.dtype.kind not in "iu":
            raise InputError(f"seeds: expected whole numbers, got {seeds.dtype}")
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
            if c.repeats is not None and c.begin is not None:
                for a in (c.repeats, c.begin):
                    h.update(np.asarray(a, dtype="<i8").tobytes())
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
    if not isinstance(groups, np.ndarray | Iterable) or isinstance(groups, str | bytes):
        raise InputError(f"groups: expected one name per sample, got {type(groups).__name__}")
    named = given_array(groups, "groups") if isinstance(groups, np.ndarray) else groups
    values = named.tolist() if isinstance(named, np.ndarray) else list(named)
    if n is not None and len(values) != n:
        raise InputError(f"groups: expected one per sample ({n}), got {len(values)}")
    number: dict[Any, int] = {}
    codes = np.empty(len(values), dtype=np.int64)
    for i, value in enumerate(values):
        # NaN is the one value that differs from itself.
        if not isinstance(value, Hashable):
            raise InputError(
                f"groups: expected a name or number for every sample, got {type(value).__name__} at "
                f"row {i}"
            )
        if value is None or value == "" or value != value:
            raise InputError(
                f"groups: expected a name for every sample, got {value!r} at row {i}; give samples "
                "without a subject a name of their own"
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


def fresh_draws(
    n: int, *, members: int, models: int, seed: int = 0, groups: Groups | None = None
) -> SubsetPlan:
    """Independent draws: every run trains on `members` random samples of a larger pool.

    For a pool much larger than what a model is trained on: the smaller members/n, the less knowing
    the pool helps (`distance_factor`). n: samples in the pool; members: of each run, 1 to n − 1;
    models: number of runs, any of at least 2. groups (N,): whole groups are drawn, in random order,
    up to where the number of samples comes nearest to `members`, at least one.

    A sample is IN about R · members / n runs, and how many differs by chance: check with
    `seepage.attacks.reference_counts.fewest_references` that an online attack has enough. Runs are in no
    complementary tuple, on purpose: the other runs are drawn without regard to the target, so that
    within one target the number of a sample's IN references says nothing of its membership.
    *Over* targets it does for one sample: those in which it is IN have one IN reference less. Where
    the shares are to be exactly equal, use `subsets(parts=n // members)`, whose number of runs is a
    multiple of `parts`.

    >>> plan = fresh_draws(100, members=10, models=20)
    >>> plan.member.sum(axis=1).tolist() == [10] * 20, plan.member.shape
    (True, (20, 100))
    """
    if models < 2:
        raise InputError(f"models: expected at least 2, got {models}; others are its references")
    if not 1 <= members < n:
        raise InputError(
            f"members: expected 1 to {n - 1} of the {n} samples, got {members}; a run trains on a "
            "part of the pool"
        )
    codes = _codes(groups, n, 2, "sides")
    draw, runs = np.random.SeedSequence(seed).spawn(2)
    rng = np.random.default_rng(draw)
    member = np.zeros((models, n), dtype=np.bool_)
    sizes = None if codes is None else np.bincount(codes)
    for row in member:
        if codes is None or sizes is None:
            row[rng.permutation(n)[:members]] = True
            continue
        order = rng.permutation(len(sizes))
        total = np.cumsum(sizes[order])
        nearest = int(np.abs(total - members).argmin()) + 1
        row[np.isin(codes, order[: min(nearest, len(sizes) - 1)])] = True
    options = _counted({"models": models, "members": members}, codes)
    return SubsetPlan(member, _seeds(runs, models), "fresh_draws", seed, options)


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
    row = given_bools(member, "member")
    if row.ndim != 1 or row.all() or not row.any():
        raise InputError(
            "member: expected a list with members and non-members, got "
            f"{int(row.sum())} of {row.size} True; a target needs both to be scored"
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
