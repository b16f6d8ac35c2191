"""Attacks: pure maps from signals and membership to a score; higher = more likely a member."""

from __future__ import annotations

import inspect
from typing import Any

from seepage import extensions

# One row per attack, in the order in which tables show them: `ATTACKS` is made of these rows.
# isort: off
from seepage.attacks.thresholds import LOSS as LOSS
from seepage.attacks.thresholds import Gap as Gap
from seepage.attacks.thresholds import Entropy as Entropy
from seepage.attacks.thresholds import ModifiedEntropy as ModifiedEntropy
from seepage.attacks.thresholds import AttackP as AttackP
from seepage.attacks.traces import LossTraceIQR as LossTraceIQR
from seepage.attacks.classwise import AttackS as AttackS
from seepage.attacks.classwise import PrivacyRiskScore as PrivacyRiskScore
from seepage.attacks.references import AttackR as AttackR
from seepage.attacks.references import Calibrated as Calibrated
from seepage.attacks.lira import LiRA as LiRA
from seepage.attacks.lira import LiRAOfflineOneSided as LiRAOfflineOneSided
from seepage.attacks.lira import LiRAOfflineTwoSided as LiRAOfflineTwoSided
from seepage.attacks.lira import BaVarIANormal as BaVarIANormal
from seepage.attacks.proxy import PMIA as PMIA
from seepage.attacks.relative import RMIA as RMIA
from seepage.attacks.relative import RMIAOffline as RMIAOffline
from seepage.attacks.relative import RMIATuned as RMIATuned
from seepage.attacks.relative import BASE as BASE
from seepage.attacks.relative import BASEOffline as BASEOffline
from seepage.attacks.shadow import ShadowClassifier as ShadowClassifier
from seepage.attacks.outputs import ShadowOutputs as ShadowOutputs
from seepage.attacks.rapid import RAPID as RAPID
from seepage.attacks.sequences import LossTrajectory as LossTrajectory
from seepage.attacks.sequences import SeqMIA as SeqMIA
from seepage.attacks.curvature import CurvatureThreshold as CurvatureThreshold
from seepage.attacks.curvature import CurvatureCalibrated as CurvatureCalibrated
from seepage.attacks.curvature import CurvatureAttackR as CurvatureAttackR
from seepage.attacks.curvature import CurvatureMAST as CurvatureMAST
from seepage.attacks.curvature import CurvatureLR as CurvatureLR
from seepage.attacks.curvature import CurvatureNLL as CurvatureNLL
from seepage.attacks.gradients import GradientNorm as GradientNorm
from seepage.attacks.gradients import GradientNormCalibrated as GradientNormCalibrated
from seepage.attacks.gradients import GradientNormLR as GradientNormLR
from seepage.attacks.gradients import WhiteBox as WhiteBox
from seepage.attacks.checkpoint_steps import CheckpointSequence as CheckpointSequence
from seepage.attacks.checkpoint_steps import CheckpointSequenceLR as CheckpointSequenceLR
from seepage.attacks.leverage import Leverage as Leverage
from seepage.attacks.inverse_hessian import IHA as IHA
from seepage.attacks.quantile import InputQuantile as InputQuantile
from seepage.attacks.joint import CurvatureAndConfidence as CurvatureAndConfidence
from seepage.attacks.joint import LiRATwoSignals as LiRATwoSignals
from seepage.attacks.copies import Merlin as Merlin
from seepage.attacks.copies import Morgan as Morgan
from seepage.attacks.copies import LabelAugment as LabelAugment
from seepage.attacks.copies import LabelAugmentCalibrated as LabelAugmentCalibrated
from seepage.attacks.copies import LabelAugmentLR as LabelAugmentLR
from seepage.attacks.boundary import AdversarialDistance as AdversarialDistance
from seepage.attacks.boundary import AdversarialDistanceCalibrated as AdversarialDistanceCalibrated
from seepage.attacks.boundary import AdversarialDistanceLR as AdversarialDistanceLR
from seepage.attacks.boundary import Boundary as Boundary
from seepage.attacks.boundary import BoundaryCalibrated as BoundaryCalibrated
from seepage.attacks.imitation import Imitation as Imitation
from seepage.attacks.texts import Zlib as Zlib
from seepage.attacks.texts import MinK as MinK
from seepage.attacks.texts import MinKPlusPlus as MinKPlusPlus
from seepage.attacks.texts import ReferenceRatio as ReferenceRatio
from seepage.attacks.texts import HTMIA as HTMIA
from seepage.attacks.texts import WBC as WBC
from seepage.attacks.texts import EZMIA as EZMIA
from seepage.attacks.texts import InfoRMIATokens as InfoRMIATokens
from seepage.attacks.texts import CAMIA as CAMIA
from seepage.attacks.text_queries import Neighbourhood as Neighbourhood
from seepage.attacks.text_queries import NeighbourhoodCalibrated as NeighbourhoodCalibrated
from seepage.attacks.text_queries import NeighbourhoodLR as NeighbourhoodLR
from seepage.attacks.text_queries import ReCaLL as ReCaLL
from seepage.attacks.text_queries import ReCaLLCalibrated as ReCaLLCalibrated
from seepage.attacks.text_queries import ReCaLLLR as ReCaLLLR
from seepage.attacks.combining import Ensemble as Ensemble
from seepage.attacks.combining import Combined as Combined
# isort: on

