"""Training that leaks less: one rule and its hook per defence."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from seepage import extensions

# One row per defence, in the order in which tables show them: `DEFENSES` is made of these rows.
# isort: off
from seepage.defenses.base import Undefended as Undefended
from seepage.defenses.losses import LabelSmoothing as LabelSmoothing
from seepage.defenses.losses import ConfidencePenalty as ConfidencePenalty
from seepage.defenses.stopping import EarlyStopping as EarlyStopping
from seepage.defenses.mmd import MixupMMD as MixupMMD
from seepage.defenses.adversary import AdversarialRegularisation as AdversarialRegularisation
from seepage.defenses.losses import RelaxLoss as RelaxLoss
from seepage.defenses.losses import CCEL as CCEL
from seepage.defenses.losses import CCQL as CCQL
from seepage.defenses.hamp import HAMP as HAMP
from seepage.defenses.adversary import MemGuard as MemGuard
from seepage.defenses.distillation import SELENA as SELENA
from seepage.defenses.distillation import DMP as DMP
from seepage.defenses.crl import CRL as CRL
from seepage.defenses.critical import CWRF as CWRF
from seepage.defenses.dp import DPSGD as DPSGD
from seepage.defenses.dp import LayerDPSGD as LayerDPSGD
from seepage.defenses.label_dp import LabelDP as LabelDP
from seepage.defenses.pptp import PPTP as PPTP
from seepage.defenses.composed import Chain as Chain
# isort: on

# What they are built on, their variants, and where risk lies.
from seepage.defenses.accountant import epsilon as epsilon
from seepage.defenses.base import Context as Context
from seepage.defenses.base import Defense as Defense
from seepage.defenses.base import Fit as Fit
from seepage.defenses.base import as_config as as_config
from seepage.defenses.dp import without_batchnorm as without_batchnorm
from seepage.defenses.localise import Localisation as Localisation
from seepage.defenses.localise import agreement as agreement
from seepage.defenses.localise import by_rewinding as by_rewinding
from seepage.defenses.localise import by_swapping as by_swapping
from seepage.defenses.localise import risky_regions as risky_regions
from seepage.defenses.networks import Samples as Samples
from seepage.defenses.networks import forward as forward
from seepage.defenses.pptp import VARIANTS, Variant
from seepage.defenses.pptp import GradientRouted as GradientRouted
from seepage.defenses.pptp import InTurns as InTurns
from seepage.defenses.pptp import TwoPhase as TwoPhase
from seepage.defenses.pptp import controls as controls
from seepage.errors import InputError, nearest

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
    return _made(name, options)


def _made(name: str, options: Mapping[str, Any]) -> Defense:
    given = dict(options)
    if "base" in given:
        given["base"] = _nested("base", given["base"])
    if "parts" in given:
        given["parts"] = tuple(_nested("parts", p) for p in given["parts"])
    if "variant" in given:
        given["variant"] = _variant(given["variant"])
    if name == "chain" and "parts" not in given:
        raise InputError("parts: a chain needs its defences, got none; list at least one")
    given = {k: tuple(v) if isinstance(v, list) else v for k, v in given.items()}
    return extensions.make("defense", name, DEFENSES, Defense, given)


def _variant(value: Any) -> Variant:
    table = {"name": value} if isinstance(value, str) else value
    if not isinstance(table, Mapping):
        built: Variant = value
        return built
    name = table.get("name")
    if name not in VARIANTS:
        raise InputError(
            f"variant: expected a known name, got {name!r}; {nearest(str(name), VARIANTS)}"
        )
    rest = {str(k): v for k, v in table.items() if k != "name"}
    known = [f.name for f in fields(VARIANTS[name])]
    for key in rest:
        if key not in known:
            raise InputError(f"{key}: unknown option of variant {name!r}; it has {known}")
    made: Variant = VARIANTS[name](**rest)
    return made


def _nested(where: str, value: Any) -> Defense:
    if isinstance(value, Defense):
        return value
    if isinstance(value, str):
        return _made(value, {})
    if isinstance(value, Mapping) and "name" in value:
        rest = {str(k): v for k, v in value.items() if k != "name"}
        return _made(str(value["name"]), rest)
    raise InputError(
        f"{where}: expected the name of a defence or a table with 'name', got {value!r}"
    )
