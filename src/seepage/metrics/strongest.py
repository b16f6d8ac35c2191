"""The strongest of several attacks, with an interval that pays for having chosen it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from seepage.metrics.intervals import Estimate

__all__ = ["Strongest", "strongest"]


@dataclass(frozen=True)
class Strongest:
    """The attack with the largest figure of `compared` attacks, and an interval of that largest one."""

    attack: str
    estimate: Estimate
    compared: int


def strongest(found: Mapping[str, tuple[Estimate, Estimate]]) -> Strongest:
    """The largest of several attacks' figures, with an interval that pays for the choice.

    found: name -> the same figure with its interval at the level wanted, L, and at
    1 − (1 − L)/m, m attacks being compared.

    The figure is the largest mean. Its lower end is the largest lower end at the second level
    (Bonferroni): the best of m attacks exceeds chance by chance more often than a single one. Its
    upper end is the largest upper end at level L, and needs no such correction: whichever attack is
    truly the strongest, its own upper end is among those. NaN where an interval is missing.

    >>> a, b = Estimate(0.6, 0.58, 0.62, 0.95, 8), Estimate(0.61, 0.5, 0.7, 0.95, 8)
    >>> wide = Estimate(0.6, 0.57, 0.63, 0.975, 8), Estimate(0.61, 0.48, 0.72, 0.975, 8)
    >>> best = strongest({"lira": (a, wide[0]), "rmia": (b, wide[1])})
    >>> best.attack, best.estimate.low, best.estimate.high
    ('rmia', 0.57, 0.7)
    """
    name = max(found, key=lambda n: np.nan_to_num(found[n][0].mean, nan=-1.0))
    at = found[name][0]
    low = max(wide.low for _, wide in found.values())
    high = max(e.high for e, _ in found.values())
    if any(np.isnan([e.high for e, _ in found.values()] + [w.low for _, w in found.values()])):
        low = high = float("nan")
    return Strongest(name, Estimate(at.mean, low, high, at.level, at.groups), len(found))
