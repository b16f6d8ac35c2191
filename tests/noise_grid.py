"""Signals that know nothing, and what attacks read on them: sizes, plans and the mean AUC over targets."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from oracles import null_signals, read_by
from seepage.attacks import Attack
from seepage.attacks.base import too_few
from seepage.attacks.reference_counts import references_by_sample
from seepage.errors import InputError
from seepage.metrics import operating_points
from seepage.plan import half_split, judged, subsets

B = np.ndarray
PLANS = ("pairs", "tuples", "coin flips")
GRID = list(itertools.product((6, 8, 16, 32), PLANS))


def planned(kind: str, models: int, samples: int, seed: int | None = None) -> B:
    """Membership (R, N): complementary pairs, tuples of 4 (of 3 where R is 6), or coin flips."""
    seed = models if seed is None else seed
    if kind == "pairs":
        return half_split(samples, models=models, seed=seed).member
    if kind == "tuples":
        parts = 4 if models % 4 == 0 else 3
        return subsets(samples, models=models, parts=parts, seed=seed).member
    return np.random.default_rng(seed).random((models, samples)) < 0.5


def enough(attack: Attack, member: B) -> B:
    """The samples that have the references it needs under coin flips, as many of either kind.

    Where one kind alone is cut off, what is left of coin flips is unbalanced, which is warned of.
    """
    need = max(attack.min_in, attack.min_out)
    keep = judged(member) if attack.min_in or attack.min_out else np.ones(member.shape[1], bool)
    for _ in range(5):
        n_in, n_out = references_by_sample(member[:, keep])
        short = np.minimum(n_in, n_out) < need
        if not short.any():
            break
        keep[np.flatnonzero(keep)[short]] = False
    return keep


def reads_on_noise(attack: Attack, models: int, plan: str, decisions: int) -> float | None:
    """Mean AUC over targets on signals that know nothing; None where the attack refuses the plan."""
    member = planned(plan, models, decisions // models)
    if plan == "coin flips":
        keep = enough(attack, member)
        # So many decisions are wanted of the samples that are left.
        more = int(decisions // models / max(keep.mean(), 0.1))
        member = planned(plan, models, more)
        member = member[:, enough(attack, member)]
    signals = null_signals(np.random.default_rng(models + len(plan)), member)
    if too_few(attack, member) is not None:
        with pytest.raises(InputError, match="references for every sample"):
            attack.leave_one_out(read_by(attack, signals), member)
        return None
    scores = attack.leave_one_out(read_by(attack, signals), member)
    return float(operating_points(scores, member, ()).auc.mean())
