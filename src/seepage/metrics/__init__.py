"""ROC, TPR at low FPR, intervals, exposed samples or subjects, and the baseline without a model."""

from __future__ import annotations

from seepage.metrics.agreement import (
    Agreement,
    Stability,
    agreement,
    called_members,
    decision_stability,
)
from seepage.metrics.auc_intervals import SampleAuc, auc_interval, sample_auc
from seepage.metrics.blind import BlindBaseline, blind_baseline
from seepage.metrics.exposure import (
    at_most_false,
    benjamini_hochberg,
    cut_off,
    evidence,
    smallest,
)
from seepage.metrics.intervals import Estimate, clopper_pearson, over_targets
from seepage.metrics.naming import (
    Named,
    NamedOverTargets,
    conformal_p,
    fewest_named,
    name_members,
    name_over_targets,
)
from seepage.metrics.pooling import PooledRates, counts_above, pooled_by_target
from seepage.metrics.power_law import PowerLaw, power_law
from seepage.metrics.precision import PRIORS, precision, precision_interval
from seepage.metrics.rectangle import JointRates, joint_rates
from seepage.metrics.roc import (
    AveragedRoc,
    OperatingPoints,
    Roc,
    TprAtFpr,
    auc,
    average_roc,
    balanced_accuracy,
    operating_points,
    pooled_points,
    roc,
    row_auc,
    thinned_roc,
    tpr_at_fpr,
)
from seepage.metrics.strongest import Strongest, strongest
from seepage.metrics.tail import tail_estimate
from seepage.metrics.unit import EACH, Samples, Subjects, Unit, unit_of
from seepage.metrics.within_subject import (
    Within,
    discounted,
    score_correlation,
    signal_correlation,
    subject_auc,
)

__all__ = [
    "EACH",
    "PRIORS",
    "Agreement",
    "AveragedRoc",
    "BlindBaseline",
    "Estimate",
    "JointRates",
    "Named",
    "NamedOverTargets",
    "OperatingPoints",
    "PooledRates",
    "PowerLaw",
    "Roc",
    "SampleAuc",
    "Samples",
    "Stability",
    "Strongest",
    "Subjects",
    "TprAtFpr",
    "Unit",
    "Within",
    "agreement",
    "at_most_false",
    "auc",
    "auc_interval",
    "average_roc",
    "balanced_accuracy",
    "benjamini_hochberg",
    "blind_baseline",
    "called_members",
    "clopper_pearson",
    "conformal_p",
    "counts_above",
    "cut_off",
    "decision_stability",
    "discounted",
    "evidence",
    "fewest_named",
    "joint_rates",
    "name_members",
    "name_over_targets",
    "operating_points",
    "over_targets",
    "pooled_by_target",
    "pooled_points",
    "power_law",
    "precision",
    "precision_interval",
    "roc",
    "row_auc",
    "sample_auc",
    "score_correlation",
    "signal_correlation",
    "smallest",
    "strongest",
    "subject_auc",
    "tail_estimate",
    "thinned_roc",
    "tpr_at_fpr",
    "unit_of",
]
