"""Figures of a run whose scores do not fit into memory: groups of targets, then blocks of samples.

The same figures as `Judging` has of all scores at once. One pass over the signals for each group of
targets gives their AUC and rates, and of each group the largest scores of non-members are kept, from
which the threshold for all targets follows; one more pass counts what lies above it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from threading import Lock
from typing import Any

import numpy as np

from seepage.array_types import BoolArray, Float64Array, Int64Array
from seepage.attacks import Attack
from seepage.attacks.blocks import Block
from seepage.attacks.groups import GroupedScores
from seepage.attacks.targets import each_row
from seepage.data.free_memory import most_bytes
from seepage.findings.at_fpr import AtFpr
from seepage.findings.judging import Judging
from seepage.metrics import (
    Estimate,
    OperatingPoints,
    PooledRates,
    Subjects,
    Unit,
    counts_above,
    operating_points,
)
from seepage.metrics.pooling import given_rates
from seepage.plan import judged
from seepage.scoring import in_groups, large, ready

__all__ = ["InGroups", "figures_in_groups"]

# Scores of a group of targets that are held at once, in bytes, however much memory there is.
_ROOM = 2**32


@dataclass(frozen=True)
class InGroups:
    """AUC, rates at each target's own threshold, and under one threshold, at the FPRs asked for."""

    auc: Estimate
    rates: tuple[AtFpr, ...]
    pooled: tuple[AtFpr, ...]


def figures_in_groups(
    run: Any,
    attack: Attack,
    judging: Judging,
    fprs: Sequence[float],
    *,
    unit: Unit,
    model: str | None = None,
    room: int | None = None,
) -> InGroups | None:
    """Figures of an attack at the last checkpoint; None where its scores are held as a whole.

    That is where the run is small (`seepage.scoring.large`), the attack reads all samples at once, subjects are
    judged, or one target alone. room: bytes of scores that are held at once, by default a quarter of
    what memory is free, 4 GiB at most.
    """
    if isinstance(unit, Subjects) or judging.target is not None:
        return None
    bound, source = ready(run, attack, model=model)
    if not large(source, bound):
        return None
    grouped = in_groups(run, attack, model=model)
    return None if grouped is None else of_groups(grouped, judging, fprs, room)


def of_groups(
    grouped: GroupedScores, judging: Judging, fprs: Sequence[float], room: int | None = None
) -> InGroups:
    """Figures of scores that are computed in groups; see `figures_in_groups`."""
    member = grouped.member
    keep = judged(member)
    rows = slice(None) if keep.all() else np.flatnonzero(keep)
    together = min(_ROOM, most_bytes()) if room is None else room
    size = max(1, together // (8 * member.shape[1]))
    n_in = np.count_nonzero(member[:, rows], axis=1).astype(np.int64)
    n_out = int(np.count_nonzero(keep)) - n_in
    pooled = PooledRates(given_rates(fprs), int(n_in.sum()), int(n_out.sum()))
    points: list[OperatingPoints] = []
    for first in range(0, len(member), size):
        some = np.arange(first, min(first + size, len(member)))
        points += _taken(grouped.rows(some), member[some[0] : some[-1] + 1], rows, fprs, pooled)
    levels = pooled.levels()
    tp, fp = (np.zeros((len(member), *levels.shape), np.int64) for _ in range(2))
    held = Lock()
    at = keep if grouped.blocks.rows is None else keep[grouped.blocks.rows]

    def count(block: Block, scores: Float64Array) -> None:
        own = at[block.at]
        inside = block.member
        if not own.all():
            scores, inside = scores[:, own], inside[:, own]
        found = counts_above(scores, inside, levels)
        with held:
            np.add(tp, found[0], out=tp)
            np.add(fp, found[1], out=fp)

    grouped.over(count)
    each = _stacked(points)
    return InGroups(
        judging.over_targets(each.auc),
        judging.mean_rates(each, fprs),
        judging.pooled_rates(pooled, *pooled.counted(tp, fp, n_in, n_out)),
    )


def _taken(
    scores: Float64Array,
    member: BoolArray,
    rows: slice | Int64Array,
    fprs: Sequence[float],
    pooled: PooledRates,
) -> list[OperatingPoints]:
    """The points of each of some targets, which are then taken into `pooled`."""
    points: dict[int, OperatingPoints] = {}
    held = Lock()

    def one(i: int) -> None:
        s, y = scores[i][rows], member[i][rows]
        points[i] = operating_points(s[None], y[None], fprs)
        with held:
            pooled.take(s, y)

    each_row(one, len(scores))
    return [points[i] for i in range(len(scores))]


def _stacked(points: Sequence[OperatingPoints]) -> OperatingPoints:
    """Those of all targets, from those of one each."""
    whole = {f.name: [getattr(p, f.name) for p in points] for f in fields(OperatingPoints)}
    nominal = whole.pop("nominal")[0]
    return OperatingPoints(nominal=nominal, **{k: np.concatenate(v) for k, v in whole.items()})
