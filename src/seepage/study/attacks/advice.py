"""Which attack to run, by what the attacker may see and how many models there are: a rule, no taste.

The rule, fixed before the first table was looked at but for three points. That of parts of the samples
came in last, when an attack on 500 samples was to be advised for a figure that no other had on them; two
between the first fleet's table and the second's: what knows more than its access says, and the second sentence of
strength, when attacks on one model were seen to find no more than noise at 1 % FPR:

- An attacker who may see `weights` or the `trajectory` sees scores too, and who sees scores sees
  labels. With a budget of models (the target is one of them) an attack is a *candidate* with as
  many of them as it was run with, and one that queries the target alone with any.
- What knows more than its access says is no candidate: `INFORMED`, of one who knows the other members.
- Nor is what was asked about a part of the samples of a fleet: its figures are of other samples than
  those of the rest, and how these differ can be more than what attacks do.
- What reads noise is none: an attack is left out whose AUC under permuted membership has an
  interval without ½ and lies more than .01 from it, on any fleet.
- An attack's *strength* is its TPR at 1 % FPR, mean over fleets. Where no candidate has more than
  noise has there, by its interval on every fleet, it is by how much the AUC exceeds ½. The strongest
  of a budget is the candidate of most strength at any number of models within it.
- *As good* is a candidate whose strength falls short of the strongest's by no more than `SLACK` of it
  on every fleet, or by no more than `WIDE` of it and what an interval over pairs does not tell from
  none.
- Advised is, of those, the one that asks least: fewest models, then fewest questions of a sample,
  then fewest seconds.

The strongest of many is strongest by chance in part: its own figure is a little too high. Attacks on
a part of the models have wider intervals, and are within `WIDE` more easily.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from seepage.metrics.intervals import reach

__all__ = [
    "ACCESS",
    "FROM_HALF",
    "MAIN",
    "SLACK",
    "WIDE",
    "Advice",
    "Candidate",
    "advise",
    "candidates",
    "reads_noise",
]

SLACK, WIDE = 0.02, 0.1
"""Of the strongest: differences that are no reason to ask for more, known and not known."""
FROM_HALF = 0.01
MAIN, ELSE = "tpr at 0.01", "auc"
NOISE = {MAIN: 0.01, ELSE: 0.5}
"""By what strength is told, and what noise reads there."""
INFORMED = ("iha",)

ACCESS: dict[str, tuple[str, ...]] = {
    "label": ("label",),
    "scores": ("label", "scores"),
    "trajectory": ("label", "scores", "trajectory"),
    "weights": ("label", "scores", "weights"),
}
"""What an attacker with each access may see."""


@dataclass(frozen=True)
class Candidate:
    """An attack with so many models: its results by fleet, and what it asks."""

    attack: str
    access: str
    models: int
    queries: int
    seconds: float
    found: Mapping[str, Mapping[str, Any]]

    def strength(self, figure: str) -> float:
        """TPR at 1 % FPR or AUC, mean over fleets."""
        return float(np.mean([f[figure]["value"] for f in self.found.values()]))

    @property
    def beats_noise(self) -> bool:
        """Whether its TPR at 1 % FPR is above 1 % on every fleet, by its interval."""
        return all((f[MAIN]["low"] or 0.0) > NOISE[MAIN] for f in self.found.values())

    @property
    def asks(self) -> tuple[int, int, float]:
        """Models, questions of a sample, seconds: what is compared, in this order."""
        return self.models, self.queries, self.seconds


@dataclass(frozen=True)
class Advice:
    """Of one access and budget: what to run, the strongest, and all that are as good, by a figure."""

    access: str
    budget: int
    figure: str
    run: Candidate
    strongest: Candidate
    as_good: tuple[Candidate, ...]


def reads_noise(figures: Mapping[str, Any]) -> bool:
    """Whether an attack is no attack: it finds members where there are none.

    >>> reads_noise({"null_auc": {"value": 0.52, "low": 0.517, "high": 0.523}})
    True
    """
    null = figures["null_auc"]
    if null["low"] is None:
        return False
    beside = not null["low"] <= 0.5 <= null["high"]
    return beside and abs(null["value"] - 0.5) > FROM_HALF


def candidates(results: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> list[Candidate]:
    """Every attack with every number of models that it was run with on all fleets.

    results: fleet -> attack -> what `measure` found. One that queries the target alone needs one.
    """
    fleets = list(results)
    whole = [max((r.get("samples", 0) for r in results[f].values()), default=0) for f in fleets]
    out = []
    for name in dict.fromkeys(a for of in results.values() for a in of if a not in INFORMED):
        of = [results[f].get(name) for f in fleets]
        if any(r is None or "lacks" in r for r in of):
            continue
        each: list[Mapping[str, Any]] = [r for r in of if r is not None]
        if any(r.get("samples", n) < n for r, n in zip(each, whole, strict=True)):
            continue
        first = each[0]
        alone = first["least"] == 1
        at = {str(first["models"]): each}
        for size in first.get("by_models", {}):
            at[size] = [r["by_models"][size] for r in each if size in r.get("by_models", {})]
        for size, found in at.items():
            usable = all(f[MAIN]["value"] is not None for f in found)
            if len(found) < len(fleets) or not usable or any(reads_noise(f) for f in found):
                continue
            out.append(
                Candidate(
                    name,
                    first["access"],
                    1 if alone else int(size),
                    first["queries"],
                    max(f["seconds"] for f in found) + first.get("measuring_seconds", 0.0),
                    dict(zip(fleets, found, strict=True)),
                )
            )
    return out


def advise(found: Sequence[Candidate], access: str, budget: int) -> Advice | None:
    """By the rule of this file; None where there is no candidate."""
    within = [c for c in found if c.access in ACCESS[access] and c.models <= budget]
    if not within:
        return None
    figure = MAIN if any(c.beats_noise for c in within) else ELSE
    strongest = max(within, key=lambda c: c.strength(figure))
    as_good = [
        c
        for c in within
        if all(_falls_short(c.found[f], strongest.found[f], figure) for f in c.found)
    ]
    good = sorted(as_good, key=lambda c: c.asks)
    return Advice(access, budget, figure, good[0], strongest, tuple(good))


def _falls_short(one: Mapping[str, Any], best: Mapping[str, Any], figure: str) -> bool:
    """By no more than the slack, or than an interval over pairs can tell."""
    floor = NOISE[ELSE] if figure == ELSE else 0.0
    short = best[figure]["value"] - one[figure]["value"]
    if short <= SLACK * (best[figure]["value"] - floor):
        return True
    if short > WIDE * (best[figure]["value"] - floor):
        return False
    a, b = (np.array(r["pairs"][figure], dtype=np.float64) for r in (best, one))
    # Other targets: no pairs to compare, so the two spreads add up.
    together = a.shape == b.shape
    spread = np.std(a - b, ddof=1) if together else np.hypot(np.std(a, ddof=1), np.std(b, ddof=1))
    groups = min(len(a), len(b))
    if groups < 3:
        return False
    return bool(short <= reach(groups, 0.95, shared=True) * spread / np.sqrt(groups))
