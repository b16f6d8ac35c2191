"""Canaries that are added to a pool: a coin of their own for each of them and each run."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from seepage.errors import InputError
from seepage.plan.subsets import Canaries, SubsetPlan

__all__ = ["insert_canaries"]


def insert_canaries(plan: SubsetPlan, canaries: Canaries, *, seed: int = 0) -> SubsetPlan:
    """The plan (R, N) of a pool with columns for the canaries added after it: (R, N + C).

    In run 2k each canary is IN by a fair coin of its own, independently; run 2k + 1, the other half of
    the pool, holds those that run 2k does not. So every run alone has independent fair coins, as the
    theorem behind ε from one run assumes, and pairs stay complementary on all that some run holds.
    Canaries with `repeats` of 0 are in no run. Membership and seeds of the others stay as they were.

    plan: of pairs of complementary halves. canaries: as `seepage.data.insert_texts` returns them, at
    positions N to N + C − 1. seed: of the coins; keep it from whoever guesses. Raises InputError for other plans,
    in which a canary would be IN with another probability than ½, and for other positions.

    >>> from seepage.plan import half_split
    >>> added = np.arange(4, 7)
    >>> own = Canaries(added, ("random",) * 3, added * 0, added * 0 - 1, np.array([1, 4, 0]), added * 0 + 1)
    >>> member = insert_canaries(half_split(4, models=2), own).member
    >>> member[:, 4:].sum(axis=0).tolist(), member.shape
    ([1, 1, 0], (2, 7))
    """
    if canaries.repeats is None or plan.canaries is not None:
        raise InputError(
            "canaries: expected those of seepage.data.insert_texts and a plan without any, got "
            + ("others" if canaries.repeats is None else "a plan that has some")
        )
    pairs = plan.models % 2 == 0 and bool((plan.member[0::2] ^ plan.member[1::2]).all())
    if not pairs:
        raise InputError(
            f"plan.canaries: expected a plan of pairs of halves, in which a fair coin says who holds a "
            f'canary, got {plan.kind}; set plan.kind = "half_split"'
        )
    n, count = plan.samples, len(canaries.index)
    if not np.array_equal(canaries.index, np.arange(n, n + count)):
        raise InputError(
            f"canaries: expected positions {n} to {n + count - 1}, after the {n} samples of the plan; make "
            "the plan for the pool without them"
        )
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(7,)))
    coins = rng.random((plan.models // 2, count)) < 0.5
    held = np.asarray(canaries.repeats) > 0
    own = np.stack([coins & held, ~coins & held], axis=1).reshape(plan.models, count)
    options = plan.options | {"inserted": {"canaries": int(held.sum()), "seed": seed}}
    if "groups" in options:
        options["groups"] += count
    return replace(
        plan,
        member=np.concatenate([plan.member, own], axis=1),
        options=options,
        canaries=canaries,
    )
