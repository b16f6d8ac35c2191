"""Runs whose members no other run trained on: targets that only an offline audit can judge."""

from __future__ import annotations

import numpy as np

from seepage.array_types import BoolArray
from seepage.errors import InputError
from seepage.given_arrays import given_bools
from seepage.plan.tuples import judged

__all__ = ["refuse_offline"]


def refuse_offline(member: BoolArray, where: str, *, figures: bool = True) -> None:
    """Raise InputError where membership (R, N) is that of an offline audit: not supported yet.

    A run is offline when none of its members was trained on by another run, while other runs share
    members among themselves: what tells its members from the rest is then how its pool was chosen,
    not that it trained on them. figures: whether a plan is refused too in which no sample is IN one
    run and OUT of another, so that there is nothing to judge.

    >>> refuse_offline(np.array([[1, 0, 0, 0], [0, 1, 1, 0], [0, 1, 0, 1]], dtype=bool), "plan")
    Traceback (most recent call last):
        ...
    seepage.errors.InputError: plan: expected every run to share members with others, got run 0, \
none of whose 1 members another run trained on; such a target is offline, which run folders \
cannot hold yet: leave it out, or pass its arrays to an offline attack's `score`
    """
    member = given_bools(member, "member")
    if figures and len(member) == 1:
        raise InputError(
            f"{where}: expected several runs, each judged by the others, got one; audit one model with "
            "`seepage audit MODEL --members … --others …` (docs/one-model.md)"
        )
    if figures and not judged(member).any():
        never, always = int((~member.any(axis=0)).sum()), int(member.all(axis=0).sum())
        raise InputError(
            f"{where}: expected samples that some runs trained on and others did not, got none: "
            f"{never} that no run trained on, {always} that every run did; a target whose "
            "references trained on other data is offline, which run folders cannot hold yet: pass "
            "its arrays to an offline attack's `score`"
        )
    inside = member.sum(axis=0)
    alone = np.flatnonzero(~(member & (inside > 1)).any(axis=1))
    if alone.size and alone.size < len(member):
        r = int(alone[0])
        more = "" if alone.size == 1 else f" ({alone.size} such runs)"
        raise InputError(
            f"{where}: expected every run to share members with others, got run {r}{more}, none of "
            f"whose {int(member[r].sum())} members another run trained on; such a target is offline, "
            "which run folders cannot hold yet: leave it out, or pass its arrays to an offline "
            "attack's `score`"
        )
