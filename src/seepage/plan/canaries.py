"""Canaries: samples planted at random positions of a plan."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from seepage.errors import InputError
from seepage.given_arrays import given_array
from seepage.plan.subsets import Canaries, SubsetPlan

__all__ = ["plant_canaries"]


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

    >>> from seepage.plan import half_split
    >>> plan = plant_canaries(half_split(6, models=2), [0, 1, 0, 1, 0, 1], 2, mislabelled=2, seed=1)
    >>> plan.canaries.kind, plan.canaries.index.tolist(), plan.canaries.label.tolist()
    (('mislabelled', 'mislabelled'), [0, 2], [1, 1])
    """
    y = given_array(labels, "labels").astype(np.int64)
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
