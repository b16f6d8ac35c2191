"""Which attack to run, by what the attacker may see and how many models there are: a rule, no taste.

The rule, fixed before the first table was looked at:

- An attacker who may see `weights` or the `trajectory` sees scores too, and who sees scores sees
  labels. With a budget of models (the target is one of them) an attack is a *candidate* with as
  many of them as it was run with, and one that queries the target alone with any.
- What reads noise is none: an attack is left out whose AUC under permuted membership has an
  interval without ½ and lies more than .01 from it, on any fleet.
- An attack's *strength* is its TPR at 1 % FPR, mean over fleets. The strongest of a budget is the
  candidate of most strength at any number of models within it.
- *As good* is a candidate whose TPR falls short of the strongest's by no more than `SLACK` of it on
  every fleet, or by no more than `WIDE` of it and what an interval over pairs does not tell from none.
- Advised is, of those, the one that asks least: fewest models, then fewest questions of a sample,
  then fewest seconds.

The strongest of many is strongest by chance in part: its own figure is a little too high. Attacks on
a part of the models or samples have wider intervals, and are within `WIDE` more easily.
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
    "SLACK",
    "WIDE",
    "Advice",
    "Candidate",
    "advise",
    "candidates",
    "reads_noise",
]

SLACK, WIDE = 0.02, 0.1
"""Of the strongest TPR: differences that are no reason to ask for more, known and not known."""
FROM_HALF = 0.01
MAIN = "tpr at 0.01"

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

    @property
    def strength(self) -> float:
        """TPR at 1 % FPR, mean over fleets."""
        return float(np.mean([f[MAIN]["value"] for f in self.found.values()]))

    @property
    def asks(self) -> tuple[int, int, float]:
        """Models, questions of a sample, seconds: what is compared, in this order."""
        return self.models, self.queries, self.seconds


@dataclass(frozen=True)
class Advice:
    """Of one access and budget: what to run, the strongest, and all that are as good."""

    access: str
    budget: int
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
    out = []
    for name in dict.fromkeys(a for of in results.values() for a in of):
        of = [results[f].get(name) for f in fleets]
        if any(r is None or "lacks" in r for r in of):
            continue
        each: list[Mapping[str, Any]] = [r for r in of if r is not None]
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
                    max(f["seconds"] for f in found),
                    dict(zip(fleets, found, strict=True)),
                )
            )
    return out


def advise(found: Sequence[Candidate], access: str, budget: int) -> Advice | None:
    """By the rule of this file; None where there is no candidate."""
    within = [c for c in found if c.access in ACCESS[access] and c.models <= budget]
    if not within:
        return None
    strongest = max(within, key=lambda c: c.strength)
    good = sorted((c for c in within if _as_good(c, strongest)), key=lambda c: c.asks)
    return Advice(access, budget, good[0], strongest, tuple(good))


def _as_good(one: Candidate, best: Candidate) -> bool:
    return all(_falls_short(one.found[f], best.found[f]) for f in best.found)


def _falls_short(one: Mapping[str, Any], best: Mapping[str, Any]) -> bool:
    """By no more than the slack, or than an interval over pairs can tell."""
    short = best[MAIN]["value"] - one[MAIN]["value"]
    if short <= SLACK * best[MAIN]["value"]:
        return True
    if short > WIDE * best[MAIN]["value"]:
        return False
    a, b = (np.array(r["pairs"][MAIN], dtype=np.float64) for r in (best, one))
    # Other targets: no pairs to compare, so the two spreads add up.
    together = a.shape == b.shape
    spread = np.std(a - b, ddof=1) if together else np.hypot(np.std(a, ddof=1), np.std(b, ddof=1))
    groups = min(len(a), len(b))
    if groups < 3:
        return False
    return bool(short <= reach(groups, 0.95, shared=True) * spread / np.sqrt(groups))
