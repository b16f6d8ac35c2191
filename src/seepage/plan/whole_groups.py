"""A plan and the groups of the data that it is for: subjects stay whole, and stay subjects."""

from __future__ import annotations

import numpy as np

from seepage.errors import InputError
from seepage.plan.subsets import Groups, SubsetPlan, group_codes

__all__ = ["refuse_split_groups"]


def refuse_split_groups(plan: SubsetPlan, groups: Groups | None) -> None:
    """Raise InputError where `plan` splits a group of the data, or has groups that the data lacks.

    groups (N,): whose sample each is, as the data says it. A run in which a subject lies on both
    sides has no truth about the subject, and a plan of whole subjects over data that do not name
    them would be judged by record.

    >>> from seepage.plan import half_split
    >>> refuse_split_groups(half_split(4, models=2, groups=["a", "a", "b", "b"]), None)
    Traceback (most recent call last):
        ...
    seepage.errors.InputError: plan: made of 2 groups, but the data have none, so that records would \
be judged in their place; give the data the same groups: dataclasses.replace(data, \
groups=numpy.array(groups, dtype=str)), or groups= where it is made
    """
    if groups is None:
        if "groups" in plan.options:
            raise InputError(
                f"plan: made of {plan.options['groups']} groups, but the data have none, so that records "
                "would be judged in their place; give the data the same groups: "
                "dataclasses.replace(data, groups=numpy.array(groups, dtype=str)), or groups= where it "
                "is made"
            )
        return
    codes, names = group_codes(groups, plan.samples)
    order = np.argsort(codes, kind="stable")
    sizes = np.bincount(codes)
    begin = np.cumsum(sizes) - sizes
    for row, member in enumerate(plan.member):
        inside = np.add.reduceat(member[order].astype(np.int64), begin)
        split = np.flatnonzero((inside > 0) & (inside < sizes))
        if split.size:
            g = int(split[0])
            raise InputError(
                f"plan: expected every group of the data whole on one side, got {names[g]!r} with "
                f"{inside[g]} of {sizes[g]} samples IN run {row}; make the plan with groups=data.groups, "
                "or take the groups off, dataclasses.replace(data, groups=None), where records are "
                "to be judged"
            )
