"""FPR and TPR of every sample, how both move during training, and what can be known early."""

from __future__ import annotations

from seepage.plane.calibration import FprSpread, fpr_spread
from seepage.plane.closed_form import ClosedForm, Gaussian, StudentTLaw
from seepage.plane.clusters import HDBSCAN, KMeans, find_clusters
from seepage.plane.compare import Comparison, compare_paths, equal_models, one_factor
from seepage.plane.difficulty import (
    Difficulty,
    by_epoch,
    consistency,
    epoch_learned,
    forgetting_events,
    learning_difficulty,
    loss_iqr,
    mean_loss,
    prediction_depth,
    spearman,
    split_models,
)
from seepage.plane.early import (
    EarlyDetermination,
    HighRegion,
    TopShare,
    Vulnerable,
    early_determination,
    evaluate_predictor,
)
from seepage.plane.monitor import Monitor, evaluate_monitors
from seepage.plane.paths import Permuted, SignalSource, Trajectories, trajectories
from seepage.plane.population import Population
from seepage.plane.rates import (
    Counting,
    Points,
    RateRule,
    advantage,
    epsilon,
    epsilon_two_sided,
    points,
)
from seepage.plane.regions import ByAdvantage, ByEpsilon, Grid, Regions
from seepage.plane.resampling import Bootstrap, Estimate
from seepage.plane.rules import GlobalFPR, NaturalThreshold, OwnFPR, Rule
from seepage.plane.shrinkage import EmpiricalBayes, NoShrinkage, SharedRatio
from seepage.plane.split_half import split_half

__all__ = [
    "HDBSCAN",
    "Bootstrap",
    "ByAdvantage",
    "ByEpsilon",
    "ClosedForm",
    "Comparison",
    "Counting",
    "Difficulty",
    "EarlyDetermination",
    "EmpiricalBayes",
    "Estimate",
    "FprSpread",
    "Gaussian",
    "GlobalFPR",
    "Grid",
    "HighRegion",
    "KMeans",
    "Monitor",
    "NaturalThreshold",
    "NoShrinkage",
    "OwnFPR",
    "Permuted",
    "Points",
    "Population",
    "RateRule",
    "Regions",
    "Rule",
    "SharedRatio",
    "SignalSource",
    "StudentTLaw",
    "TopShare",
    "Trajectories",
    "Vulnerable",
    "advantage",
    "by_epoch",
    "compare_paths",
    "consistency",
    "early_determination",
    "epoch_learned",
    "epsilon",
    "epsilon_two_sided",
    "equal_models",
    "evaluate_monitors",
    "evaluate_predictor",
    "find_clusters",
    "forgetting_events",
    "fpr_spread",
    "learning_difficulty",
    "loss_iqr",
    "mean_loss",
    "one_factor",
    "points",
    "prediction_depth",
    "spearman",
    "split_half",
    "split_models",
    "trajectories",
]
