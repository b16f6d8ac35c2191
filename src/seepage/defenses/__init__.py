"""Training that leaks less: one rule and its hook per defence."""

from seepage.defenses.adversary import AdversarialRegularisation
from seepage.defenses.base import Context, Defense, Fit, Undefended, as_config
from seepage.defenses.ccl import CCEL, CCQL
from seepage.defenses.chain import Chain
from seepage.defenses.critical import CWRF
from seepage.defenses.crl import CRL
from seepage.defenses.distillation import DMP, SELENA
from seepage.defenses.dp import DPSGD, LayerDPSGD, epsilon, without_batchnorm
from seepage.defenses.hamp import HAMP
from seepage.defenses.label_dp import LabelDP
from seepage.defenses.localise import (
    Localisation,
    agreement,
    by_rewinding,
    by_swapping,
    risky_regions,
)
from seepage.defenses.memguard import MemGuard
from seepage.defenses.mmd import MixupMMD
from seepage.defenses.networks import Samples, forward
from seepage.defenses.pptp import PPTP, GradientRouted, InTurns, TwoPhase, controls
from seepage.defenses.registry import DEFENSES, make
from seepage.defenses.relaxloss import RelaxLoss
from seepage.defenses.smoothing import ConfidencePenalty, LabelSmoothing
from seepage.defenses.stopping import EarlyStopping

__all__ = [
    "CCEL",
    "CCQL",
    "CRL",
    "CWRF",
    "DEFENSES",
    "DMP",
    "DPSGD",
    "HAMP",
    "PPTP",
    "SELENA",
    "AdversarialRegularisation",
    "Chain",
    "ConfidencePenalty",
    "Context",
    "Defense",
    "EarlyStopping",
    "Fit",
    "GradientRouted",
    "InTurns",
    "LabelDP",
    "LabelSmoothing",
    "LayerDPSGD",
    "Localisation",
    "MemGuard",
    "MixupMMD",
    "RelaxLoss",
    "Samples",
    "TwoPhase",
    "Undefended",
    "agreement",
    "as_config",
    "by_rewinding",
    "by_swapping",
    "controls",
    "epsilon",
    "forward",
    "make",
    "risky_regions",
    "without_batchnorm",
]
