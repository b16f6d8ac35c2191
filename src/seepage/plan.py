"""Who trains on what: the membership matrix is the only truth about who is a member.

A balanced plan is built of *complementary pairs* of runs: run 2k trains on a random half of the
pool and run 2k+1 on the other half. Leaving a target and its twin out of the references then
leaves every sample with equally many IN and OUT references, whatever the truth is. Leaving out
the target alone would not: under an exactly balanced plan the number of remaining IN references
*is* the target's membership, and a score reads it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
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
    "half_split",
    "leave_out",
    "permute_membership",
    "plant_canaries",
    "twins",
]


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


def half_split(n: int, *, models: int, seed: int = 0) -> SubsetPlan:
    """Balanced half-splits: every sample IN exactly half of the runs, runs equal to one sample.

    n: samples in the pool; models: number of runs, even and at least 2. Runs 2k and 2k+1 are
    complementary halves of a fresh random permutation.

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
    root = np.random.SeedSequence(seed)
    draw, runs = root.spawn(2)
    rng = np.random.default_rng(draw)
    member = np.zeros((models, n), dtype=np.bool_)
    for pair in range(models // 2):
        # Alternate who gets the odd sample, so that run sizes do not drift with the pair's order.
        half = (n + pair % 2) // 2
        member[2 * pair, rng.permutation(n)[:half]] = True
        member[2 * pair + 1] = ~member[2 * pair]
    return SubsetPlan(member, _seeds(runs, models), "half_split", seed, {"models": models})


def fixed_target(member: Sequence[bool] | BoolArray, *, models: int, seed: int = 0) -> SubsetPlan:
    """Run 0 trains on a given member list; the other `models` runs are balanced half-splits.

    For auditing one model whose members are known. `models` counts the shadow models.

    >>> fixed_target([True, True, False, False], models=2).member.shape
    (3, 4)
    """
    row = np.asarray(member, dtype=np.bool_)
    if row.ndim != 1 or row.all() or not row.any():
        raise InputError(
            "member: expected a list with members and non-members, got "
            f"{int(row.sum())} of {row.size} True; a target needs both to be judged"
        )
    shadows = half_split(row.size, models=models, seed=seed)
    target_seed = _seeds(np.random.SeedSequence(seed, spawn_key=(2,)), 1)
    return SubsetPlan(
        np.concatenate([row[None], shadows.member]),
        np.concatenate([target_seed, shadows.seeds]),
        "fixed_target",
        seed,
        {"models": models},
    )


def leave_out(n: int, *, folds: int, seed: int = 0) -> SubsetPlan:
    """`folds` runs, each without its own random n/folds of the pool; every sample OUT once.

    >>> leave_out(6, folds=3).member.sum(axis=0).tolist()
    [2, 2, 2, 2, 2, 2]
    """
    if not 2 <= folds <= n:
        raise InputError(f"folds: expected 2 to {n} (the samples), got {folds}")
    draw, runs = np.random.SeedSequence(seed).spawn(2)
    order = np.random.default_rng(draw).permutation(n)
    member = np.ones((folds, n), dtype=np.bool_)
    for fold, part in enumerate(np.array_split(order, folds)):
        member[fold, part] = False
    return SubsetPlan(member, _seeds(runs, folds), "leave_out", seed, {"folds": folds})


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


def twins(member: BoolArray) -> Int64Array:
    """For every run the complementary one, or −1: (R, N) bool -> (R,) int64, an involution.

    Neighbours (2k, 2k+1) are matched first, then whatever else is complementary, each run once.

    >>> twins(np.array([[1, 0], [0, 1], [1, 1]], dtype=bool)).tolist()
    [1, 0, -1]
    """
    member = np.asarray(member, dtype=np.bool_)
    models = member.shape[0]
    twin = np.full(models, -1, dtype=np.int64)
    keys = [np.packbits(row).tobytes() for row in member]
    complements = [np.packbits(~row).tobytes() for row in member]
    for r in range(0, models - 1, 2):
        if keys[r] == complements[r + 1]:
            twin[r], twin[r + 1] = r + 1, r
    waiting: dict[bytes, list[int]] = {}
    for r in range(models):
        if twin[r] >= 0:
            continue
        partners = waiting.get(complements[r])
        if partners:
            s = partners.pop(0)
            twin[r], twin[s] = s, r
        else:
            waiting.setdefault(keys[r], []).append(r)
    return twin


def permute_membership(member: BoolArray, rng: np.random.Generator) -> BoolArray:
    """Membership redrawn as the plan would have drawn it: the null of every figure.

    Within each complementary pair each sample's two entries are swapped with probability ½, so
    every sample stays IN equally often and pairs stay pairs. Runs without a twin have their
    entries permuted among themselves, sample by sample. The input is not changed.
    """
    member = np.array(member, dtype=np.bool_)
    twin = twins(member)
    for r in np.flatnonzero(twin > np.arange(len(twin))):
        swap = rng.random(member.shape[1]) < 0.5
        member[r] ^= swap
        member[twin[r]] ^= swap
    alone = np.flatnonzero(twin < 0)
    if alone.size > 1:
        member[alone] = rng.permuted(member[alone], axis=0)
    return member
