"""Who trains on what: the membership matrix alone says who is a member.

A balanced plan is built of *complementary tuples* of runs: the k runs of a tuple train on the k
parts of one random partition of the pool, so that every sample is IN exactly one of them. Pairs
(k = 2) train on the two halves. Leaving a target's whole tuple out of the references then leaves
every sample with equally many IN and OUT references, whatever the truth is. Leaving out the target
alone would not: under an exactly balanced plan the number of remaining IN references *is* the
target's membership, and a score reads it.

Where several samples belong to one subject, `groups` keeps them together: the pool is partitioned
by whole groups.
"""

from seepage.plan.adversary import distance_factor, pool_share
from seepage.plan.canaries import plant_canaries
from seepage.plan.inserted import insert_canaries
from seepage.plan.offline import refuse_offline
from seepage.plan.subsets import (
    Canaries,
    Groups,
    SubsetPlan,
    fixed_target,
    fresh_draws,
    group_codes,
    half_split,
    leave_out,
    subsets,
)
from seepage.plan.tuples import judged, partitions, permute_membership, tuples
from seepage.plan.whole_groups import refuse_split_groups

__all__ = [
    "Canaries",
    "Groups",
    "SubsetPlan",
    "distance_factor",
    "fixed_target",
    "fresh_draws",
    "group_codes",
    "half_split",
    "insert_canaries",
    "judged",
    "leave_out",
    "partitions",
    "permute_membership",
    "plant_canaries",
    "pool_share",
    "refuse_offline",
    "refuse_split_groups",
    "subsets",
    "tuples",
]
