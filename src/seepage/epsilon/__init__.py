"""Lower bounds on ε from what an attack achieved, with what the choice of a threshold costs.

    bound = audit.multi_run(scores, member, delta=1e-5, threshold=audit.Bonferroni())
    bound = audit.one_run_from_scores(scores, member, guesses=(100, 1000), delta=1e-5)

A bound refutes smaller ε; it never shows that a model is private. Its level holds for independent
trials only, which scores pooled over leave-one-out targets are not: see `multi_run`.
"""

from __future__ import annotations

from seepage.epsilon.guesses import (
    Ends,
    Guessing,
    OneRunBound,
    Top,
    one_run,
    one_run_from_scores,
)
from seepage.epsilon.rates import Bound, gdp, multi_run
from seepage.epsilon.thresholds import Bonferroni, Explicit, Split, Threshold
from seepage.epsilon.trade_off import dp_region, gdp_delta, gdp_epsilon

__all__ = [
    "Bonferroni",
    "Bound",
    "Ends",
    "Explicit",
    "Guessing",
    "OneRunBound",
    "Split",
    "Threshold",
    "Top",
    "dp_region",
    "gdp",
    "gdp_delta",
    "gdp_epsilon",
    "multi_run",
    "one_run",
    "one_run_from_scores",
]
