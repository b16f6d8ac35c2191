"""Attacks: pure maps from signals and membership to a score; higher = more likely a member."""

from __future__ import annotations

from seepage.attacks.base import Attack, BalanceWarning, reference_rows
from seepage.attacks.curvature import (
    AsPublished,
    Corrected,
    CurvatureAttackR,
    CurvatureCalibrated,
    CurvatureLR,
    CurvatureMAST,
    CurvatureNLL,
    CurvatureThreshold,
)
from seepage.attacks.joint import CurvatureAndConfidence, Wishart
from seepage.attacks.lira import LiRA, LiRAOfflineOneSided, LiRAOfflineTwoSided
from seepage.attacks.references import AttackR, Calibrated
from seepage.attacks.relative import BASE, RMIA, BASEOffline, RMIAOffline
from seepage.attacks.shadow import ShadowClassifier
from seepage.attacks.tails import Empirical, Gaussian, Logistic
from seepage.attacks.thresholds import LOSS, AttackP, ModifiedEntropy
from seepage.attacks.variance import Global, Mean, Median, PerSample, Pooled, StudentT
from seepage.errors import InputError, nearest

__all__ = [
    "ATTACKS",
    "BASE",
    "LOSS",
    "RMIA",
    "AsPublished",
    "Attack",
    "AttackP",
    "AttackR",
    "BASEOffline",
    "BalanceWarning",
    "Calibrated",
    "Corrected",
    "CurvatureAndConfidence",
    "CurvatureAttackR",
    "CurvatureCalibrated",
    "CurvatureLR",
    "CurvatureMAST",
    "CurvatureNLL",
    "CurvatureThreshold",
    "Empirical",
    "Gaussian",
    "Global",
    "LiRA",
    "LiRAOfflineOneSided",
    "LiRAOfflineTwoSided",
    "Logistic",
    "Mean",
    "Median",
    "ModifiedEntropy",
    "PerSample",
    "Pooled",
    "RMIAOffline",
    "ShadowClassifier",
    "StudentT",
    "Wishart",
    "get",
    "reference_rows",
]

ATTACKS: dict[str, type[Attack]] = {
    kind.name: kind
    for kind in (
        LOSS,
        ModifiedEntropy,
        AttackP,
        AttackR,
        Calibrated,
        LiRA,
        LiRAOfflineOneSided,
        LiRAOfflineTwoSided,
        RMIA,
        RMIAOffline,
        BASE,
        BASEOffline,
        ShadowClassifier,
        CurvatureThreshold,
        CurvatureCalibrated,
        CurvatureAttackR,
        CurvatureMAST,
        CurvatureLR,
        CurvatureNLL,
        CurvatureAndConfidence,
    )
}


def get(name: str) -> Attack:
    """The attack of that name with its default options.

    >>> get("lira").name
    'lira'
    """
    if name not in ATTACKS:
        raise InputError(f"attack: expected a known name, got {name!r}; {nearest(name, ATTACKS)}")
    return ATTACKS[name]()
