"""Every attack at the last checkpoint, and which of them is followed over training."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from seepage.array_types import Float64Array
from seepage.attacks import Attack, usual
from seepage.attacks.binding import ReadOnce
from seepage.errors import InputError
from seepage.findings.judging import Judging
from seepage.findings.result import AttackFinding
from seepage.findings.source import Progress, ReportSource
from seepage.metrics import EACH, Subjects, Unit
from seepage.plane import GlobalFPR, Rule
from seepage.scoring import applicable, score
from seepage.tokens import holds_tokens

__all__ = ["FPRS", "at_last_checkpoint", "main_attack", "rule_words"]


FPRS = (0.01, 0.001, 0.0001)
MAIN = ("lira", "rmia")


def at_last_checkpoint(
    run: ReportSource,
    attacks: Iterable[Attack] | None,
    judging: Judging,
    seed: int,
    say: Progress,
    unit: Unit = EACH,
) -> tuple[list[tuple[Attack, AttackFinding]], dict[str, str], dict[str, Float64Array]]:
    """Every attack at the last checkpoint; those that cannot be run, and why; their scores (R, N).

    run: by record; judging: of what `unit` counts, and scores are of it.
    """
    wanted = usual(tokens=holds_tokens(run)) if attacks is None else list(attacks)
    chosen, skipped = applicable(run, wanted)
    source = ReadOnce(run)
    redrawn = judging.redrawn(np.random.default_rng(seed))
    permuted = redrawn.member[:, unit.codes] if isinstance(unit, Subjects) else redrawn.member
    scores: dict[str, Float64Array] = {}
    null: dict[str, float] = {}
    run_here: list[Attack] = []
    for done, attack in enumerate(chosen):
        say("attacks", done, len(chosen))
        try:
            scores[attack.name] = score(source, attack, unit=unit)
        except InputError as error:
            # An attack that lacks what it needs in this run is left out and named.
            skipped[attack.name] = str(error)
            continue
        run_here.append(attack)
        (chance,) = redrawn.auc(score(source, attack, member=permuted, unit=unit))
        null[attack.name] = chance.mean
    if not run_here:
        reasons = "; ".join(f"{k}: {v}" for k, v in skipped.items())
        raise InputError(
            f"attacks: expected at least one that this run has the signals for, got none ({reasons})"
        )
    wide = 1 - 0.05 / len(run_here)
    found = [(a, _finding(a, scores[a.name], judging, null[a.name], wide)) for a in run_here]
    return found, skipped, scores


def _finding(
    attack: Attack, scores: Float64Array, judging: Judging, null_auc: float, wide: float
) -> AttackFinding:
    (auc, auc_wide), per_target = judging.areas_and_rates(scores, FPRS, 0.95, wide)
    curve = judging.curve(scores)
    return AttackFinding(
        name=attack.name,
        title=attack.title,
        auc=auc,
        auc_wide=auc_wide,
        null_auc=null_auc,
        per_target=per_target,
        pooled=judging.pooled(scores, FPRS),
        roc_fpr=curve.fpr,
        roc_tpr=curve.tpr,
    )


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
