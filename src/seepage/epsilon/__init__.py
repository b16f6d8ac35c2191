"""Lower bounds on ε from an attack's results, corrected for the choice of the threshold.

    bound = epsilon.multi_run(scores, member, delta=1e-5, threshold=epsilon.Bonferroni()) bound =
    epsilon.one_run_from_scores(scores, member, guesses=(100, 1000), delta=1e-5)

A bound refutes smaller ε; it never shows that a model is private. Its level holds for independent
trials only, which scores pooled over leave-one-out targets are not: see `multi_run`.
"""

from __future__ import annotations

from seepage.epsilon.multi_run import Bonferroni, Bound, Explicit, Split, Threshold, gdp, multi_run
from seepage.epsilon.one_run import (
    BothEnds,
    GuessStrategy,
    HighestOnly,
    OneRunBound,
    one_run,
    one_run_from_scores,
)
from seepage.epsilon.trade_off import dp_region, gdp_delta, gdp_epsilon

__all__ = [
    "Bonferroni",
    "BothEnds",
    "Bound",
    "Explicit",
    "GuessStrategy",
    "HighestOnly",
    "OneRunBound",
    "Split",
    "Threshold",
    "dp_region",
    "gdp",
    "gdp_delta",
    "gdp_epsilon",
    "multi_run",
    "one_run",
    "one_run_from_scores",
]
