"""The plane: where every sample stands between FPR and TPR, and how it moves while training."""

from __future__ import annotations

from seepage.plane.clusters import HDBSCAN, ClusterMethod, Clusters, KMeans, find_clusters
from seepage.plane.compare import (
    COMPARED,
    Comparison,
    compare_paths,
    differing,
    equal_models,
    one_factor,
)
from seepage.plane.counting import Counting, RateRule
from seepage.plane.difficulty import (
    Correlation,
    Difficulty,
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
    Early,
    High,
    Known,
    Prediction,
    Top,
    Vulnerable,
    early_determination,
    expected_recall,
    predict,
)
from seepage.plane.foretold import Foretold, foretell
from seepage.plane.halves import Agreement, agreement
from seepage.plane.laws import (
    ClosedForm,
    Gaussian,
    Laws,
    StudentTLaw,
)
from seepage.plane.monitor import Judgement, Monitor, Snapshot
from seepage.plane.paths import Permuted, SignalSource, Trajectories, trajectories
from seepage.plane.population import Population
from seepage.plane.rates import (
    Points,
    advantage,
    epsilon,
    epsilon_two_sided,
    points,
)
from seepage.plane.regions import ByAdvantage, ByEpsilon, Grid, Regions
from seepage.plane.resampling import Bootstrap, Estimate
from seepage.plane.rules import GlobalFPR, NaturalThreshold, Rule
from seepage.plane.shrinkage import EmpiricalBayes, NoShrinkage, SharedRatio

__all__ = [
    "COMPARED",
    "HDBSCAN",
    "Agreement",
    "Bootstrap",
    "ByAdvantage",
    "ByEpsilon",
    "ClosedForm",
    "ClusterMethod",
    "Clusters",
    "Comparison",
    "Correlation",
    "Counting",
    "Difficulty",
    "Early",
    "EmpiricalBayes",
    "Estimate",
    "Foretold",
    "Gaussian",
    "GlobalFPR",
    "Grid",
    "High",
    "Judgement",
    "KMeans",
    "Known",
    "Laws",
    "Monitor",
    "NaturalThreshold",
    "NoShrinkage",
    "Permuted",
    "Points",
    "Population",
    "Prediction",
    "RateRule",
    "Regions",
    "Rule",
    "SharedRatio",
    "SignalSource",
    "Snapshot",
    "StudentTLaw",
    "Top",
    "Trajectories",
    "Vulnerable",
    "advantage",
    "agreement",
    "compare_paths",
    "consistency",
    "differing",
    "early_determination",
    "epoch_learned",
    "epsilon",
    "epsilon_two_sided",
    "equal_models",
    "expected_recall",
    "find_clusters",
    "foretell",
    "forgetting_events",
    "learning_difficulty",
    "loss_iqr",
    "mean_loss",
    "one_factor",
    "points",
    "predict",
    "prediction_depth",
    "spearman",
    "split_models",
    "trajectories",
]
