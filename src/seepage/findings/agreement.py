"""Whom a run's strongest attacks find, alone and together, and whether they find them again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from seepage.array_types import BoolArray, Float64Array
from seepage.findings.at_fpr import AtFpr
from seepage.findings.judging import Judging
from seepage.metrics import Agreement, Stability, agreement, called_members, decision_stability
from seepage.short_repr import short_repr
from seepage.store.files import plain

__all__ = ["AgreementFinding", "agreement_of", "by_low_fpr"]

AT = 0.01


@short_repr
@dataclass(frozen=True, eq=False)
class AgreementFinding:
    """What the strongest attacks of a run find at one FPR, at the last checkpoint.

    strongest_of: of how many attacks they were chosen, by the lower end of their TPR's interval.
    alone: the attack among them that finds most at the false-positive rate of their union, and how
    much; coverage is to be compared with that. stability: of each over models, () of a fixed target.
    """

    fpr: float
    found: Agreement
    strongest_of: int
    alone: tuple[str, float]
    stability: tuple[Stability, ...]

    def summary(self, patterns: int = 50) -> dict[str, Any]:
        """JSON types; of the sets of attacks the first few."""
        told = plain(self)
        for key in ("patterns", "inside", "outside"):
            told["found"][key] = told["found"][key][:patterns]
        return dict(told)


def by_low_fpr(rates: Mapping[str, AtFpr]) -> list[str]:
    """Attacks whose rate is resolved, by the lower end of its interval, then by the rate; largest first."""
    able = {a: r for a, r in rates.items() if r.resolved}
    return sorted(able, key=lambda a: (-float(np.nan_to_num(able[a].tpr.low)), -able[a].tpr.mean))


def agreement_of(
    scores: Mapping[str, Float64Array], judging: Judging, *, fpr: float = AT, most: int = 5
) -> AgreementFinding | None:
    """Agreement of the `most` strongest attacks at `fpr`, one threshold for all targets.

    scores: attack -> (R, N) of what `judging` counts. None where fewer than two attacks resolve the
    rate.
    """
    order = by_low_fpr({a: judging.pooled(s, [fpr])[0] for a, s in scores.items()})[:most]
    held = {a: judging.compared(scores[a]) for a in order}
    said: dict[str, BoolArray] = {}
    for a, (s, y) in held.items():
        called = called_members(s, y, fpr)
        if called is not None:
            said[a] = called
    if len(said) < 2:
        return None
    member = held[order[0]][1]
    found = agreement(said, member)
    return AgreementFinding(
        fpr=fpr,
        found=found,
        strongest_of=len(scores),
        alone=_alone([(a, held[a][0]) for a in said], member, found.false_coverage),
        stability=()
        if judging.target is not None
        else tuple(decision_stability(d, member) for d in said.values()),
    )


def _alone(
    scores: Sequence[tuple[str, Float64Array]], member: BoolArray, fpr: float
) -> tuple[str, float]:
    """The attack that finds the largest share of members at this realised FPR, and the share."""
    best = ("", -1.0)
    for name, s in scores:
        outside = np.sort(s[~member])[::-1]
        # As many non-members pass as the union calls members.
        passing = round(fpr * len(outside))
        cut = outside[passing] if passing < len(outside) else -np.inf
        share = float((s[member] > cut).mean())
        if share > best[1]:
            best = (name, share)
    return best
