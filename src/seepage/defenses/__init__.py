"""Training that leaks less: one rule and its hook per defence."""

from __future__ import annotations

import inspect
from typing import Any

# One row per defence, in the order in which tables show them: `DEFENSES` is made of these rows.
# isort: off
from seepage.defenses.base import Undefended as Undefended
from seepage.defenses.smoothing import LabelSmoothing as LabelSmoothing
from seepage.defenses.smoothing import ConfidencePenalty as ConfidencePenalty
from seepage.defenses.stopping import EarlyStopping as EarlyStopping
from seepage.defenses.mmd import MixupMMD as MixupMMD
from seepage.defenses.adversary import AdversarialRegularisation as AdversarialRegularisation
from seepage.defenses.relaxloss import RelaxLoss as RelaxLoss
from seepage.defenses.ccl import CCEL as CCEL
from seepage.defenses.ccl import CCQL as CCQL
from seepage.defenses.hamp import HAMP as HAMP
from seepage.defenses.memguard import MemGuard as MemGuard
from seepage.defenses.distillation import SELENA as SELENA
from seepage.defenses.distillation import DMP as DMP
from seepage.defenses.crl import CRL as CRL
from seepage.defenses.critical import CWRF as CWRF
from seepage.defenses.dp import DPSGD as DPSGD
from seepage.defenses.dp import LayerDPSGD as LayerDPSGD
from seepage.defenses.label_dp import LabelDP as LabelDP
from seepage.defenses.pptp import PPTP as PPTP
from seepage.defenses.chain import Chain as Chain
# isort: on

# What they are built on, their variants, and where risk lies.
from seepage.defenses.base import Context as Context
from seepage.defenses.base import Defense as Defense
from seepage.defenses.base import Fit as Fit
from seepage.defenses.base import as_config as as_config
from seepage.defenses.dp import epsilon as epsilon
from seepage.defenses.dp import without_batchnorm as without_batchnorm
from seepage.defenses.localise import Localisation as Localisation
from seepage.defenses.localise import agreement as agreement
from seepage.defenses.localise import by_rewinding as by_rewinding
from seepage.defenses.localise import by_swapping as by_swapping
from seepage.defenses.localise import risky_regions as risky_regions
from seepage.defenses.making import made
from seepage.defenses.networks import Samples as Samples
from seepage.defenses.networks import forward as forward
from seepage.defenses.pptp import GradientRouted as GradientRouted
from seepage.defenses.pptp import InTurns as InTurns
from seepage.defenses.pptp import TwoPhase as TwoPhase
from seepage.defenses.pptp import controls as controls

DEFENSES: dict[str, type[Defense]] = {
    kind.name: kind
    for kind in list(globals().values())
    if inspect.isclass(kind) and issubclass(kind, Defense) and kind is not Defense
}
"""Every defence of the package by its name, in the order of the rows above."""


def make(name: str, **options: Any) -> Defense:
    """A defence from its name and options, as a configuration file gives them.

    name: one of `DEFENSES`, "package.module:Name" (a subclass or an instance of `Defense`), or the
    entry point of an installed package. A nested defence (`base`, or one of a chain's `parts`) is a
    name or a mapping with "name" and its options. Raises InputError in one line for anything else.

    >>> make("pptp", base={"name": "ccel", "alpha": 0.7}, regions=["head"]).base
    CCEL(alpha=0.7, beta=1.0)
    """
    return made(name, options, DEFENSES)
