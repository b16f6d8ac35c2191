"""ROC, TPR at low FPR, intervals, and the baseline that never sees a model."""

from __future__ import annotations

from seepage.metrics.blind import BlindBaseline, blind_baseline
from seepage.metrics.intervals import Estimate, auc_interval, clopper_pearson, over_targets
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
    tpr_at_fpr,
)

__all__ = [
    "AveragedRoc",
    "BlindBaseline",
    "Estimate",
    "OperatingPoints",
    "Roc",
    "TprAtFpr",
    "auc",
    "auc_interval",
    "average_roc",
    "balanced_accuracy",
    "blind_baseline",
    "clopper_pearson",
    "operating_points",
    "over_targets",
    "pooled_points",
    "roc",
    "row_auc",
    "tpr_at_fpr",
]
