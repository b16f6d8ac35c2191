"""What a run tells of sets of samples: how much of one was used, and whether any of a range was."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from seepage.array_types import Float64Array, Int64Array
from seepage.attacks import Attack, binding
from seepage.attacks.ranges import range_members, range_scores
from seepage.attacks.usage import Usage, usage
from seepage.errors import InputError
from seepage.findings.at_fpr import AtFpr
from seepage.findings.judging import target_row
from seepage.metrics import (
    Estimate,
    auc_interval,
    joint_rates,
    operating_points,
    over_targets,
    pooled_by_target,
    pooled_points,
)
from seepage.scoring import ready, score

if TYPE_CHECKING:
    from seepage.probes import Probe

__all__ = ["RangeFinding", "ranges_found", "used"]


def used(
    run: Any,
    attack: Attack,
    subset: ArrayLike,
    *,
    model: Any = None,
    probes: Sequence[Probe] = (),
) -> Usage:
    """`seepage.attacks.usage.usage` of an attack bound to a run, at the last checkpoint."""
    bound, source = ready(run, attack, model=model, probes=probes)
    return usage(bound, binding.inputs(bound, source, -1), np.asarray(run.member), subset)


@dataclass(frozen=True)
class RangeFinding:
    """An attack on ranges, at the last checkpoint: whether any sample of each was trained on.

    ranges, size: how many, of how many samples each; inside: ranges with a member, mean over
    targets; keep: share of highest scores that are averaged. rates: one threshold for all targets.
    """

    attack: str
    ranges: int
    size: int
    inside: float
    keep: float
    auc: Estimate
    rates: tuple[AtFpr, ...]


def ranges_found(
    run: Any,
    attack: Attack,
    rows: Int64Array,
    codes: Int64Array,
    *,
    keep: float = 0.5,
    fprs: tuple[float, ...] = (0.01, 0.001),
    model: Any = None,
    probes: Sequence[Probe] = (),
) -> RangeFinding:
    """An attack on ranges of a run's samples: `seepage.attacks.ranges`.

    rows (n,): positions of the samples that lie in a range, codes (n,): 0 … G − 1. Raises InputError
    where sizes differ, and where a target has no range without a member, or none with one.
    """
    # The ranges themselves are looked at before anything is scored.
    truth = range_members(np.asarray(run.member, dtype=np.bool_)[:, rows], codes)
    target = target_row(run)
    asked = slice(None) if target is None else slice(target, target + 1)
    own = truth[asked]
    if own.all(axis=1).any() or not own.any(axis=1).all():
        raise InputError(
            "ranges: expected ranges with members and ranges without for every target, got a target "
            f"with {int(own.sum(axis=1).max())} of {truth.shape[1]} that have some; use smaller ranges, "
            "or more of them"
        )
    scores = range_scores(score(run, attack, model=model, probes=probes)[:, rows], codes, keep=keep)
    auc, rates = (
        _of_all(scores, truth, run.member, fprs)
        if target is None
        else _of_one(scores[target], truth[target], fprs)
    )
    return RangeFinding(
        attack=attack.name,
        ranges=truth.shape[1],
        size=len(rows) // truth.shape[1],
        inside=float(own.sum(axis=1).mean()),
        keep=keep,
        auc=auc,
        rates=rates,
    )


def _of_all(
    scores: Float64Array, truth: Any, member: Any, fprs: tuple[float, ...]
) -> tuple[Estimate, tuple[AtFpr, ...]]:
    # Tuples of runs are told by the samples: ranges of complementary runs are not complementary.
    values = operating_points(scores, truth, [fprs[0]]).auc
    pool = pooled_points(scores, truth, fprs)
    added = pooled_by_target(scores, truth, fprs)
    rates = tuple(
        AtFpr(
            fpr=fpr,
            tpr=over_targets(added[:, k], member),
            realised=float(pool.fpr[0, k]),
            null=float(pool.null[0, k]),
            resolved=bool(np.isfinite(added[:, k]).all()),
            negatives=int(pool.n_out[0]),
        )
        for k, fpr in enumerate(fprs)
    )
    return over_targets(values, member), rates


def _of_one(
    scores: Float64Array, truth: Any, fprs: tuple[float, ...]
) -> tuple[Estimate, tuple[AtFpr, ...]]:
    found = joint_rates(scores, truth, fprs)
    rates = tuple(
        AtFpr(
            fpr=fpr,
            tpr=Estimate(
                float(found.tpr[k]),
                float(found.tpr_low[k]),
                float(found.tpr_high[k]),
                0.95,
                len(scores),
            ),
            realised=float(found.fpr[k]),
            null=float(found.null[k]),
            resolved=bool(found.resolved[k]),
            negatives=int((~truth).sum()),
            realised_low=float(found.fpr_low[k]),
            realised_high=float(found.fpr_high[k]),
        )
        for k, fpr in enumerate(fprs)
    )
    return auc_interval(scores, truth), rates
