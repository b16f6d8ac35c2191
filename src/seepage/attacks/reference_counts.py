"""How many references of each kind a plan leaves every sample, and which models they are."""

from __future__ import annotations

import numpy as np

from seepage.array_types import BoolArray, Int64Array
from seepage.attacks.leaving import Way, way_of
from seepage.plan import judged, partitions
from seepage.plan.counting import how_many

__all__ = ["by_plan", "fewest_references", "reference_rows", "references_by_sample"]


def reference_rows(member: BoolArray) -> BoolArray:
    """Which models may serve as references of which target: (R, N) bool -> (R, R) bool.

    Row r leaves out r and its whole complementary tuple, or what is left of it (see
    `seepage.plan.partitions`), so that every sample keeps equally many IN and OUT references
    whatever its membership in r.
    """
    partition = partitions(member)
    return np.asarray(partition[:, None] != partition[None, :])


def fewest_references(member: BoolArray) -> tuple[int, int]:
    """The least IN and OUT references that any judged sample has for any target: (R, N) bool.

    Judged are the samples that are IN some run and OUT of some run (`seepage.plan.judged`); all,
    where none is. Targets of one tuple leave out the same runs: each tuple is counted once, and
    memory grows with R · N alone.

    >>> fewest_references(np.array([[1, 0], [0, 1], [1, 0], [0, 1]], dtype=bool))
    (1, 1)
    """
    partition = partitions(member)
    return _fewest(member, partition, way_of(member, partition))


def references_by_sample(member: BoolArray) -> tuple[Int64Array, Int64Array]:
    """The least IN and OUT references that each sample has for any target: (R, N) -> (N,), (N,).

    For samples that are IN some run and OUT of some run (`seepage.plan.judged`); others have
    fewer than none. As every target is scored, see `Attack.leave_one_out`.

    >>> member = np.array([[1, 0], [0, 1], [1, 0], [0, 1], [1, 1]], dtype=bool)
    >>> [n.tolist() for n in references_by_sample(member)]
    [[2, 2], [1, 1]]
    """
    partition = partitions(member)
    return by_plan(np.asarray(member, dtype=np.bool_), partition, way_of(member, partition))


def by_plan(member: BoolArray, partition: Int64Array, way: Way) -> tuple[Int64Array, Int64Array]:
    """`references_by_sample` where the plan's partitions (R,) and way are known."""
    total = how_many(member)
    if way == "matched":
        return total - 1, len(member) - total - 1
    n_in, n_out = total.copy(), len(member) - total
    order = np.argsort(partition, kind="stable")
    every = total.min(initial=1) > 0 and total.max(initial=0) < len(member)
    whole = np.bincount(partition, weights=np.count_nonzero(member, axis=1)) == len(total)
    done: set[int] = set()
    for rows in np.split(order, np.flatnonzero(np.diff(partition[order])) + 1):
        if every and whole[partition[rows[0]]]:
            # All complete tuples of one size leave out alike: each sample is IN one run of them.
            if len(rows) in done:
                continue
            done.add(len(rows))
        inside = total - how_many(member[rows])
        np.minimum(n_in, inside, out=n_in)
        np.minimum(n_out, len(member) - len(rows) - inside, out=n_out)
    return n_in, n_out


def _fewest(member: BoolArray, partition: Int64Array, way: Way) -> tuple[int, int]:
    keep = judged(member)
    if keep.any() and not keep.all():
        member = member[:, keep]
    n_in, n_out = by_plan(member, partition, way)
    return int(n_in.min()), int(n_out.min())
