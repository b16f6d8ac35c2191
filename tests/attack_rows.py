"""Every attack with the options whose code paths differ: what the generic tests run over."""

from __future__ import annotations

import pytest

from seepage import attacks
from seepage.attacks import ATTACKS, Attack

# Attacks that learn have many options of one code path: the quickest learner stands for them.
LINEAR = attacks.LinearOdds()

# Name -> every instance whose code path differs.
TABLE: dict[str, list[Attack]] = {
    "loss": [attacks.LOSS()],
    "gap": [attacks.Gap()],
    "entropy": [attacks.Entropy()],
    "mentr": [attacks.ModifiedEntropy()],
    "attack-p": [
        attacks.AttackP(),
        attacks.AttackP(population=[0, 3, 5, 7], tail=attacks.Gaussian()),
        attacks.AttackP(tail=attacks.Logistic()),
    ],
    "lt-iqr": [attacks.LossTraceIQR(), attacks.LossTraceIQR(epochs=(0, 1, 4, 20))],
    "attack-s": [
        attacks.AttackS(),
        attacks.AttackS(tail=attacks.Gaussian()),
        attacks.AttackS(by_class=False, tail=attacks.Logistic()),
    ],
    "risk-score": [
        attacks.PrivacyRiskScore(),
        attacks.PrivacyRiskScore(rule=attacks.Isotonic()),
        attacks.PrivacyRiskScore(by_class=False, rule=attacks.Bins(9), signal="loss"),
    ],
    "attack-r": [
        attacks.AttackR(),
        attacks.AttackR(tail=attacks.Gaussian()),
        attacks.AttackR(tail=attacks.Logistic()),
    ],
    "calibrated": [attacks.Calibrated(), attacks.Calibrated(signal="reference_ratio")],
    "lira": [
        attacks.LiRA(),
        attacks.LiRA(variance=attacks.PerSample()),
        attacks.LiRA(variance=attacks.Pooled()),
        attacks.LiRA(variance=attacks.Global()),
        attacks.LiRA(variance=attacks.StudentT(kappa=0.5, alpha=3.0)),
        attacks.LiRA(variance=attacks.StudentT(kappa=None)),
        attacks.LiRA(variance=attacks.Shrunken(alpha=2.0)),
        attacks.LiRA(centre=attacks.Median(), variance=attacks.PerSample()),
        attacks.LiRA(centre=attacks.Median(), variance=attacks.Pooled()),
    ],
    "lira-offline-one-sided": [
        attacks.LiRAOfflineOneSided(),
        attacks.LiRAOfflineOneSided(variance=attacks.PerSample(ddof=1)),
        attacks.LiRAOfflineOneSided(variance=attacks.Pooled()),
        attacks.LiRAOfflineOneSided(variance=attacks.Shrunken()),
        attacks.LiRAOfflineOneSided(centre=attacks.Median(), variance=attacks.Global()),
    ],
    "lira-offline-two-sided": [
        attacks.LiRAOfflineTwoSided(),
        attacks.LiRAOfflineTwoSided(variance=attacks.PerSample()),
        attacks.LiRAOfflineTwoSided(variance=attacks.Shrunken()),
        attacks.LiRAOfflineTwoSided(variance=attacks.Global()),
    ],
    "rmia": [attacks.RMIA(), attacks.RMIA(population=[1, 2, 4, 6, 8], gamma=2.0)],
    "rmia-offline": [attacks.RMIAOffline(), attacks.RMIAOffline(a=1.0)],
    "bavaria-n": [attacks.BaVarIANormal()],
    "pmia": [
        attacks.PMIA(),
        attacks.PMIA(by_class=False, centre=attacks.Median(), variance=attacks.PerSample()),
    ],
    "rmia-tuned": [attacks.RMIATuned(), attacks.RMIATuned(gamma=2.0, grid=(0.2, 0.9))],
    "base": [
        attacks.BASE(),
        attacks.BASE(attacks.AgainstPopulation()),
        attacks.BASE(attacks.AgainstPopulation(), population=[2, 3, 5, 7]),
    ],
    "base-offline": [attacks.BASEOffline()],
    "shadow-classifier": [attacks.ShadowClassifier(), attacks.ShadowClassifier(ridge=1e-2)],
    "shadow-outputs": [
        attacks.ShadowOutputs(learner=LINEAR),
        attacks.ShadowOutputs(by_class=True, learner=LINEAR),
    ],
    "rapid": [
        attacks.RAPID(learner=LINEAR),
        attacks.RAPID(learner=attacks.Boosting(2, leaves=4, rate=0.5), most=1000),
        attacks.RAPID(learner=attacks.Forest(2), most=300),
    ],
    "loss-trajectory": [attacks.LossTrajectory(learner=LINEAR)],
    "seqmia": [attacks.SeqMIA(learner=LINEAR)],
    "curvature": [attacks.CurvatureThreshold()],
    "curvature-calibrated": [attacks.CurvatureCalibrated()],
    "curvature-attack-r": [attacks.CurvatureAttackR()],
    "curvature-mast": [attacks.CurvatureMAST()],
    "curvature-lr": [
        attacks.CurvatureLR(),
        attacks.CurvatureLR(form=attacks.Corrected(attacks.PerSample())),
        attacks.CurvatureLR(form=attacks.AsPublished()),
    ],
    "curvature-nll": [
        attacks.CurvatureNLL(),
        attacks.CurvatureNLL(form=attacks.AsPublished()),
    ],
    "white-box": [attacks.WhiteBox(learner=LINEAR, most=2000)],
    "curvature-and-confidence": [
        attacks.CurvatureAndConfidence(),
        attacks.CurvatureAndConfidence(covariance=attacks.Pooled()),
        attacks.CurvatureAndConfidence(covariance=attacks.PerSample()),
    ],
    "lira-two-signals": [
        attacks.LiRATwoSignals(),
        attacks.LiRATwoSignals("curvature_zo", attacks.PerSample()),
    ],
    "morgan": [attacks.Morgan(), attacks.Morgan(band=(0.0, 0.5))],
    "label-augment-lr": [
        attacks.LabelAugmentLR(),
        attacks.LabelAugmentLR(variance=attacks.Pooled()),
    ],
    "neighbourhood-lr": [
        attacks.NeighbourhoodLR(),
        attacks.NeighbourhoodLR(variance=attacks.Pooled()),
    ],
    "recall-lr": [attacks.ReCaLLLR(), attacks.ReCaLLLR(variance=attacks.Pooled())],
    "ensemble": [
        attacks.Ensemble(),
        attacks.Ensemble((attacks.LOSS(), attacks.AttackR()), attacks.Highest()),
        attacks.Ensemble((attacks.RMIA(), attacks.LossTraceIQR()), attacks.Lowest()),
    ],
    "combined": [
        attacks.Combined(),
        attacks.Combined((attacks.Gap(), attacks.LossTraceIQR()), learner=attacks.Separate()),
    ],
}
# An attack without a row of its own is tested with its default options.
TABLE |= {name: [kind()] for name, kind in ATTACKS.items() if name not in TABLE}
ROWS = [pytest.param(a, id=f"{n}-{i}") for n, row in TABLE.items() for i, a in enumerate(row)]
