"""Every attack at the last checkpoint, and which of them is followed over training."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from seepage.array_types import BoolArray, Float64Array, Int64Array
from seepage.attacks import ATTACKS, Attack
from seepage.attacks.binding import ReadOnce
from seepage.errors import InputError
from seepage.findings.result import AtFpr, AttackFinding
from seepage.findings.source import Progress, ReportSource
from seepage.metrics import (
    operating_points,
    over_targets,
    pooled_by_target,
    pooled_points,
    roc,
    row_auc,
)
from seepage.plan import permute_membership
from seepage.plane import GlobalFPR, Rule
from seepage.scoring import applicable, score

__all__ = ["FPRS", "at_last_checkpoint", "main_attack", "rule_words"]


FPRS = (0.01, 0.001, 0.0001)
MAIN = ("lira", "rmia")


def at_last_checkpoint(
    run: ReportSource, attacks: Iterable[Attack] | None, seed: int, say: Progress
) -> tuple[list[tuple[Attack, AttackFinding]], dict[str, str], dict[str, Float64Array]]:
    """Every attack at the last checkpoint; those that cannot be run, and why; their scores."""
    wanted = [cls() for cls in ATTACKS.values()] if attacks is None else list(attacks)
    chosen, skipped = applicable(run, wanted)
    member = run.member
    source = ReadOnce(run)
    null = permute_membership(member, np.random.default_rng(seed))
    found: list[tuple[Attack, AttackFinding]] = []
    scores: dict[str, Float64Array] = {}
    for done, attack in enumerate(chosen):
        say("attacks", done, len(chosen))
        try:
            real = score(source, attack)
        except InputError as error:
            # An attack that lacks what it needs in this run is left out and named.
            skipped[attack.name] = str(error)
            continue
        scores[attack.name] = real
        chance = operating_points(score(source, attack, member=null), null, [FPRS[0]])
        found.append((attack, _finding(attack, real, member, float(chance.auc.mean()))))
    if not found:
        reasons = "; ".join(f"{k}: {v}" for k, v in skipped.items())
        raise InputError(
            f"attacks: expected at least one that this run has the signals for, got none ({reasons})"
        )
    return found, skipped, scores


def _finding(
    attack: Attack, scores: Float64Array, member: BoolArray, null_auc: float
) -> AttackFinding:
    each = operating_points(scores, member, FPRS)
    pool = pooled_points(scores, member, FPRS)
    added = pooled_by_target(scores, member, FPRS)
    per_target, pooled = [], []
    for k, fpr in enumerate(FPRS):
        per_target.append(
            AtFpr(
                fpr,
                over_targets(each.tpr[:, k], member),
                float(each.fpr[:, k].mean()),
                bool(each.resolved[:, k].all()),
            )
        )
        pooled.append(
            AtFpr(
                fpr,
                over_targets(added[:, k], member),
                float(pool.fpr[0, k]),
                bool(np.isfinite(added[:, k]).all()),
            )
        )
    curve = roc(scores.ravel(), member.ravel())
    kept = _thin(curve.fpr)
    return AttackFinding(
        name=attack.name,
        title=attack.title,
        auc=over_targets(each.auc, member),
        null_auc=null_auc,
        per_target=tuple(per_target),
        pooled=tuple(pooled),
        roc_fpr=curve.fpr[kept],
        roc_tpr=curve.tpr[kept],
        separation=row_auc(scores, member),
    )


def _thin(fpr: Float64Array, points: int = 160) -> Int64Array:
    """Indices of about `points` steps, even on a logarithmic FPR axis; both ends kept."""
    positive = fpr[fpr > 0]
    grid = np.concatenate([[0.0], np.geomspace(positive.min(), 1.0, points)])
    # The last step at or below each grid value: what is drawn was really reached.
    return np.unique(np.searchsorted(fpr, grid, side="right") - 1)


def main_attack(found: Sequence[tuple[Attack, AttackFinding]], main: str | None) -> Attack:
    """The one named `main`; unless named, LiRA, RMIA, one with a threshold of its own, or the first."""
    by_name = {a.name: a for a, _ in found}
    if main is not None:
        if main not in by_name:
            raise InputError(f"main: expected one of {', '.join(by_name)}, got {main!r}")
        return by_name[main]
    for name in (*MAIN, *(a.name for a, _ in found if a.threshold is not None)):
        if name in by_name:
            return by_name[name]
    return found[0][0]


def rule_words(rule: Rule, attack: Attack) -> str:
    """The rule by which a score becomes a decision, in words."""
    if isinstance(rule, GlobalFPR):
        return f"score above the level that {rule.fpr:.0%} of the other targets' non-members pass"
    return f"score of at least {attack.threshold:g}, the attack's own threshold"
