"""Lower bounds on ε from an attack's results, and upper ones from an accountant, on one plane.

    bound = epsilon.multi_run(scores, member, delta=1e-5, threshold=epsilon.Bonferroni())
    bound = epsilon.one_run_from_scores(scores, member, guesses=(100, 1000), delta=1e-5)
    curve = epsilon.dp_sgd(noise=1.0, rate=0.01, steps=1000)

A lower bound refutes smaller ε; it never shows that a model is private. Its level holds for independent
trials only, which scores pooled over leave-one-out targets are not: see `multi_run`. What is an
estimate (`gaussian_pair`) or credible (`jeffreys`, `joint_beta`) is called so and never a bound.
"""

from __future__ import annotations

from seepage.epsilon.credible import Credible, jeffreys, joint_beta
from seepage.epsilon.curve import TradeOff, bayes_error, excess_vulnerability
from seepage.epsilon.dp_sgd import PersonalRates, dp_sgd, personal_rate, personal_rates
from seepage.epsilon.gaussian_pair import PairEstimate, gaussian_pair, pair_delta, pair_epsilon
from seepage.epsilon.label_game import LabelGame, draw_game, label_game, natural_game
from seepage.epsilon.label_inference import (
    Guesses,
    LabelInference,
    fair_accuracy,
    label_inference,
    label_scores,
    prior_accuracy,
)
from seepage.epsilon.multi_run import Bound, gdp, multi_run
from seepage.epsilon.one_run import (
    Analysis,
    BinomialTail,
    BothEnds,
    GuessStrategy,
    HighestOnly,
    LowestOnly,
    OneRunBound,
    one_run,
    one_run_from_scores,
)
from seepage.epsilon.one_run_f_dp import FDP, Approximate, Curves, Gaussian
from seepage.epsilon.planning import Needed, canaries_needed, models_needed
from seepage.epsilon.thresholds import Bonferroni, Explicit, MultiSplit, Split, Threshold
from seepage.epsilon.trade_off import dp_region, gdp_delta, gdp_epsilon

__all__ = [
    "FDP",
    "Analysis",
    "Approximate",
    "BinomialTail",
    "Bonferroni",
    "BothEnds",
    "Bound",
    "Credible",
    "Curves",
    "Explicit",
    "Gaussian",
    "GuessStrategy",
    "Guesses",
    "HighestOnly",
    "LabelGame",
    "LabelInference",
    "LowestOnly",
    "MultiSplit",
    "Needed",
    "OneRunBound",
    "PairEstimate",
    "PersonalRates",
    "Split",
    "Threshold",
    "TradeOff",
    "bayes_error",
    "canaries_needed",
    "dp_region",
    "dp_sgd",
    "draw_game",
    "excess_vulnerability",
    "fair_accuracy",
    "gaussian_pair",
    "gdp",
    "gdp_delta",
    "gdp_epsilon",
    "jeffreys",
    "joint_beta",
    "label_game",
    "label_inference",
    "label_scores",
    "models_needed",
    "multi_run",
    "natural_game",
    "one_run",
    "one_run_from_scores",
    "pair_delta",
    "pair_epsilon",
    "personal_rate",
    "personal_rates",
    "prior_accuracy",
]