# What they are built on, and their options.
from seepage.attacks.base import Access as Access
from seepage.attacks.base import Attack as Attack
from seepage.attacks.base import AttackError as AttackError
from seepage.attacks.base import BalanceWarning as BalanceWarning
from seepage.attacks.binding import bind as bind
from seepage.attacks.classwise import Bins as Bins
from seepage.attacks.classwise import Isotonic as Isotonic
from seepage.attacks.combining import Highest as Highest
from seepage.attacks.combining import Lowest as Lowest
from seepage.attacks.combining import MeanRank as MeanRank
from seepage.attacks.curvature import AsPublished as AsPublished
from seepage.attacks.curvature import Corrected as Corrected
from seepage.attacks.joint import Wishart as Wishart
from seepage.attacks.learners import Boosting as Boosting
from seepage.attacks.learners import Forest as Forest
from seepage.attacks.learners import LinearOdds as LinearOdds
from seepage.attacks.learners import Separate as Separate
from seepage.attacks.leaving import Way as Way
from seepage.attacks.leaving import how_left_out as how_left_out
from seepage.attacks.population import Untrained as Untrained
from seepage.attacks.reference_counts import reference_rows as reference_rows
from seepage.attacks.relative import AgainstPopulation as AgainstPopulation
from seepage.attacks.relative import Ratio as Ratio
from seepage.attacks.subjects import of_unit as of_unit
from seepage.attacks.tails import Empirical as Empirical
from seepage.attacks.tails import Gaussian as Gaussian
from seepage.attacks.tails import Logistic as Logistic
from seepage.attacks.variance import Global as Global
from seepage.attacks.variance import Mean as Mean
from seepage.attacks.variance import Median as Median
from seepage.attacks.variance import PerSample as PerSample
from seepage.attacks.variance import Pooled as Pooled
from seepage.attacks.variance import Shrunken as Shrunken
from seepage.attacks.variance import StudentT as StudentT

ATTACKS: dict[str, type[Attack]] = {
    kind.name: kind
    for kind in list(globals().values())
    if inspect.isclass(kind) and issubclass(kind, Attack) and not inspect.isabstract(kind)
}
"""Every attack of the package by its name, in the order of the rows above."""


def get(name: str, **options: Any) -> Attack:
    """The attack of that name; options are the fields of its class.

    name: one of `ATTACKS`, "package.module:Name" (a subclass or an instance of `Attack`), or the
    entry point of an installed package. Raises InputError in one line for anything else.

    >>> get("lira").name, get("rmia", gamma=2.0).gamma
    ('lira', 2.0)
    """
    return extensions.make("attack", name, ATTACKS, Attack, options)


def usual(*, tokens: bool = False) -> list[Attack]:
    """Every attack of the package that audits run unasked, with its default options.

    All of `ATTACKS` but those that cost many times what others do (`Attack.on_request`), which run
    where they are named, and those on texts unless `tokens`, see `seepage.tokens.holds_tokens`.
    """
    return [kind() for kind in ATTACKS.values() if not kind.on_request and tokens >= kind.of_texts]
